"""Turns paths and queries into regions; the dataset's offset is subtracted only here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import (
    InvalidArgumentError,
    OutOfBoundsError,
    PathSyntaxError,
    PayloadTooLargeError,
)
from ndlambda.model.catalog import MAX_CHANNELS, Channel, Dataset
from ndlambda.model.ramon import LARGEST_ID
from ndlambda.services.volume.region import Region
from ndlambda.space.box import XYZ, Box

_INTEGER = r"[0-9]{1,18}"
_CUTOUT = re.compile(
    rf"(?P<resolution>[0-9]{{1,3}})/(?P<x0>{_INTEGER}),(?P<x1>{_INTEGER})"
    rf"/(?P<y0>{_INTEGER}),(?P<y1>{_INTEGER})/(?P<z0>{_INTEGER}),(?P<z1>{_INTEGER})"
    rf"(?=/|$)(?:/(?P<t0>{_INTEGER}),(?P<t1>{_INTEGER})(?=/))?"
)
_WINDOW = re.compile(r"/window/([0-9]+(?:\.[0-9]*)?),([0-9]+(?:\.[0-9]*)?)/")
_FILTER = re.compile(r"/filter/([0-9]+(?:,[0-9]+)*)/")
_LABEL_DIGITS = 20
_RANGE = re.compile(rf"({_INTEGER}):({_INTEGER})")

MAX_IDS = 10_000
"""Most ids in one request."""
_MAX_OPTIONS = 32
"""Most segments of a path that are options of a cutout."""


@dataclass(frozen=True, slots=True)
class CutoutArguments:
    """The arguments of a legacy cutout path; the box is in dataset coordinates.

    Attributes
    ----------
    times
        None if the path names no time range; the answer then has no time axis.
    window
        The values that map to 0 and 255, or None.
    ids
        Labels to keep, or None for all.
    """

    resolution: int
    box: Box
    times: tuple[int, int] | None
    neariso: bool
    window: tuple[float, float] | None
    ids: frozenset[int] | None


def parse_cutout(arguments: str) -> CutoutArguments:
    """Read ``res/x0,x1/y0,y1/z0,z1[/t0,t1/][neariso/][window/a,b/][filter/ids/]``.

    Options count only when they end in a slash, as in ndstore; ndio sends some without and
    depends on that. ``0,0`` as a time range is ignored too (a quirk of old ndio).

    Raises
    ------
    PathSyntaxError
        A range is missing or not decimal, or there are very many options.
    EmptyBoxError
        A range is empty or reversed.
    PayloadTooLargeError
        There are more than ``MAX_IDS`` ids to filter by.
    """
    match = _CUTOUT.match(arguments)
    if match is None:
        raise PathSyntaxError(
            "A cutout is RESOLUTION/x0,x1/y0,y1/z0,z1/ in non-negative decimal integers.",
            path=arguments,
        )
    number = {name: int(text) for name, text in match.groupdict().items() if text is not None}
    box = Box(
        (number["x0"], number["y0"], number["z0"]), (number["x1"], number["y1"], number["z1"])
    )
    times = (number["t0"], number["t1"]) if "t0" in number else None
    options = arguments[match.end() :]
    if options.count("/") > _MAX_OPTIONS:
        raise PathSyntaxError(f"A cutout has at most {_MAX_OPTIONS} options.", limit=_MAX_OPTIONS)
    window = _WINDOW.search(options)
    ids = _FILTER.search(options)
    return CutoutArguments(
        resolution=number["resolution"],
        box=box,
        times=None if times == (0, 0) else times,
        neariso="/neariso/" in options,
        window=(float(window[1]), float(window[2])) if window else None,
        ids=_labels_of(ids[1]) if ids else None,
    )


def _labels_of(text: str) -> frozenset[int]:
    """Return the labels of a list, skipping numbers too long for a 64-bit label."""
    words = _split(text, MAX_IDS, "ids")
    return frozenset(int(word) for word in words if len(word) <= _LABEL_DIGITS)


def parse_channels(names: str) -> list[str]:
    """Return the comma-separated names of channels, in their order, with duplicates.

    Raises
    ------
    PayloadTooLargeError
        There are more than ``MAX_CHANNELS``.
    """
    return _split(names, MAX_CHANNELS, "channels")


def check_channels(count: int) -> None:
    """Refuse a request for more than ``MAX_CHANNELS`` channels.

    Raises
    ------
    PayloadTooLargeError
    """
    _check_count(count, MAX_CHANNELS, "channels")


def _split(text: str, limit: int, what: str) -> list[str]:
    """Return the words between commas, after their number was checked."""
    _check_count(text.count(",") + 1, limit, what)
    return text.split(",")


def _check_count(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise PayloadTooLargeError(
            f"{count} {what} are over the limit of {limit}; ask in parts.", limit=limit
        )


def region_of(dataset: Dataset, channel: Channel, arguments: CutoutArguments) -> Region:
    """Return the region that a legacy cutout names, checked against the volume.

    Near-isotropic data is a separate pyramid only where it differs from the plain level. Where its
    scale is 1 the plain level is used (ndstore wrote it to a place that it never read).

    Raises
    ------
    ResolutionNotFoundError, OutOfBoundsError
    """
    level = dataset.pyramid.level(arguments.resolution)
    times = arguments.times or (channel.default_time, channel.default_time + 1)
    return _region(
        Region(
            level,
            arguments.box,
            times,
            neariso=arguments.neariso and level.neariso_scaledown > 1,
        )
    )


def _region(region: Region) -> Region:
    x, y, z = region.level.offset_xyz
    if any(at < off for at, off in zip(region.box.start_xyz, (x, y, z), strict=True)):
        raise OutOfBoundsError(
            f"The box starts at {region.box.start_xyz} (x, y, z), before the dataset's offset "
            f"{(x, y, z)} at resolution {region.level.resolution}.",
            offset_xyz=(x, y, z),
        )
    shifted = Region(
        region.level, region.box.shifted((-x, -y, -z)), region.times, neariso=region.neariso
    )
    shifted.check()
    return shifted


def parse_region(arguments: str) -> CutoutArguments:
    """Read exactly ``res/x0,x1/y0,y1/z0,z1[/t0,t1]``, with or without a final slash.

    Raises
    ------
    PathSyntaxError
        It has another form.
    EmptyBoxError
        A range is empty or reversed.
    """
    text = arguments.removesuffix("/") + "/"
    match = _CUTOUT.match(text)
    if match is None or text[match.end() :] != "/":
        raise PathSyntaxError(
            "A region is RESOLUTION/x0,x1/y0,y1/z0,z1 in non-negative decimal integers, and "
            "/t0,t1 where a time is meant.",
            path=arguments,
        )
    return parse_cutout(text)


def parse_resolution(word: str) -> int:
    """Read the number of a resolution.

    Raises
    ------
    PathSyntaxError
        It is not a resolution number.
    """
    if not re.fullmatch(r"[0-9]{1,3}", word):
        raise PathSyntaxError(f"{word[:80]!r} is no resolution; those are numbers like 0.")
    return int(word)


def parse_ids(text: str) -> list[int]:
    """Return comma-separated ids without duplicates, in order of first occurrence.

    Raises
    ------
    InvalidArgumentError
        An id is not a number or exceeds 64 bits.
    PayloadTooLargeError
        There are more than ``MAX_IDS``.
    """
    ids: dict[int, None] = {}
    for word in _split(text, MAX_IDS, "ids"):
        if not re.fullmatch(rf"[0-9]{{1,{_LABEL_DIGITS}}}", word) or int(word) > LARGEST_ID:
            raise InvalidArgumentError(f"{word[:80]!r} is no id; ids are from 1 to {LARGEST_ID}.")
        ids[int(word)] = None
    return list(ids)


def region_of_corner(
    dataset: Dataset, channel: Channel, resolution: int, corner_xyz: XYZ, size_xyz: XYZ
) -> Region:
    """Return the region at an absolute corner, at the channel's first time point.

    Raises
    ------
    EmptyBoxError, OutOfBoundsError, ResolutionNotFoundError
    """
    (x, y, z), (dx, dy, dz) = corner_xyz, size_xyz
    level = dataset.pyramid.level(resolution)
    first = channel.default_time
    return _region(Region(level, Box(corner_xyz, (x + dx, y + dy, z + dz)), (first, first + 1)))


def absolute_points(region: Region, points_xyz: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return points (n, 3) of a region's level, columns x, y, z, as dataset coordinates."""
    return points_xyz.astype(np.int64) + np.array(region.level.offset_xyz, np.int64)


def region_of_query(
    dataset: Dataset, channel: Channel, query: Mapping[str, str]
) -> tuple[Region, bool]:
    """Return the region that a v1 query names, and whether it names a time range.

    ``resolution``, and half-open ranges ``x=a:b`` (also y, z, t) in dataset coordinates. An
    omitted axis is whole; an omitted time is the channel's first time point.

    Raises
    ------
    InvalidArgumentError
        A parameter is not an integer or a range.
    EmptyBoxError, OutOfBoundsError, ResolutionNotFoundError
    """
    resolution = query.get("resolution", "0")
    if not re.fullmatch(r"[0-9]{1,3}", resolution):
        raise InvalidArgumentError(f"resolution={resolution!r} is not a number like 0.")
    level = dataset.pyramid.level(int(resolution))
    ranges = [
        _query_range(query, axis, offset, offset + size)
        for axis, offset, size in zip("xyz", level.offset_xyz, level.imagesize_xyz, strict=True)
    ]
    (x0, x1), (y0, y1), (z0, z1) = ranges
    timed = "t" in query
    first = channel.default_time
    times = _query_range(query, "t", first, first + 1)
    return _region(Region(level, Box((x0, y0, z0), (x1, y1, z1)), times)), timed


def _query_range(query: Mapping[str, str], axis: str, start: int, stop: int) -> tuple[int, int]:
    text = query.get(axis)
    if text is None:
        return start, stop
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InvalidArgumentError(
            f"{axis}={text!r} is not a range like {start}:{stop} of non-negative integers.",
            parameter=axis,
        )
    return int(match[1]), int(match[2])
