"""Objects written once and never again: what was stored stays readable.

``python -m tests.golden.test_supercuboid_objects`` writes the files that are not there yet. An
existing file is never replaced: one that does not read any more means that data of users does not.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from numpy.typing import NDArray

from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.cuboids.supercuboid import decode_box, extras, read_index, splice, write_id
from ndlambda.model.catalog import IMAGE_CODEC, LABEL_CODEC
from ndlambda.space import morton
from ndlambda.space.box import XYZ, Box

FOLDER = Path(__file__).parent / "supercuboids"
WRITE_ID = bytes.fromhex("00112233445566778899aabbccddeeff")
EXTRAS = b"the extra labels of two voxels"
SLAB, CUBE, THIN, SMALL = (128, 128, 16), (64, 64, 64), (64, 32, 8), (16, 8, 4)


@dataclass(frozen=True, slots=True)
class Golden:
    """One frozen object: ``kind`` is full, edge (the volume ends inside) or sparse."""

    dtype: str
    cuboid_xyz: XYZ
    edge: int
    kind: str
    section: bytes = b""

    @property
    def name(self) -> str:
        return f"{self.dtype}-{'x'.join(map(str, self.cuboid_xyz))}-{self.edge}-{self.kind}"

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.bin"

    @property
    def layout(self) -> CuboidLayout:
        codec = LABEL_CODEC if self.dtype in {"uint32", "uint64"} else IMAGE_CODEC
        return CuboidLayout(
            np.dtype(self.dtype).newbyteorder("<"), self.cuboid_xyz, self.edge, codec
        )

    def voxels(self) -> NDArray[np.generic]:
        """Return the formula that made the file: steps in x, y and z, with the top bits in use."""
        width, height, depth = self.layout.supercuboid_xyz
        z, y, x = np.ogrid[:depth, :height, :width]
        steps = 1 + 8 * x // width + 9 * (8 * y // height) + 60 * (4 * z // depth)
        if self.dtype == "float32":
            values = (steps * np.float32(-0.37)).astype("<f4")
        else:
            top = 8 * self.layout.dtype.itemsize - 8
            values = steps.astype("<u8") << np.uint64(top) | (steps % 251).astype("<u8")
            values = values.astype(self.layout.dtype)
        if self.kind == "edge":
            values[depth // 2 - 3 :] = 0
            values[:, :, width // 2 + 5 :] = 0
        if self.kind == "sparse":
            kept = np.zeros_like(values, dtype=bool)
            kept[1, 2, 3] = kept[depth - 1, height - 2, 1] = kept[depth // 2, :, width - 1] = True
            values = np.where(kept, values, 0).astype(values.dtype)
        return values

    def cuboids(self) -> dict[int, NDArray[np.generic]]:
        array = self.voxels()
        return {slot: array[self.where(slot)] for slot in range(self.layout.slots)}

    def where(self, slot: int) -> tuple[slice, slice, slice]:
        (ix, iy, iz), (x, y, z) = morton.decode(slot), self.cuboid_xyz
        return Box.at((ix * x, iy * y, iz * z), self.cuboid_xyz).slices_zyx()

    def build(self) -> bytes:
        return splice(None, self.layout, self.cuboids(), WRITE_ID, self.section)


KINDS = ("full", "edge", "sparse")
GOLDEN = [
    *(Golden("uint8", SLAB, 2, kind) for kind in KINDS),
    *(Golden("uint16", THIN, 2, kind) for kind in KINDS),
    *(Golden("uint32", THIN, 2, kind, EXTRAS) for kind in KINDS),
    *(Golden("uint64", CUBE, 2, kind, EXTRAS) for kind in KINDS),
    *(Golden("float32", THIN, 2, kind) for kind in KINDS),
    *(Golden("uint16", SMALL, 4, kind) for kind in KINDS),
    Golden("uint8", SMALL, 1, "full"),
]
every_golden = pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)


def structure(data: bytes, layout: CuboidLayout) -> tuple[bytes, list[bool]]:
    """Return the header bytes and which index entries are present, checking all in between.

    Written from the description of the format, not with the package.
    """
    (section_bytes,) = struct.unpack_from("<I", data, 16)
    end = 20 + section_bytes
    assert struct.unpack_from("<I", data, end) == (google_crc32c.value(data[:end]),)
    index_at = len(data) - 16 * layout.slots - 4
    assert struct.unpack("<I", data[-4:]) == (google_crc32c.value(data[index_at:-4]),)
    entries = np.frombuffer(data[index_at:-4], "<u8").reshape(-1, 2)
    position = end + 4
    for slot in range(layout.slots):
        x, y, z = morton.decode(slot)
        n = layout.cuboids_per_axis
        offset, length = (int(value) for value in entries[(z * n + y) * n + x])
        if offset == length == 2**64 - 1:
            continue
        assert offset == position, "frames are to follow each other in Morton order"
        position += length
        frame = data[offset:position]
        assert struct.unpack("<I", frame[-4:]) == (google_crc32c.value(frame[:-4]),)
        nbytes, block_bytes, cbytes = struct.unpack_from("<III", frame, 4)
        assert (frame[0], frame[3]) == (2, layout.dtype.itemsize)
        assert (nbytes, cbytes) == (layout.cuboid_bytes, length - 4)
        assert block_bytes == min(65536, nbytes)
    assert position == index_at
    return data[: end + 4], (entries[:, 0] != 2**64 - 1).tolist()


@every_golden
def test_a_stored_object_reads_as_the_formula_that_made_it(golden: Golden) -> None:
    data, layout = memoryview(golden.path.read_bytes()), golden.layout
    whole = Box((0, 0, 0), layout.supercuboid_xyz)
    out = np.ones(whole.shape_zyx, layout.dtype)
    decode_box(data, layout, whole, out)
    np.testing.assert_array_equal(out, golden.voxels())
    assert write_id(data) == WRITE_ID
    assert extras(data) == golden.section


@every_golden
def test_what_is_written_today_has_the_structure_of_the_stored_object(golden: Golden) -> None:
    stored, today = golden.path.read_bytes(), golden.build()
    assert structure(today, golden.layout) == structure(stored, golden.layout)


@every_golden
def test_only_cuboids_with_voxels_are_in_a_stored_object(golden: Golden) -> None:
    data, layout = memoryview(golden.path.read_bytes()), golden.layout
    index = read_index(data[-layout.index_bytes :], layout, len(data))
    for slot, cuboid in golden.cuboids().items():
        assert index.present(slot) == bool(cuboid.any())


def test_every_file_has_its_formula() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {golden.path.name for golden in GOLDEN}


def write_missing_files() -> None:
    """Write the objects that are not there yet."""
    FOLDER.mkdir(exist_ok=True)
    for golden in GOLDEN:
        if not golden.path.exists():
            golden.path.write_bytes(golden.build())


if __name__ == "__main__":
    write_missing_files()
