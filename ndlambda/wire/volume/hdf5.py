"""``hdf5``: a group per channel with the datasets CUTOUT, CHANNELTYPE and DATATYPE.

Chunks are compressed by igzip at level 1 and passed to HDF5 ready-made, about five times as fast
as its own gzip filter, which can read them: both are zlib streams.
"""

from collections.abc import Sequence
from io import BytesIO
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import MalformedBodyError
from ndlambda.wire.codecs.hdf5_reader import find_group, open_bytes, read_dataset
from ndlambda.wire.codecs.inflate import LEVEL, deflate
from ndlambda.wire.codecs.promise import Promise
from ndlambda.wire.volume.block import little_endian, promised_single, single, view_bytes
from ndlambda.wire.volume.contract import Body, ChannelData, Expected, VolumeFormat

if TYPE_CHECKING:
    import h5py

DEFAULT_GROUP: Final = "default"
"""ndstore's group name if the URL names no channel; read and written besides the channel's name."""

_CHUNK_ZYX: Final = (16, 128, 128)


def encode(channels: Sequence[ChannelData]) -> Body:
    """Return the file; channels may differ in dtype and shape, duplicates are written once.

    A file of one channel also has its group under the name ``default``, by a hard link.
    """
    import h5py

    out = BytesIO()
    with h5py.File(out, "w") as file:
        for channel in {channel.name: channel for channel in channels}.values():
            group = file.create_group(channel.name)
            _write_cutout(group, little_endian(channel.array))
            text = h5py.string_dtype()
            group.create_dataset("CHANNELTYPE", (1,), text, [channel.channel_type])
            group.create_dataset("DATATYPE", (1,), text, [channel.datatype])
        if len(channels) == 1 and channels[0].name != DEFAULT_GROUP:
            file[DEFAULT_GROUP] = file[channels[0].name]
    return out.getbuffer()


def _write_cutout(group: "h5py.Group", array: NDArray[Any]) -> None:
    outer = array.ndim - len(_CHUNK_ZYX)
    chunk = (1,) * outer + tuple(map(min, _CHUNK_ZYX, array.shape[outer:]))
    dataset = group.create_dataset(
        "CUTOUT", array.shape, array.dtype, chunks=chunk, compression="gzip", compression_opts=LEVEL
    )
    grid = [range(0, edge, step) for edge, step in zip(array.shape, chunk, strict=True)]
    for corner in product(*grid):
        stop = map(int.__add__, corner, chunk)
        part = array[tuple(map(slice, corner, stop))]
        if part.shape == chunk:
            whole = np.ascontiguousarray(part)
        else:
            whole = np.zeros(chunk, array.dtype)
            whole[tuple(map(slice, part.shape))] = part
        # A missing chunk reads as zeros. Compare bytes, not values: a negative zero must be stored.
        if whole.view(np.uint8).any():
            dataset.id.write_direct_chunk(corner, deflate(view_bytes(whole)))


def decode(body: bytes | memoryview, expected: Expected) -> list[NDArray[Any]]:
    """Read CUTOUT of each channel's group; a single channel may be in the group ``default``.

    The dtype of CUTOUT is used, not the text in DATATYPE.

    Raises
    ------
    MalformedBodyError, DataTypeMismatchError, ShapeMismatchError
        As :func:`ndlambda.wire.codecs.hdf5_reader.read_dataset`; a missing group is malformed.
    """
    arrays = []
    with open_bytes(body) as root:
        for name, dtype in zip(expected.names, expected.dtypes, strict=True):
            group = find_group(root, name)
            if group is None and len(expected.names) == 1:
                group = find_group(root, DEFAULT_GROUP)
            if group is None:
                message = f"The HDF5 file has no group {name!r}."
                raise MalformedBodyError(message, missing=name)
            promise = Promise(dtype.newbyteorder("<"), expected.shape)
            arrays.append(read_dataset(group, "CUTOUT", promise))
    return arrays


def _encode_single(channels: Sequence[ChannelData]) -> Body:
    single(channels)
    return encode(channels)


def _decode_single(body: bytes | memoryview, expected: Expected) -> list[NDArray[Any]]:
    promised_single(expected)
    return decode(body, expected)


_COPIES: Final = (2, 3)
"""The body and libhdf5's image of it; the voxels inflated, unshuffled, and in the result."""

FORMATS = (
    VolumeFormat("hdf5", "ndstore", ("product/hdf5",), "h5", encode, decode, *_COPIES),
    VolumeFormat(
        "hdf5", "v1", ("application/x-hdf5",), "h5", _encode_single, _decode_single, *_COPIES
    ),
)
