"""Morton codes against worked-out values and at the edges of their range."""

import numpy as np
import pytest

from ndlambda.errors import OutOfBoundsError
from ndlambda.space import morton

LAST = morton.AXIS_LIMIT - 1
VECTORS = [
    ((0, 0, 0), 0), ((1, 0, 0), 1), ((0, 1, 0), 2), ((0, 0, 1), 4), ((5, 9, 2), 1123),
    ((23, 31, 12), 15835), ((100, 200, 300), 72256832), ((LAST, LAST, LAST), (1 << 63) - 1),
]  # fmt: skip


@pytest.mark.parametrize(("index_xyz", "code"), VECTORS)
def test_codes_are_those_of_ndstore(index_xyz, code):
    assert morton.encode(*index_xyz) == code
    assert morton.decode(code) == index_xyz


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("index", [-1, morton.AXIS_LIMIT, 1 << 70], ids=["-1", "2^21", "2^70"])
def test_indices_that_do_not_fit_are_refused(axis, index):
    index_xyz = [3, 3, 3]
    index_xyz[axis] = index
    with pytest.raises(OutOfBoundsError) as refused:
        morton.encode(*index_xyz)
    assert refused.value.details == {"limit": 1 << 21}


@pytest.mark.parametrize("code", [-1, 1 << 63])
def test_codes_over_63_bits_are_refused(code):
    with pytest.raises(OutOfBoundsError):
        morton.decode(code)


def test_a_box_of_astronomic_size_is_refused_before_anything_is_allocated():
    with pytest.raises(OutOfBoundsError):
        morton.plan((0, 0, 0), (1 << 60, 1, 1))


def test_a_plan_is_in_array_order():
    codes = morton.plan((22, 30, 11), (24, 32, 13))
    assert codes.dtype == np.uint64
    assert codes.shape == (2, 2, 2)
    assert codes[1, 1, 1] == 15835  # (x, y, z) = (23, 31, 12)
    assert codes[0, 0, 1] == morton.encode(23, 30, 11)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.uint64])
def test_any_integer_dtype_of_indices_will_do(dtype):
    indices = np.array([[5, 9, 2], [23, 31, 12]], dtype=dtype)
    assert morton.encode_indices(indices).tolist() == [1123, 15835]


def test_no_indices_give_no_codes():
    none = np.empty((0, 3), dtype=np.int64)
    assert morton.encode_indices(none).shape == (0,)
    assert morton.decode_codes(np.empty(0, dtype=np.uint64)).shape == (0, 3)


@pytest.mark.parametrize("bad", [-1, 1 << 21])
def test_one_bad_index_among_many_is_refused(bad):
    with pytest.raises(OutOfBoundsError):
        morton.encode_indices(np.array([[1, 2, 3], [4, bad, 6]]))
