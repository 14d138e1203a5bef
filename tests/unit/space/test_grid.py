"""The cover of a box by cells."""

import pytest

from ndlambda.errors import OutOfBoundsError
from ndlambda.space import grid, morton
from ndlambda.space.box import Box

SLAB = (128, 128, 16)


def test_an_unaligned_box_is_cut_at_the_cell_faces():
    box = Box((100, 130, 15), (130, 140, 17))
    cells = {cell.code: cell for cell in grid.cover(box, SLAB)}
    assert set(cells) == {morton.encode(x, 1, z) for x in (0, 1) for z in (0, 1)}
    low = cells[morton.encode(0, 1, 0)]
    assert low.box == Box((0, 128, 0), (128, 256, 16))
    assert low.part == Box((100, 130, 15), (128, 140, 16))
    high = cells[morton.encode(1, 1, 1)]
    assert high.part == Box((128, 130, 16), (130, 140, 17))


def test_cells_are_counted_without_listing_them():
    huge = Box((0, 0, 0), (1 << 40, 1 << 40, 1 << 40))
    assert grid.cell_count(huge, (1 << 20, 1 << 20, 1 << 20)) == 1 << 60
    assert grid.cell_range(Box((100, 130, 15), (130, 140, 17)), SLAB) == Box((0, 1, 0), (2, 2, 2))


@pytest.mark.parametrize(
    "box",
    [Box((-1, 0, 0), (5, 5, 5)), Box((0, 0, 0), (1, 1, (16 << 21) + 1))],
    ids=["negative", "too far"],
)
def test_a_box_outside_the_morton_range_is_refused(box):
    with pytest.raises(OutOfBoundsError):
        next(grid.cover(box, SLAB))
