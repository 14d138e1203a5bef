"""The contract of volume formats: how arrays become a body and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Dialect = Literal["ndstore", "v1"]
"""``ndstore``: channels stacked on a leading axis; ``v1``: one channel, no channel axis."""

Body = bytes | bytearray | memoryview
"""Result of an encoder; a memoryview shares the memory of the encoded array."""


@dataclass(frozen=True, slots=True)
class ChannelData:
    """The voxels of one channel to encode.

    Parameters
    ----------
    name
        Of the channel.
    channel_type, datatype
        As in the catalogue; ``datatype`` stays the channel's own if `array` is windowed.
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
    """The arrays that the URL of an upload promises; checked before a decoder allocates.

    Parameters
    ----------
    names
        Channels in the order of the URL.
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
    """A format of volume bodies.

    Parameters
    ----------
    name
        As in the URL.
    dialect
        Whether the body has a channel axis.
    content_types
        The first is sent; all are accepted.
    filename_suffix
        Suffix of the file name in Content-Disposition, such as ``blosc`` in ``…ndcutout.blosc``;
        None sends no such header.
    encode
        Channels -> body, or None. Raises DataTypeMismatchError for channels that cannot share a
        body, ShapeMismatchError for a channel count that the dialect does not support, and
        PayloadTooLargeError over a limit of the format.
    decode
        Body, promise -> one array per channel, little-endian, C-contiguous and aligned; they may
        be read-only views of the body or of one shared block. Or None. Raises only
        ShapeMismatchError, DataTypeMismatchError or MalformedBodyError.
    body_copies, voxel_copies
        Most copies of body and voxels in memory while decoding, including the body itself.
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
        """Return the most bytes that decoding holds at once."""
        return self.body_copies * body_bytes + self.voxel_copies * voxel_bytes
