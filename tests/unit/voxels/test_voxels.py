import tracemalloc

import numpy as np
import pytest

from ndlambda.voxels.paste import paste
from ndlambda.voxels.select import keep_ids, window
from ndlambda.voxels.zoom import source_indices


def test_paste_never_erases_with_zeros():
    target = np.array([1, 2, 3, 0], "u1")
    assert paste(target, np.array([0, 9, 0, 4], "u1"))
    assert target.tolist() == [1, 9, 3, 4]


def test_paste_tells_when_nothing_changes():
    target = np.array([1, 2, 3], "u1")
    assert not paste(target, np.array([1, 0, 3], "u1"))


def test_paste_takes_nan_for_a_value():
    target = np.array([1.0, 2.0], "f4")
    assert paste(target, np.array([np.nan, 0.0], "f4"))
    assert np.isnan(target[0])
    assert target[1] == 2


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
    tracemalloc.start()
    try:
        changed = change(array)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
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


def test_source_indices_take_the_middle_of_images_and_the_first_of_labels():
    assert source_indices(0, 3, 10, 1, centre=True).tolist() == [1, 3, 5]
    assert source_indices(0, 3, 10, 1, centre=False).tolist() == [0, 2, 4]
    assert source_indices(1, 5, 10, -1, centre=True).tolist() == [0, 1, 1, 2]
    assert source_indices(2, 3, 5, 1, centre=True).tolist() == [4]
