"""Pieces of long sequences."""

import pytest

from ndlambda.batches import batched


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3]), (7, [3, 3, 1])]
)
def test_all_items_come_in_order_in_pieces_of_the_size(count, sizes):
    pieces = list(batched(range(count), 3))
    assert [len(piece) for piece in pieces] == sizes
    assert [item for piece in pieces for item in piece] == list(range(count))


def test_no_more_is_taken_of_an_iterator_than_a_piece_needs():
    items = iter(range(9))
    assert next(batched(items, 4)) == (0, 1, 2, 3)
    assert next(items) == 4
