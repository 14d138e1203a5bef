"""Containers of all formats, written by their own libraries, are read as they were written.

Dtypes of both byte orders, orders of axes, compressors, chunks, shards, encodings and names.
"""

import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import nibabel
import nrrd
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from ingest_queue.sources import Options, open_source, second_reading
from ndlambda.errors import InvalidArgumentError
from tests.support.stacks import stack

Shape = tuple[int, ...]
EXAMPLES = settings(deadline=None, max_examples=15)
SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
CHUNKS = st.tuples(*[st.integers(1, 5)] * 3)
INTEGERS = ("u1", "i1", "<u2", ">u2", "<i2", ">i2", "<u4", ">i4", "<u8", "<i8")
DTYPES = st.sampled_from([*INTEGERS, "<f2", "<f4", ">f4", "<f8", "?"])


def voxels(shape: Shape, dtype: str) -> NDArray[Any]:
    """Return any bytes of that dtype but NaN, and one at least that is not 0: (z, y, x)."""
    found = np.random.default_rng(sum(shape)).integers(0, 2**62, shape)
    found.flat[0] = 1
    return (found % 2 if dtype == "?" else found % 97).astype(dtype)


@contextmanager
def place(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / name


def check(path: "Path | str", expected: NDArray[Any], **options: Any) -> None:
    source = open_source(path, Options(**options))
    for each in (source, second_reading(source)):
        found = stack(each)
        assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        assert np.array_equal(found.reshape(expected.shape), expected)


@EXAMPLES
@given(
    shape=SHAPES,
    chunks=CHUNKS,
    dtype=DTYPES,
    order=st.sampled_from("CF"),
    fill=st.sampled_from([0, 1, None]),
    loses=st.booleans(),
)
def test_zarr_2_of_any_order_and_fill_value(shape, chunks, dtype, order, fill, loses):
    with place("a.zarr") as path:
        stored = zarr.create_array(
            path,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            zarr_format=2,
            order=order,
            fill_value=None if fill is None else np.dtype(dtype).type(fill).item(),
        )
        stored[...] = voxels(shape, dtype)
        lose_a_chunk(path, loses)
        check(path, np.asarray(stored[...]))


@EXAMPLES
@given(
    shape=SHAPES,
    chunks=CHUNKS,
    dtype=DTYPES,
    per_shard=st.none() | st.tuples(*[st.integers(1, 2)] * 3),
    codecs=st.sampled_from(
        [[GzipCodec()], [ZstdCodec(), Crc32cCodec()], [BloscCodec(typesize=2)], None]
    ),
    transposed=st.none() | st.permutations(range(3)),
    encoding=st.sampled_from([("default", "/"), ("default", "."), ("v2", "."), ("v2", "/")]),
    loses=st.booleans(),
)
def test_zarr_3_of_any_codecs_shards_and_names(
    shape, chunks, dtype, per_shard, codecs, transposed, encoding, loses
):
    shards = per_shard and tuple(a * b for a, b in zip(chunks, per_shard, strict=True))
    with place("a.zarr") as path:
        stored = zarr.create_array(
            path,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            shards=shards,
            zarr_format=3,
            compressors=codecs,
            filters=[TransposeCodec(order=tuple(transposed))] if transposed else None,
            chunk_key_encoding={"name": encoding[0], "separator": encoding[1]},
        )
        stored[...] = voxels(shape, dtype)
        lose_a_chunk(path, loses)
        check(path, np.asarray(stored[...]))


def lose_a_chunk(path: Path, loses: bool) -> None:
    """Remove a chunk, which is its fill value then, unless it is the only one."""
    chunks = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in {"zarr.json", ".zarray", ".zattrs"}
    ]
    if loses and len(chunks) > 1:
        chunks[0].unlink()


@EXAMPLES
@given(
    shape=SHAPES,
    dtype=DTYPES,
    chunks=CHUNKS,
    layout=st.sampled_from(["contiguous", "compact", "chunks", "grown", "virtual", "external"]),
)
def test_hdf5_of_any_layout(shape, dtype, chunks, layout):
    array = voxels(shape, dtype)
    chunks = tuple(map(min, chunks, shape))
    with place("a.h5") as path, h5py.File(path, "w") as file:
        if layout == "compact":
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_layout(h5py.h5d.COMPACT)
            kind, space = h5py.h5t.py_create(array.dtype, logical=1), h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, b"v", kind, space, plan).write(space, space, array)
        elif layout == "virtual":
            whole = h5py.VirtualLayout(shape, array.dtype)
            for z, plane in enumerate(array):
                with h5py.File(path.with_name(f"{z}.h5"), "w") as part:
                    part["v"] = plane
                whole[z] = h5py.VirtualSource(f"{z}.h5", "v", shape[1:])
            file.create_virtual_dataset("v", whole)
        elif layout == "external":
            raw = path.with_name("raw")
            raw.write_bytes(array.tobytes())
            file.create_dataset("v", shape, array.dtype, external=[(raw, 0, array.nbytes)])
        elif layout == "contiguous":
            file["v"] = array
        else:
            options = {"compression": "gzip", "shuffle": True, "fletcher32": True}
            made = file.create_dataset(
                "v", data=array, chunks=chunks, maxshape=[None] * 3, **options
            )
            if layout == "grown":
                made.resize(shape[0] + 2, 0)
                array = made[...]
        file.flush()
        check(path, array)


@EXAMPLES
@given(
    shape=SHAPES,
    chunks=CHUNKS,
    dtype=st.sampled_from(["uint8", "uint16", "int32", "uint64", "float32"]),
    codec=st.sampled_from(["raw", "gzip", "bzip2", "xz", "zstd"]),
)
def test_n5_of_any_compression(shape, chunks, dtype, codec):
    metadata = {
        "dimensions": shape[::-1], "blockSize": chunks, "dataType": dtype,
        "compression": {"type": codec},
    }  # fmt: skip
    with place("a.n5") as path:
        create_tensor(path, "n5", voxels(shape, dtype).T, metadata=metadata)
        check(path, voxels(shape, dtype))


@EXAMPLES
@given(
    shape=SHAPES,
    chunks=CHUNKS,
    kind=st.sampled_from(
        [
            ("raw", "uint16"),
            ("raw", "float32"),
            ("compressed_segmentation", "uint64"),
            ("png", "uint8"),
        ]
    ),
    offset=st.tuples(*[st.integers(-3, 9)] * 3),
    bits=st.none() | st.integers(0, 2),
)
def test_precomputed_of_any_encoding_and_sharding(shape, chunks, kind, offset, bits):
    encoding, dtype = kind
    scale: dict[str, Any] = {
        "size": shape[::-1], "voxel_offset": offset, "chunk_size": chunks, "encoding": encoding,
        "resolution": [4, 4, 40], "key": "s0",
    }  # fmt: skip
    if encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    if bits is not None:
        scale["sharding"] = {
            "@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": bits, "shard_bits": bits,
            "minishard_bits": bits, "hash": "murmurhash3_x86_128", "data_encoding": "gzip",
            "minishard_index_encoding": "gzip",
        }  # fmt: skip
    whole = {"data_type": dtype, "num_channels": 1, "type": "image"}
    array = voxels(shape, dtype) + 1  # a chunk of zeros is not stored
    with place("a") as path:
        create_tensor(
            path, "neuroglancer_precomputed", array.T[..., None].astype(dtype),
            multiscale_metadata=whole, scale_metadata=scale,
        )  # fmt: skip
        check(path, array.astype(dtype))


def create_tensor(path: Path, driver: str, array: NDArray[Any], **more: Any) -> None:
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}, **more}
    tensorstore.open(spec, create=True).result().write(array).result()


@EXAMPLES
@given(
    shape=SHAPES | st.tuples(*[st.integers(1, 5)] * 4),
    dtype=st.sampled_from(["u1", "<i2", ">i2", "<u4", "<f4", ">f4", "<f8", "<u8"]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    version=st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]),
)
def test_nifti_of_any_dtype(shape, dtype, suffix, version):
    array = voxels(shape, dtype)
    header = version.header_class(
        endianness=array.dtype.byteorder.replace("|", "<").replace("=", "<")
    )
    header.set_data_dtype(dtype)
    with place(f"a{suffix}") as path:
        nibabel.save(version(array.T, np.eye(4), header), path)
        check(path, array)


@EXAMPLES
@given(
    shape=SHAPES,
    dtype=st.sampled_from([*INTEGERS, "<f4", ">f8"]),
    encoding=st.sampled_from(["raw", "gzip", "bzip2"]),
    suffix=st.sampled_from([".nrrd", ".nhdr"]),
)
def test_nrrd_of_any_encoding(shape, dtype, encoding, suffix):
    array = voxels(shape, dtype)
    with place(f"a{suffix}") as path:
        nrrd.write(str(path), array.T, {"encoding": encoding})
        check(path, array)


@EXAMPLES
@given(
    shape=SHAPES,
    samples=st.sampled_from([3, 4]),
    planar=st.booleans(),
    compression=st.sampled_from([None, "zlib", "lzw", "packbits"]),
    tile=st.none() | st.just((16, 32)),
)
def test_colours_of_a_tiff_together_or_apart(shape, samples, planar, compression, tile):
    colours = voxels((*shape, samples), "u1")
    stored = np.ascontiguousarray(np.moveaxis(colours, -1, 1)) if planar else colours
    with place("a.tif") as path:
        tifffile.imwrite(
            path, stored, photometric="rgb", compression=compression, tile=tile, metadata=None,
            planarconfig="separate" if planar else "contig",
        )  # fmt: skip
        rgba = np.full((*shape, 4), 255, np.uint8)
        rgba[..., :samples] = colours
        check(path, rgba.view("<u4")[..., 0])


@EXAMPLES
@given(
    shape=SHAPES,
    bits=st.sampled_from([1, 2, 4, 6, 10, 12, 14]),
    codec=st.sampled_from([(1, bytes), (8, zlib.compress), (5, imagecodecs.lzw_encode)]),
)
def test_samples_of_few_bits_of_a_tiff(shape, bits, codec):
    """Each row is packed, and padded to a whole byte (TIFF 6.0, section 3)."""
    array = (np.random.default_rng(bits).integers(0, 1 << bits, shape)).astype(np.uint16)
    number, compress = codec
    body, link = bytearray(b"II*\0\0\0\0\0"), 4
    for plane in array:
        digits = np.unpackbits(plane.astype(">u2").view("u1").reshape(*plane.shape, 2), axis=2)
        data = compress(
            np.packbits(digits[..., 16 - bits :].reshape(len(plane), -1), axis=1).tobytes()
        )
        at = len(body)
        body += data + bytes(len(data) % 2)
        struct.pack_into("<I", body, link, len(body))
        tags = {256: shape[2], 257: shape[1], 258: bits, 259: number, 262: 1, 273: at, 277: 1,
                278: shape[1], 279: len(data)}  # fmt: skip
        body += struct.pack("<H", len(tags))
        body += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        link = len(body)
        body += bytes(4)
    expected = array * 255 if bits == 1 else array
    with place("a.tif") as path:
        path.write_bytes(body)
        check(path, expected.astype(np.uint8 if bits <= 8 else np.uint16))


NAMES = ("{}", "s_{:04d}", "img({})", "z-{}", "{:03d}_2020-01-01", "a{}b", "ü{}", "[{}]", "z={} ")


@EXAMPLES
@given(
    count=st.integers(2, 12),
    first=st.sampled_from([0, 1, 8, 95]),
    name=st.sampled_from(NAMES),
    suffix=st.sampled_from([".png", ".PNG", ".tif"]),
    folder=st.sampled_from(["s", "s {0}", "s:1", "s%20", "[a]", "{x}"]),
)
def test_slices_of_odd_names(count, first, name, suffix, folder):
    array = voxels((count, 3, 4), "<u2")
    with place(folder) as path:
        path.mkdir()
        for z, plane in enumerate(array, first):
            Image.fromarray(plane).save(path / f"{name.format(z)}{suffix}")
        check(path, array)
        if count > 2:
            (path / f"{name.format(first + 1)}{suffix}").unlink()
            with pytest.raises(InvalidArgumentError, match=f"lacks 1 slice: {first + 1}"):
                open_source(path)
