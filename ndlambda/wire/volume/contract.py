"""What every volume format is: a name, and how arrays become a body and come back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Dialect = Literal["ndstore", "v1"]
"""``ndstore``: channels stacked on a leading axis; ``v1``: one channel, no channel axis."""

Body = bytes | bytearray | memoryview
"""What an encoder gives; a memoryview shares the memory of the array that was encoded."""


@dataclass(frozen=True, slots=True)
class ChannelData:
    """The voxels of one channel on their way out.

    Parameters
    ----------
    name
        Of the channel.
    channel_type, datatype
        As the catalogue has them; ``datatype`` stays the channel's own when `array` is windowed.
    array
        (z, y, x) or (time, z, y, x), one of the nine dtypes of
        :class:`ndlambda.model.dtypes.DataType`.
    """

    name: str
    channel_type: str
    datatype: str
    array: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the URL of an upload promises; a decoder compares before it allocates.

    Parameters
    ----------
    names
        Channels, in the order of the URL.
    dtypes
        Of each channel.
    shape
        Of each channel: (z, y, x) or (time, z, y, x).
    """

    names: tuple[str, ...]
    dtypes: tuple[np.dtype[Any], ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.dtypes):
            message = f"{len(self.names)} names do not go with {len(self.dtypes)} dtypes."
            raise ValueError(message)


Encode = Callable[[Sequence[ChannelData]], Body]
Decode = Callable[[bytes | memoryview, Expected], list[NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class VolumeFormat:
    """One way to write arrays into a body.

    Parameters
    ----------
    name
        As in the URL.
    dialect
        Whether the body has a channel axis.
    content_types
        The first is sent; all are understood.
    filename_suffix
        What the Content-Disposition file name of an answer ends with, such as ``blosc`` in
        ``…ndcutout.blosc``; None: no such header.
    encode
        Channels -> body, or None. Raises DataTypeMismatchError for channels that cannot share a
        body, ShapeMismatchError for a count the dialect has no room for, and
        PayloadTooLargeError over a limit of the format.
    decode
        Body, promise -> one array a channel, little-endian, C-contiguous and aligned; they may
        be read-only views of the body or of one shared block. Or None. Raises
        ShapeMismatchError, DataTypeMismatchError or MalformedBodyError, and nothing else.
    body_copies, voxel_copies
        How often, at most, body and voxels are in memory while decoding, the body itself counted.
    """

    name: str
    dialect: Dialect
    content_types: tuple[str, ...]
    filename_suffix: str | None
    encode: Encode | None
    decode: Decode | None
    body_copies: int = 1
    voxel_copies: int = 1

    def held_bytes(self, body_bytes: int, voxel_bytes: int) -> int:
        """Return how many bytes decoding holds at once, at most."""
        return self.body_copies * body_bytes + self.voxel_copies * voxel_bytes
