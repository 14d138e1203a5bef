"""A source cut into chunks: the right voxels, read once, in bounded memory."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from ingest_queue.jobs.grid import ChunkGrid
from ndlambda.cli.ingest.slabs import MAX_THREADS, BadPlane, Memory, Slabs, _SpooledSlab
from ndlambda.client.transport.parallel import bounded_map
from ndlambda.client.volume import bodies
from ndlambda.errors import MalformedBodyError
from ndlambda.space.box import Box
from tests.support.memory import peak_bytes

CORNER = (5, 3, 2)
BOX = Box(CORNER, (45, 33, 22))
GRID = ChunkGrid.of_chunks(BOX, (4, 6), (8, 8, 4))
MB = 1_000_000


@dataclass
class Stack:
    """A source in memory; ``calls`` are the planes that were asked for."""

    voxels_tzyx: np.ndarray
    bad: int | None = None
    calls: list[tuple[int, int, int]] = field(default_factory=list)

    labels_allowed = True
    voxelres_xyz = None

    @property
    def shape_tzyx(self):
        return self.voxels_tzyx.shape

    @property
    def dtype(self):
        return self.voxels_tzyx.dtype

    def read(self, t, z0, z1):
        self.calls.append((t, z0, z1))
        if self.bad is not None and z0 <= self.bad < z1:
            raise MalformedBodyError("plane is damaged")
        return self.voxels_tzyx[t, z0:z1]


@pytest.fixture
def stack():
    shape = (2, *BOX.shape_zyx)
    return Stack(np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))


def refuse(planes):
    raise AssertionError(planes)


def slabs(stack, most_bytes, on_unreadable=refuse, dtype="u1"):
    return Slabs(stack, GRID, np.dtype(dtype), Memory(most_bytes), on_unreadable)


@pytest.mark.parametrize(
    ("dtype", "most_bytes"), [("u1", 1), ("<u4", 1), ("<u4", 30_000), ("u1", MB)]
)
def test_chunks_have_the_voxels_of_their_boxes(stack, most_bytes, dtype):
    """With 1 byte every slab is spooled, plane by plane; with a megabyte none is."""
    whole = np.zeros((2, *BOX.shape_zyx), dtype)
    for ready in slabs(stack, most_bytes, dtype=dtype).ready(range(GRID.count)):
        voxels = ready.load()
        assert voxels.flags.c_contiguous
        where = ready.chunk.box.slices_zyx(CORNER)
        whole[(ready.chunk.time_point - 4, *where)] = voxels
    assert np.array_equal(whole, stack.voxels_tzyx)


LAYER = GRID.count // 2 // 3  # three layers of z a time point


@pytest.mark.parametrize(("most_bytes", "numbers", "calls"), [
    (MB, [0, 1, LAYER * 2, GRID.count - 1], [(0, 0, 6), (0, 14, 20), (1, 14, 20)]),
    (8 * 2 * 40 * 30, [0], [(0, 0, 2), (0, 2, 4), (0, 4, 6)]),
], ids=["not for chunks that are there", "many in pieces"])  # fmt: skip
def test_planes_are_read_once(stack, most_bytes, numbers, calls):
    list(slabs(stack, most_bytes).ready(numbers))
    assert stack.calls == calls


@pytest.mark.parametrize("most_bytes", [1, MB])
def test_only_planes_that_cannot_be_read_are_zeros(stack, most_bytes):
    stack.bad = 7
    told = []
    whole = np.full((2, *BOX.shape_zyx), 255, np.uint8)
    for ready in slabs(stack, most_bytes, told.extend).ready(range(GRID.count)):
        if ready.chunk.box.start_xyz[2] == 8:
            assert told, "planes are told before the chunks that lack them"
        where = ready.chunk.box.slices_zyx(CORNER)
        whole[(ready.chunk.time_point - 4, *where)] = ready.load()
    expected = stack.voxels_tzyx.copy()
    expected[:, 7] = 0
    assert np.array_equal(whole, expected)
    z = CORNER[2] + 7
    assert told == [BadPlane(4, z, "plane is damaged"), BadPlane(5, z, "plane is damaged")]


def test_a_full_disk_is_not_taken_for_a_bad_plane(stack, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_SpooledSlab, "put", fail)
    with pytest.raises(OSError, match="No space left"):
        list(slabs(stack, 1).ready(range(GRID.count)))


def test_threads_depend_on_what_a_chunk_needs():
    assert Memory(1000 * MB).threads(16 * MB) > 2
    assert Memory(1000 * MB).threads(1) == MAX_THREADS
    assert Memory(16 * MB).threads(1000 * MB) == 1


def test_memory_stays_bounded_for_a_slab_of_many_chunks():
    """Was seen to fail (six times the bound) when slabs were never spooled."""
    edge, depth, memory = 2048, 32, Memory(25 * MB)

    class Planes:
        def read(self, t, z0, z1):
            return np.full((z1 - z0, edge, edge), z0, np.uint8)

    grid = ChunkGrid.of_chunks(Box((0, 0, 0), (edge, edge, depth)), (0, 1), (256, 256, 32))
    ready = Slabs(Planes(), grid, np.dtype("u1"), memory, refuse).ready(range(grid.count))
    threads = memory.threads(math.prod(grid.cell_xyz))
    send = lambda chunk: len(bodies.encode_array(chunk.load()))  # noqa: E731
    count, peak = peak_bytes(lambda: sum(1 for _ in bounded_map(send, ready, threads=threads)))
    assert count == grid.count
    assert peak < 30 * MB
