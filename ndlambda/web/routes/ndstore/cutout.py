"""ndstore's cutouts: ``/sd/{token}/[{channels}/]{service}/{resolution}/{x,x}/{y,y}/{z,z}/…``."""

import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from werkzeug.wrappers import Response

from ndlambda.errors import (
    InvalidArgumentError,
    MethodNotAllowedError,
    UnknownNameError,
)
from ndlambda.model.catalog import Channel
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.volume.region import Region
from ndlambda.trace import span
from ndlambda.voxels.select import keep_ids, window
from ndlambda.web.problem import Dialect
from ndlambda.web.request.body import UPLOAD, open_voxels, write_voxels
from ndlambda.web.request.params import CutoutArguments, parse_channels, parse_cutout, region_of
from ndlambda.web.response.delivery import deliver
from ndlambda.web.routing import Context, Route
from ndlambda.wire.volume import ChannelData, Expected, VolumeFormat, formats

_DIALECT: Final = "ndstore"
_ALIASES = {"blaze": "blosc"}
_ZERO_CHANNEL = "0"
_NOT_IN_A_FILENAME = re.compile(r"[^A-Za-z0-9_.-]")
_MAX_STEM_LENGTH = 200


@dataclass(frozen=True, slots=True)
class _Cutout:
    view: ProjectView
    channels: tuple[Channel | None, ...]
    arguments: CutoutArguments
    regions: tuple[Region, ...]


def _open(context: Context, token: str, channels: str | None, args: str, *, write: bool) -> _Cutout:
    view = context.runtime.access.open(token, context.principal, write=write)
    # Routes match without the final slash, but an option counts only with it.
    arguments = parse_cutout(args + "/" if context.path.endswith("/") else args)
    chosen = _channels_of(view, channels)
    first = next(channel for channel in chosen if channel is not None)
    regions = tuple(region_of(view.dataset, channel or first, arguments) for channel in chosen)
    volume = context.runtime.volume
    volume.check_voxels(regions[0].voxels * len(regions))
    volume.check_size(
        regions[0], *{each.name: each for each in chosen if each is not None}.values()
    )
    return _Cutout(view, chosen, arguments, regions)


def _channels_of(view: ProjectView, names: str | None) -> tuple[Channel | None, ...]:
    """Return the channels that a path names; None is the zero channel (name ``0``)."""
    if names is None:
        return (view.default_channel(),)
    listed = [name for name in parse_channels(names) if name]
    if not listed:
        return (view.default_channel(),)
    return tuple(
        None if place and name == _ZERO_CHANNEL else view.channels_named([name])[0]
        for place, name in enumerate(listed)
    )


def get_cutout(
    context: Context, token: str, service: str, args: str, channels: str | None = None
) -> Response:
    """Read a box of one or more channels in the format that the path names."""
    body_format = _format(service, "GET")
    cutout = _open(context, token, channels, args, write=False)
    runtime = context.runtime
    size_bytes = sum(
        region.voxels * (channel.dtype.itemsize if channel else 8)
        for region, channel in zip(cutout.regions, cutout.channels, strict=True)
    )
    with ExitStack() as held:
        held.enter_context(runtime.volume.budget.hold(2 * size_bytes))
        read: dict[str, ChannelData] = {}  # each channel once, however often it is named
        for channel, region in zip(cutout.channels, cutout.regions, strict=True):
            name = channel.name if channel else _ZERO_CHANNEL
            read[name] = read.get(name) or _channel_data(context, cutout, channel, region)
        data = [read[channel.name if channel else _ZERO_CHANNEL] for channel in cutout.channels]
        assert body_format.encode is not None
        with span("encode", format=body_format.name):
            body = body_format.encode(data)
        headers = _disposition(context, body_format)
        return deliver(context, body, body_format.content_types[0], headers, held)


def _format(service: str, method: str) -> VolumeFormat:
    known = formats(_DIALECT)
    if service in _ALIASES and method == "GET":
        raise MethodNotAllowedError(f"{service} is only for POST.", allow=["POST"])
    name = _ALIASES.get(service, service)
    if name not in known:
        raise UnknownNameError("format", service, [*known, *_ALIASES])
    body_format = known[name]
    if method == "POST" and body_format.decode is None:
        if name == "raw":
            raise InvalidArgumentError("raw is an illegal Web POST service; send npz or hdf5.")
        raise MethodNotAllowedError(f"Could not find service {service} for POST.", allow=["GET"])
    return body_format


def _channel_data(
    context: Context, cutout: _Cutout, channel: Channel | None, region: Region
) -> ChannelData:
    if channel is None:
        first = cutout.channels[0]
        assert first is not None
        array: NDArray[Any] = np.zeros(region.shape_tzyx, first.dtype)
        channel = first
        name = _ZERO_CHANNEL
    else:
        array = context.runtime.volume.read(cutout.view.dataset, channel, region)
        name = channel.name
    arguments = cutout.arguments
    if arguments.ids is not None:
        if not channel.is_annotation:
            raise InvalidArgumentError("Filter only possible for Annotation Channels.")
        array = keep_ids(array, arguments.ids)
    if arguments.window is not None:
        array = window(array, *arguments.window)
    if arguments.times is None:
        array = array[0]
    return ChannelData(name, channel.channel_type.value, channel.datatype.value, array)


def _disposition(context: Context, body_format: VolumeFormat) -> dict[str, str]:
    if body_format.filename_suffix is None:
        return {}
    stem = context.path.removeprefix("/sd/").replace(",", "_").replace("/", "-")
    # The path may hold any characters after the options; a header may not.
    stem = _NOT_IN_A_FILENAME.sub("", stem)[:_MAX_STEM_LENGTH]
    return {
        "Content-Disposition": f"attachment; filename={stem}ndcutout.{body_format.filename_suffix}"
    }


def post_cutout(
    context: Context, token: str, service: str, args: str, channels: str | None = None
) -> Response:
    """Write the non-zero voxels of a box; all channels are checked before the first is written."""
    body_format = _format(service, "POST")
    cutout = _open(context, token, channels, args, write=True)
    runtime = context.runtime
    targets: list[Channel] = []
    for channel in cutout.channels:
        if channel is None:
            raise InvalidArgumentError("The zero channel '0' cannot be written.")
        if channel in targets:
            raise InvalidArgumentError(f"Channel {channel.name!r} is named twice.")
        runtime.volume.check_writable(channel)
        targets.append(channel)
    shape = cutout.regions[0].shape_tzyx
    expected = Expected(
        names=tuple(channel.name for channel in targets),
        dtypes=tuple(channel.dtype for channel in targets),
        shape=shape if cutout.arguments.times is not None else shape[1:],
    )
    voxel_bytes = sum(cutout.regions[0].voxels * channel.dtype.itemsize for channel in targets)
    request_body = open_voxels(context, targets[0], voxel_bytes)
    with runtime.volume.budget.hold(body_format.held_bytes(request_body.size_bytes, voxel_bytes)):
        assert body_format.decode is not None
        with span("decode", format=body_format.name):
            arrays = body_format.decode(request_body.read(), expected)
        for channel, region, array in zip(targets, cutout.regions, arrays, strict=True):
            write_voxels(context, channel, region, array)
    request_body.discard()
    return Response("Success", content_type="text/html")


_SERVICE = "<any({}):service>".format(",".join([*formats(_DIALECT), *_ALIASES]))
_RULES = (
    f"/sd/<name:token>/<names:channels>/{_SERVICE}/<path:args>",
    f"/sd/<name:token>/{_SERVICE}/<path:args>",
)

ROUTES = tuple(
    route
    for rule in _RULES
    for route in (
        Route("GET", rule, get_cutout, "Read a cutout", dialect=Dialect.NDSTORE),
        Route(
            "POST",
            rule,
            post_cutout,
            "Write a cutout; zeros never overwrite",
            dialect=Dialect.NDSTORE,
            query=(UPLOAD,),
            body="The array in the format of the path, axes (channel, [time,] z, y, x)",
        ),
    )
)
