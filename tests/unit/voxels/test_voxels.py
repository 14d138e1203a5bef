import numpy as np
import pytest

from ndlambda.voxels.paste import paste
from ndlambda.voxels.select import keep_ids, window
from ndlambda.voxels.zoom import source_indices
from tests.support.memory import peak_bytes


@pytest.mark.parametrize(("target", "values", "dtype", "expected", "changes"), [
    ([1, 2, 3, 0], [0, 9, 0, 4], "u1", [1, 9, 3, 4], True),
    ([1, 2, 3], [1, 0, 3], "u1", [1, 2, 3], False),
    ([1, 2], [np.nan, 0], "f4", [np.nan, 2], True),
], ids=["zeros erase nothing", "nothing changes", "nan is a value"])  # fmt: skip
def test_paste(target, values, dtype, expected, changes):
    array = np.array(target, dtype)
    assert paste(array, np.array(values, dtype)) is changes
    np.testing.assert_array_equal(array, np.array(expected, dtype))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4"])
def test_window_clips_and_scales_to_a_byte(dtype):
    array = np.array([0, 10, 60, 110, 120], dtype)
    assert window(array, 10, 110).tolist() == [0, 0, 127, 255, 255]


def test_window_of_zero_to_zero_is_a_plain_cast_that_wraps():
    assert window(np.array([1, 256, 257], "u2"), 0, 0).tolist() == [1, 0, 1]


def test_keep_ids_drops_all_other_labels():
    labels = np.array([0, 5, 7, 2**32 - 1], "u4")
    assert keep_ids(labels, {7, 2**32 - 1, 2**40}).tolist() == [0, 0, 7, 2**32 - 1]


@pytest.mark.parametrize("change", [lambda a: window(a, 1, 9), lambda a: keep_ids(a, range(999))])
def test_what_is_made_on_the_way_does_not_grow_with_the_array(change):
    """Seen to fail when done at once: 9 bytes of temporary arrays a voxel for a window."""
    array = np.arange(1 << 22, dtype="u4").reshape(4, 1 << 20) * 1021
    changed, peak = peak_bytes(lambda: change(array))
    assert changed.shape == array.shape
    assert peak < changed.nbytes + (12 << 20)


def test_pieces_are_put_together_in_their_places():
    array = np.arange(3 * 300_001, dtype="u4").reshape(3, 300_001)
    assert np.array_equal(
        keep_ids(array, array[:, ::7].tolist()[1]),
        np.where(np.isin(array, array[1, ::7]), array, 0),
    )
    assert np.array_equal(window(array, 0, 2**20), (array * (255 / 2**20)).astype("u1"))


@pytest.mark.parametrize("ends", [(0, 0), (0, 9)])
def test_a_window_of_nan_and_infinity_warns_nobody(ends):
    assert window(np.array([np.nan, np.inf, 1], "f4"), *ends).dtype == np.uint8


@pytest.mark.parametrize(("span", "steps", "centre", "indices"), [
    ((0, 3, 10), 1, True, [1, 3, 5]), ((0, 3, 10), 1, False, [0, 2, 4]),
    ((1, 5, 10), -1, True, [0, 1, 1, 2]), ((2, 3, 5), 1, True, [4]),
])  # fmt: skip
def test_source_indices_take_the_middle_of_images_and_the_first_of_labels(
    span, steps, centre, indices
):
    assert source_indices(*span, steps, centre=centre).tolist() == indices
