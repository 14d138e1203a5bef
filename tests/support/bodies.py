"""Bodies of cutouts as clients make and read them: with numpy, zlib, blosc and h5py alone."""

import io
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import blosc
import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def noise(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> Array:
    """Return voxels of which none is zero, spread over what the dtype holds."""
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        values: Array = random.standard_normal(shape).astype(dtype)
        return np.where(values == 0, 1, values).astype(dtype)
    limits = np.iinfo(dtype)
    whole: Array = random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return np.where(whole == 0, 1, whole).astype(dtype)


def npy(array: Array) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def npz(array: Array) -> bytes:
    """Return ndstore's npz, which is a zlib stream of an .npy file."""
    return zlib.compress(npy(array))


def hdf5_file(write: Callable[[h5py.File], object]) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        write(file)
    return out.getvalue()


def hdf5(channels: Mapping[str, Array]) -> bytes:
    """Return the file that ndio uploads: a group a channel."""

    def write(file: h5py.File) -> None:
        for name, array in channels.items():
            group = file.create_group(name)
            group.create_dataset("CUTOUT", data=array, compression="gzip")
            group.create_dataset("CHANNELTYPE", (1,), h5py.string_dtype(), ["image"])
            group.create_dataset("DATATYPE", (1,), h5py.string_dtype(), [array.dtype.name])

    return hdf5_file(write)


def from_npy(body: bytes) -> Array:
    array: Array = np.load(io.BytesIO(body), allow_pickle=False)
    return array


def from_npz(body: bytes) -> Array:
    return from_npy(zlib.decompress(body))


def from_hdf5(body: bytes, group: str) -> Array:
    with h5py.File(io.BytesIO(body)) as file:
        array: Array = file[group]["CUTOUT"][...]
    return array


def packed(array: Array) -> bytes:
    body: bytes = blosc.pack_array(np.ascontiguousarray(array))
    return body


def unpacked(body: bytes) -> Array:
    array: Array = blosc.unpack_array(body)
    return array
