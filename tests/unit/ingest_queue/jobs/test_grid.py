"""Chunks: they tile the extent, and no two of them share an object."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_queue.jobs.grid import ChunkGrid
from ndlambda.errors import OutOfBoundsError
from ndlambda.space.box import Box
from ndlambda.space.grid import cover

SUPERCUBOID = (4, 3, 2)
spans = st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda s: (s[0], s[0] + s[1]))
boxes = st.tuples(spans, spans, spans).map(
    lambda axes: Box(tuple(a for a, _ in axes), tuple(b for _, b in axes))
)
times = st.tuples(st.integers(0, 3), st.integers(1, 3)).map(lambda s: (s[0], s[0] + s[1]))
grids = st.one_of(
    st.builds(ChunkGrid.of_slices, boxes, times, st.just(SUPERCUBOID), st.integers(0, 9)),
    st.builds(ChunkGrid.of_chunks, boxes, times, st.just(SUPERCUBOID)),
)


@given(grids)
def test_chunks_tile_the_extent_and_share_no_supercuboid(grid):
    voxels = 0
    owners: dict[tuple[int, int], int] = {}
    for number, chunk in enumerate(grid.chunks()):
        assert chunk.number == number
        assert chunk.box.within(grid.box)
        assert grid.times[0] <= chunk.time_point < grid.times[1]
        voxels += chunk.box.voxels
        for cell in cover(chunk.box, SUPERCUBOID):
            owner = owners.setdefault((chunk.time_point, cell.code), number)
            assert owner == number
    assert number + 1 == grid.count
    assert voxels == grid.box.voxels * (grid.times[1] - grid.times[0])
    assert sum(len(chunk.parts) for chunk in grid.chunks()) == grid.parts
    # within the extent, and as many voxels as it, in supercuboids that are nobody else's: a tiling


@given(boxes, times, st.integers(0, 9))
def test_a_slice_finds_its_chunk(box, times, offset):
    grid = ChunkGrid.of_slices(box, times, SUPERCUBOID, offset)
    for chunk in grid.chunks():
        for z in chunk.parts:
            assert grid.of_slice(chunk.time_point, z) == chunk


def test_a_slice_outside_the_extent_and_a_number_beyond_the_last_have_none():
    grid = ChunkGrid.of_slices(Box((0, 0, 0), (5, 5, 10)), (0, 1), SUPERCUBOID, 5)
    assert grid.count == 5
    for find in (
        *(partial(grid.of_slice, *place) for place in [(0, 4), (0, 15), (1, 7), (-1, 7)]),
        *(partial(grid.chunk, number) for number in (-1, 5)),
    ):
        with pytest.raises(OutOfBoundsError):
            find()
