"""Single arrays as .npy bodies."""

import io

import numpy as np
import pytest

from ndlambda.errors import MalformedBodyError, ShapeMismatchError
from ndlambda.wire.codecs.npy_array import decode_npy, encode_npy


def anything(dtype, shape):
    """Accept every header."""


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", ">u8", "float64"])
@pytest.mark.parametrize("shape", [(0, 3), (2, 3), (2, 3, 4), ()])
def test_arrays_come_back_as_they_were(dtype, shape):
    array = (np.random.default_rng(1).random(shape) * 9).astype(dtype)
    body = encode_npy(array)
    np.testing.assert_array_equal(np.load(io.BytesIO(body)), array)
    found = decode_npy(body, anything)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("<")
    assert found.shape == shape


def test_arrays_of_any_order_and_stride_are_written_in_c_order():
    array = np.arange(24).reshape(2, 3, 4)
    for view in (array.T, array[::-1], array[:, ::2], np.asfortranarray(array)):
        np.testing.assert_array_equal(decode_npy(encode_npy(view), anything), view)
    saved = io.BytesIO()
    np.save(saved, np.asfortranarray(array))
    np.testing.assert_array_equal(decode_npy(saved.getvalue(), anything), array)


def test_the_header_is_looked_at_before_the_elements():
    def refuse(dtype, shape):
        raise ShapeMismatchError(f"{dtype} {shape}")

    with pytest.raises(ShapeMismatchError, match=r"int64 \(2, 3\)"):
        decode_npy(encode_npy(np.ones((2, 3), int))[:-1], refuse)


@pytest.mark.parametrize("cut", [0, 5, 9, 60, -1])
def test_a_file_that_is_cut_or_longer_is_refused(cut):
    body = encode_npy(np.ones((2, 3), int))
    for wrong in (body[:cut], body + b"\0"):
        with pytest.raises(MalformedBodyError):
            decode_npy(wrong, anything)


def test_no_pickle_is_read():
    saved = io.BytesIO()
    np.save(saved, np.array([object()]), allow_pickle=True)
    with pytest.raises(MalformedBodyError):
        decode_npy(saved.getvalue(), anything)
