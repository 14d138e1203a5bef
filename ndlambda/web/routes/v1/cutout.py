"""Cutouts: ``/v1/projects/{token}/channels/{channel}/…``."""

import hashlib
from contextlib import ExitStack
from typing import Final

import numpy as np
from werkzeug.wrappers import Request, Response

from ndlambda.errors import (
    NotAcceptableError,
    UnsupportedMediaTypeError,
)
from ndlambda.model.catalog import Channel
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.volume.region import Region
from ndlambda.trace import span
from ndlambda.web.request.body import UPLOAD, open_voxels, write_voxels
from ndlambda.web.request.params import region_of_query
from ndlambda.web.request.query import DISCIPLINE, TIMED_BOX, check_parameters, read_discipline
from ndlambda.web.response.delivery import deliver
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import CHANNEL_RULE, Context, QueryParameter, Route
from ndlambda.wire.volume import ChannelData, Expected, VolumeFormat, formats, get_format

_DIALECT: Final = "v1"
_DEFAULT = "npy"


def _open(
    context: Context, token: str, channel: str, *, write: bool
) -> tuple[ProjectView, Channel, Region, bool]:
    view, chosen = context.runtime.access.open_channel(
        token, channel, context.principal, write=write
    )
    known = (*TIMED_BOX, _FORMAT, *((DISCIPLINE, UPLOAD) if write else ()))
    check_parameters(context.request, known)
    region, timed = region_of_query(view.dataset, chosen, context.request.args)
    context.runtime.volume.check_size(region, chosen)
    return view, chosen, region, timed


def get_cutout(context: Context, token: str, channel: str) -> Response:
    """Read a box; ``format=``, or else ``Accept``, selects the format."""
    body_format = _format_to_write(context.request)
    view, chosen, region, timed = _open(context, token, channel, write=False)
    volume = context.runtime.volume
    with ExitStack() as held:
        held.enter_context(volume.budget.hold(2 * region.voxels * chosen.dtype.itemsize))
        array = volume.read(view.dataset, chosen, region)
        array = array if timed else array[0]
        assert body_format.encode is not None
        data = ChannelData(chosen.name, chosen.channel_type.value, chosen.datatype.value, array)
        with span("encode", format=body_format.name):
            body = body_format.encode([data])
        headers = {
            "X-NDLambda-Shape": ",".join(map(str, array.shape)),
            "X-NDLambda-Dtype": chosen.datatype.value,
            "Vary": "Accept",
        }
        return deliver(context, body, body_format.content_types[0], headers, held)


def _format_to_write(request: Request) -> VolumeFormat:
    name = request.args.get("format")
    if name is not None:
        return get_format(_DIALECT, name)
    accepted = request.accept_mimetypes
    if not accepted:
        return get_format(_DIALECT, _DEFAULT)
    known = {
        kind: body_format
        for body_format in formats(_DIALECT).values()
        for kind in body_format.content_types
    }
    offers = [get_format(_DIALECT, _DEFAULT).content_types[0], *known]
    best = accepted.best_match(offers)
    if best is None:
        raise NotAcceptableError(
            f"Cutouts are offered as {', '.join(known)}.", offered=sorted(known)
        )
    return known[best]


def _format_to_read(request: Request, media_type: str) -> VolumeFormat:
    name = request.args.get("format")
    if name is not None:
        return get_format(_DIALECT, name)
    for body_format in formats(_DIALECT).values():
        if media_type in body_format.content_types:
            return body_format
    raise UnsupportedMediaTypeError(
        f"Content type {media_type!r} is not a volume format; set it or format=.",
        known=sorted(formats(_DIALECT)),
    )


def post_cutout(context: Context, token: str, channel: str) -> Response:
    """Write the non-zero voxels of a box."""
    _, chosen, region, timed = _open(context, token, channel, write=True)
    volume = context.runtime.volume
    volume.check_writable(chosen)
    discipline = read_discipline(context.request.args)
    shape = region.shape_tzyx if timed else region.shape_tzyx[1:]
    voxel_bytes = region.voxels * chosen.dtype.itemsize
    request_body = open_voxels(context, chosen, voxel_bytes)
    body_format = _format_to_read(context.request, request_body.media_type)
    if body_format.decode is None:
        raise UnsupportedMediaTypeError(f"{body_format.name} bodies cannot be read.")
    with volume.budget.hold(body_format.held_bytes(request_body.size_bytes, voxel_bytes)):
        expected = Expected((chosen.name,), (chosen.dtype,), shape)
        with span("decode", format=body_format.name):
            (array,) = body_format.decode(request_body.read(), expected)
        write_voxels(context, chosen, region, array, discipline)
    request_body.discard()
    return json_response({"voxels": region.voxels})


def get_digest(context: Context, token: str, channel: str) -> Response:
    """Return a digest of a box, so that a client can skip boxes that are stored already."""
    view, chosen, region, _ = _open(context, token, channel, write=False)
    volume = context.runtime.volume
    with volume.budget.hold(region.voxels * chosen.dtype.itemsize):
        array = volume.read(view.dataset, chosen, region)
        digest = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=20).hexdigest()
        return json_response({"blake2b": digest, "nonzero": bool(array.any())})


_FORMAT = QueryParameter("format", "npy, raw, blosc, hdf5 or npz, instead of the content type")

ROUTES = (
    Route(
        "GET", f"{CHANNEL_RULE}/cutout", get_cutout, "Read a cutout", query=(*TIMED_BOX, _FORMAT)
    ),
    Route(
        "POST",
        f"{CHANNEL_RULE}/cutout",
        post_cutout,
        "Write a cutout; zeros never overwrite",
        query=(*TIMED_BOX, _FORMAT, DISCIPLINE, UPLOAD),
        body="The array, axes ([time,] z, y, x), in the format of the content type",
    ),
    Route(
        "GET",
        f"{CHANNEL_RULE}/digest",
        get_digest,
        "BLAKE2b-160 of a cutout's voxels",
        query=TIMED_BOX,
    ),
)
