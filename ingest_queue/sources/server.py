"""Reads a channel of another server over ndstore's protocol, by cutouts.

The URL is ``http://host/sd/token/channel/``; the option ``level`` is the resolution.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source
from ndlambda.client.transport.http import PooledTransport
from ndlambda.client.transport.session import Session
from ndlambda.errors import (
    AuthenticationError,
    InvalidArgumentError,
    PermissionDeniedError,
    UnknownNameError,
)
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.wire.volume import Expected, get_format

SUFFIXES = ("http://host/sd/token/channel/",)
LACKS = ("channel",)

_ADDRESS: Final = re.compile(r"(https?://[^{}]+)/(?:sd|ca)/(\w+)/(\w+)/?")
_PIECE_ZYX: Final = (16, 1024, 1024)
"""A cutout has at most 16.8 million voxels; many servers refuse longer bodies."""


@dataclass(frozen=True, slots=True)
class ServerSource:
    """A channel at one resolution; see :class:`ingest_queue.sources.Source`.

    Attributes
    ----------
    path
        Of the channel under the server's root.
    start_xyz
        Dataset coordinates of its first voxel.
    start_time
        Its first time point; None for a channel without time.
    """

    session: Session
    path: str
    level: int
    start_xyz: tuple[int, int, int]
    start_time: int | None
    shape_tzyx: tuple[int, int, int, int]
    dtype: np.dtype
    voxelres_xyz: tuple[float, float, float]
    labels_allowed: bool = True

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x); one cutout after another, with retries if the server fails."""
        _, _, height, width = self.shape_tzyx
        planes = np.empty((z1 - z0, height, width), self.dtype)
        for z, y, x in product(*map(_spans, planes.shape, _PIECE_ZYX)):
            part = planes[slice(*z), slice(*y), slice(*x)]
            part[...] = self._cutout(t, ((z[0] + z0, z[1] + z0), y, x))
        return planes

    def _cutout(self, t: int, spans_zyx: tuple[tuple[int, int], ...]) -> NDArray[Any]:
        offsets = self.start_xyz
        ranges = [
            f"{start + offset},{stop + offset}"
            for (start, stop), offset in zip(spans_zyx[::-1], offsets, strict=True)
        ]
        shape = tuple(stop - start for start, stop in spans_zyx)
        if self.start_time is not None:
            ranges.append(f"{self.start_time + t},{self.start_time + t + 1}")
            shape = (1, *shape)
        path = f"{self.path}/npz/{self.level}/{'/'.join(ranges)}/"
        body = self.session.request("GET", path).body
        decode = get_format("ndstore", "npz").decode
        assert decode is not None, "npz can be read"
        expected = Expected((self.path.rpartition("/")[2],), (self.dtype,), shape)
        (found,) = decode(body, expected)
        return found.reshape(shape[-3:])


def _spans(length: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, step):
        yield start, min(start + step, length)


def matches(place: Place) -> bool:
    """Match by the URL."""
    return _ADDRESS.fullmatch(place.text) is not None


def open_source(place: Place, options: Options) -> Source:
    """Request the info document; see :func:`ingest_queue.sources.open_source`."""
    found = _ADDRESS.fullmatch(place.text)
    assert found is not None, "matches() found it"
    root, token, channel = found.groups()
    session = Session(root, None, PooledTransport())
    try:
        info = session.json("GET", f"/sd/{token}/info/")
    except (AuthenticationError, PermissionDeniedError) as error:
        raise InvalidArgumentError(
            f"{place.text} is read without a key, which token {token} does not allow: name a "
            "public token of it, or fetch the data by `ndlambda get` and send the file."
        ) from error
    with reading(place.text):
        if channel not in info["channels"]:
            raise UnknownNameError("channel", channel, tuple(info["channels"]))
        return _describe(session, f"/sd/{token}/{channel}", info, options.level)


def _describe(session: Session, path: str, info: dict[str, Any], level: int) -> Source:
    facts, dataset = info["channels"][path.rpartition("/")[2]], info["dataset"]
    key = str(level)
    if key not in dataset["imagesize"]:
        raise InvalidArgumentError(
            f"{session.url}{path} has the resolutions {', '.join(dataset['imagesize'])}, not "
            f"{level}."
        )
    x, y, z = map(int, dataset["imagesize"][key])
    start_x, start_y, start_z = map(int, dataset["offset"][key])
    first, last = facts["timerange"]
    has_time = facts["channel_type"] == ChannelType.TIMESERIES
    vx, vy, vz = map(float, dataset["voxelres"][key])
    return ServerSource(
        session=session,
        path=path,
        level=level,
        start_xyz=(start_x, start_y, start_z),
        start_time=int(first) if has_time else None,
        shape_tzyx=(int(last) - int(first) if has_time else 1, z, y, x),
        dtype=DataType(facts["datatype"]).numpy,
        voxelres_xyz=(vx, vy, vz),
    )
