import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndlambda.client.volume.indexing import parse_key
from ndlambda.errors import EmptyBoxError, InvalidArgumentError, OutOfBoundsError
from tests.support.fake_server import FakeServer

SHAPE = (3, 4, 5, 6)
OFFSET_XYZ = (7, 2, 11)
STARTS = (0, 11, 2, 7)


@pytest.fixture(scope="module")
def stored():
    server = FakeServer()
    array = server.add_volume(SHAPE, "uint16", offset_xyz=OFFSET_XYZ)
    array[:] = np.arange(1, array.size + 1).reshape(SHAPE)
    return array, server.client().volume("tok", "ch")


@st.composite
def entries(draw, axis):
    """A numpy index of one axis and the same in dataset coordinates."""
    size, origin = SHAPE[axis], STARTS[axis]
    if draw(st.booleans()):
        index = draw(st.integers(-size, size - 1))
        return index, index + origin if index >= 0 else index
    start = draw(st.integers(0, size - 1))
    stop = draw(st.integers(start + 1, size))
    here = slice(draw(st.sampled_from([start, None])) if start == 0 else start, stop)
    there = slice(None if here.start is None else start + origin, stop + origin)
    if stop == size and draw(st.booleans()):
        here, there = slice(here.start, None), slice(there.start, None)
    return here, there


@st.composite
def keys(draw):
    """A numpy key into (t,) z, y, x, and the volume's key for the same voxels."""
    axes = draw(st.sampled_from([(0, 1, 2, 3), (1, 2, 3)]))
    leading = draw(st.integers(0, len(axes)))
    trailing = draw(st.integers(0, len(axes) - leading))
    if len(axes) == 4:  # only four entries address time
        trailing = 4 - leading
    chosen = [*axes[:leading], *axes[len(axes) - trailing :]]
    pairs = [draw(entries(axis)) for axis in chosen]
    here, there = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if trailing or not pairs or draw(st.booleans()):
        here.insert(leading, Ellipsis)
        there.insert(leading, Ellipsis)
    return len(axes) == 4, tuple(here), tuple(there)


@settings(max_examples=150)
@given(keys())
def test_reading_selects_what_numpy_selects_in_dataset_coordinates(stored, key):
    array, volume = stored
    with_time, here, there = key
    expected = (array if with_time else array[0])[here]
    found = volume[there]
    assert np.shape(found) == np.shape(expected)
    assert np.array_equal(found, expected)


@settings(max_examples=75)
@given(keys(), st.integers(1, 9))
def test_writing_changes_what_numpy_changes(key, value):
    server = FakeServer()
    array = server.add_volume(SHAPE, "uint16", offset_xyz=OFFSET_XYZ)
    with_time, here, there = key
    expected = np.zeros(SHAPE, "uint16")
    part = (expected if with_time else expected[0])[here]
    new = np.full(np.shape(part), value, "uint16")
    (expected if with_time else expected[0])[here] = new
    server.client().volume("tok", "ch")[there] = new
    assert np.array_equal(array, expected)


BOUNDS = ((11, 15), (2, 7), (7, 13))


@pytest.mark.parametrize("key", [10, 15, slice(10, 12), slice(11, 16), -5, (11, 2, 13)])
def test_coordinates_outside_are_refused_not_cut(key):
    with pytest.raises(OutOfBoundsError, match="include the offset"):
        parse_key(key, BOUNDS, (0, 3))


@pytest.mark.parametrize("key", [slice(12, 12), slice(13, 12), (slice(1, 1), 11, 2, 7)])
def test_empty_ranges_are_refused(key):
    with pytest.raises(EmptyBoxError, match="start < stop"):
        parse_key(key, BOUNDS, (0, 3))


@pytest.mark.parametrize(("key", "reason"), [
    (slice(11, 15, 2), "step"), ((0, 11, 2, 7, 1), "5 indices"), ((..., 11, ...), "one Ellipsis"),
    (True, "Masks"), (np.True_, "Masks"), (1.5, "does not index"), ([11, 12], "does not index"),
    (None, "does not index"),
])  # fmt: skip
def test_keys_that_no_box_can_be_are_refused_with_the_reason(key, reason):
    with pytest.raises(InvalidArgumentError, match=reason):
        parse_key(key, BOUNDS, (0, 3))


def test_numpy_integers_and_a_step_of_one_index_too():
    selection = parse_key((np.int64(12), slice(None, None, 1)), BOUNDS, (0, 3))
    assert selection.box.start_xyz == (7, 2, 12)
    assert selection.shape == (5, 6)
