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


def test_source_indices_take_the_middle_of_images_and_the_first_of_labels():
    assert source_indices(0, 3, 10, 1, centre=True).tolist() == [1, 3, 5]
    assert source_indices(0, 3, 10, 1, centre=False).tolist() == [0, 2, 4]
    assert source_indices(1, 5, 10, -1, centre=True).tolist() == [0, 1, 1, 2]
    assert source_indices(2, 3, 5, 1, centre=True).tolist() == [4]
