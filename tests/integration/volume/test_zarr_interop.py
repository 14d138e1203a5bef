"""Our objects as they lie, under Zarr v3 keys, read by zarr-python and by tensorstore."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zarr
from numpy.typing import NDArray

from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.cuboids.supercuboid import read_index, splice
from ndlambda.cuboids.zarr import array_metadata
from ndlambda.model.catalog import IMAGE_CODEC, LABEL_CODEC, CodecSpec
from ndlambda.space import grid
from ndlambda.space.box import XYZ, Box

Reader = Callable[[Path, Box], NDArray[np.generic]]
IMAGESIZE_XYZ: XYZ = (100, 70, 30)
CUBOID_XYZ: XYZ = (32, 16, 8)
KINDS = ("full", "edge", "sparse")


def read_with_zarr(folder: Path, box: Box) -> NDArray[np.generic]:
    array = zarr.open_array(str(folder), mode="r")
    return np.asarray(array[box.slices_zyx()])


def read_with_tensorstore(folder: Path, box: Box) -> NDArray[np.generic]:
    kvstore = {"driver": "file", "path": f"{folder}/"}
    array = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()
    return np.asarray(array[box.slices_zyx()].read().result())


@pytest.fixture(params=[read_with_zarr, read_with_tensorstore])
def read(request):
    return request.param


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume in a folder: what was stored, and where the object of a chunk is."""

    folder: Path
    layout: CuboidLayout
    voxels: NDArray[np.generic]

    def objects(self) -> Iterator[Path]:
        return self.folder.glob("c/*/*/*")

    @property
    def box(self) -> Box:
        return Box((0, 0, 0), IMAGESIZE_XYZ)


def some_voxels(layout: CuboidLayout, kind: str) -> NDArray[np.generic]:
    """Return (z, y, x): full, zeros from the middle on, or few voxels of which one is the last."""
    rng = np.random.default_rng(4)
    shape_zyx = IMAGESIZE_XYZ[::-1]
    count = int(np.prod(shape_zyx))
    voxels = rng.integers(1, 120, count).astype(layout.dtype).reshape(shape_zyx)
    if layout.dtype.itemsize > 1:
        voxels *= np.array(251, layout.dtype)
    if kind == "edge":
        voxels[:, :, 40:] = 0
        voxels[17:] = 0
    if kind == "sparse":
        kept = rng.random(shape_zyx) < 1e-4
        kept[-1, -1, -1] = True
        voxels[~kept] = 0
    return voxels


def store(folder: Path, layout: CuboidLayout, voxels: NDArray[np.generic]) -> Volume:
    """Write a volume as the service does: supercuboids with a header, extras and a write-id."""
    folder.mkdir(exist_ok=True)
    (folder / "zarr.json").write_text(json.dumps(array_metadata(layout, IMAGESIZE_XYZ)))
    x, y, z = layout.supercuboid_xyz
    for chunk in grid.cover(Box((0, 0, 0), IMAGESIZE_XYZ), (x, y, z)):
        padded = np.zeros((z, y, x), layout.dtype)
        padded[chunk.part.slices_zyx(chunk.box.start_xyz)] = voxels[chunk.part.slices_zyx()]
        if not padded.any():
            continue
        whole = Box((0, 0, 0), layout.supercuboid_xyz)
        cuboids = {
            cell.code: padded[cell.box.slices_zyx()]
            for cell in grid.cover(whole, layout.cuboid_xyz)
        }
        x0, y0, z0 = chunk.box.start_xyz
        path = folder / "c" / str(z0 // z) / str(y0 // y) / str(x0 // x)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(splice(None, layout, cuboids, b"w" * 16, b"extra labels"))
    return Volume(folder, layout, voxels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "float32", "int16"])
def test_every_voxel_is_read_equal(tmp_path, read, kind, dtype):
    codec = LABEL_CODEC if dtype in {"uint32", "uint64"} else IMAGE_CODEC
    layout = CuboidLayout(np.dtype(dtype).newbyteorder("<"), CUBOID_XYZ, 2, codec)
    volume = store(tmp_path, layout, some_voxels(layout, kind))
    read_voxels = read(volume.folder, volume.box)
    assert read_voxels.dtype == layout.dtype
    np.testing.assert_array_equal(read_voxels, volume.voxels)


@pytest.mark.parametrize("edge", [1, 2, 4])
@pytest.mark.parametrize("codec", [CodecSpec("lz4", 5, 2), CodecSpec("zstd", 1, 1)], ids=str)
def test_boxes_are_read_equal_whatever_the_edge_and_codec(tmp_path, read, edge, codec):
    layout = CuboidLayout(np.dtype("<u2"), (16, 16, 4), edge, codec)
    volume = store(tmp_path, layout, some_voxels(layout, "edge"))
    rng = random.Random(2)
    for _ in range(10):
        x, y, z = (sorted(rng.sample(range(size + 1), 2)) for size in IMAGESIZE_XYZ)
        box = Box((x[0], y[0], z[0]), (x[1], y[1], z[1]))
        np.testing.assert_array_equal(read(volume.folder, box), volume.voxels[box.slices_zyx()])


def test_an_emptied_object_is_read_as_zeros(tmp_path, read):
    layout = CuboidLayout(np.dtype("<u4"), CUBOID_XYZ, 2, LABEL_CODEC)
    volume = store(tmp_path, layout, some_voxels(layout, "full"))
    for path in volume.objects():
        nothing = dict.fromkeys(range(layout.slots))
        path.write_bytes(splice(memoryview(path.read_bytes()), layout, nothing, b"e" * 16))
    assert not read(volume.folder, volume.box).any()


def test_other_readers_find_a_flipped_bit_of_a_frame_too(tmp_path, read):
    layout = CuboidLayout(np.dtype("u1"), CUBOID_XYZ, 2, IMAGE_CODEC)
    volume = store(tmp_path, layout, some_voxels(layout, "full"))
    path = volume.folder / "c" / "0" / "0" / "0"
    data = bytearray(path.read_bytes())
    index = read_index(memoryview(data)[-layout.index_bytes :], layout, len(data))
    data[index.span(0).start + 900] ^= 0x04
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"(?i)checksum|digest"):
        read(volume.folder, volume.box)
