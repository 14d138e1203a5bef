"""Halving of blocks against exact arithmetic on Python's integers and fractions."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from ndlambda.errors import InvalidArgumentError
from ndlambda.model.dtypes import DataType
from ndlambda.voxels.downsample import FACTORS_XYZ, Method, downsample
from tests.support.memory import peak_bytes
from tests.support.pyramids import halved, vote

INTEGERS = [each for each in DataType if each is not DataType.FLOAT32]
PLAIN = [each for each in INTEGERS if each is not DataType.UINT32]
LABELS = [DataType.UINT32, DataType.UINT64]
SHAPES = [(1, 1, 1), (2, 2, 2), (3, 5, 7), (1, 4, 3), (6, 2, 1), (5, 66, 131)]


def noise(dtype: DataType, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return voxels of the whole range of a type, the ends and 0 often among them."""
    random = np.random.default_rng(seed)
    if dtype is DataType.FLOAT32:
        return (random.integers(-4000, 4000, shape) / 8).astype(dtype.numpy)
    ends = np.iinfo(dtype.value)
    values = random.integers(ends.min, ends.max, shape, dtype.value, endpoint=True)
    values[random.random(shape) < 0.2] = ends.max
    values[random.random(shape) < 0.2] = ends.min
    values[random.random(shape) < 0.2] = 0
    return values.astype(dtype.numpy)


def exact_mean(block: np.ndarray, z: int, y: int, x: int, slices: int) -> int:
    window = block[z * slices : (z + 1) * slices, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
    return round(Fraction(sum(int(v) for v in window.flat), window.size))  # half to even


@pytest.mark.parametrize("dtype", PLAIN)
def test_a_mean_of_integers_is_exact_over_the_whole_range_and_rounds_half_to_even(dtype):
    for factors, shape, seed in product(FACTORS_XYZ, SHAPES[:-1], range(3)):
        block = noise(dtype, shape, seed)
        got = downsample(block, factors, Method.MEAN)
        assert got.dtype == block.dtype
        for z, y, x in np.ndindex(*got.shape):
            assert int(got[z, y, x]) == exact_mean(block, z, y, x, factors[2])


HALVES = [[[0, 1, 1, 2, 2, 3], [0, 1, 1, 2, 2, 3]]]
COLOURS = [[[0xFF0000FF, 0xFF0100FF], [0xFF0200FE, 0xFF0300FF]]]  # 1.5 goes to 2, 254.75 to 255
GAP = [[[0, 0], [0, 0]], [[7, 7], [7, 9]]]
VOTES = [[[1, 0, 0, 0], [0, 0, 0, 0]], [[2, 2, 3, 0], [2, 2, 3, 4]]]
LARGEST = float(np.finfo("f4").max)


@pytest.mark.parametrize(("block", "dtype", "slices", "method", "expected"), [
    *((HALVES, dtype.numpy, 1, Method.MEAN, [[[0, 2, 2]]]) for dtype in PLAIN),
    (COLOURS, "<u4", 1, Method.MEAN, [[[0xFF0200FF]]]),
    (COLOURS * 2, "<u4", 2, Method.MEAN, [[[0xFF0200FF]]]),
    (np.full((2, 2, 2), LARGEST), "<f4", 2, Method.MEAN, [[[LARGEST]]]),
    (np.arange(16).reshape(1, 4, 4), "u1", 1, Method.NEAREST, [[[5, 7], [13, 15]]]),
    (GAP, "u1", 2, Method.NEAREST, [[[9]]]),
    (GAP[::-1], "u1", 2, Method.NEAREST, [[[9]]]),
    (VOTES, "<u4", 2, Method.LABELS, [[[1, 3]]]),
], ids=[
    *(f"halves go to the even neighbour, {dtype.value}" for dtype in PLAIN),
    "a colour has the mean of each byte", "and over slices", "the largest floats do not overflow",
    "nearest takes the last of four as ndstore did", "nearest passes over a slice without data",
    "whichever slice it is", "the second slice votes only where the first gives nothing",
])  # fmt: skip
def test_blocks_by_example(block, dtype, slices, method, expected):
    assert downsample(np.array(block, dtype), (2, 2, slices), method).tolist() == expected


ZERO_SLICE = [[[46, 46], [46, 46]], [[0, 0], [0, 0]]]
SPECKS = [[[8, 0], [0, 4]], [[4, 6], [0, 0]]]  # 6, 6, 0 and 4: the mean of what is there is 4
RED_ONLY = [[[0x000000FF] * 2] * 2, [[0x0000FF00] * 2] * 2]  # no voxel is 0


@pytest.mark.parametrize(("block", "dtype", "expected", "plain"), [
    (ZERO_SLICE, "u1", 46, 23), (ZERO_SLICE[::-1], "u1", 46, 23), (ZERO_SLICE, "<f4", 46, 23),
    (ZERO_SLICE, "<i8", 46, 23), (SPECKS, "<u2", 4, 3), (RED_ONLY, "<u4", 0x8080, 0x8080),
    (ZERO_SLICE, "<u4", 46, 23),
])  # fmt: skip
def test_along_z_a_mean_passes_over_zeros_voxel_by_voxel_if_told_to(block, dtype, expected, plain):
    array = np.array(block, dtype)
    got = downsample(array, (2, 2, 2), Method.MEAN, zero_is_missing_z=True)
    assert got.tolist() == [[[expected]]]
    assert downsample(array, (2, 2, 2), Method.MEAN).tolist() == [[[plain]]]
    flat = downsample(array[:1], (2, 2, 1), Method.MEAN, zero_is_missing_z=True)
    assert flat.tolist() == downsample(array[:1], (2, 2, 1), Method.MEAN).tolist()


@pytest.mark.parametrize("dtype", list(DataType))
@pytest.mark.parametrize("method", [Method.MEAN, Method.NEAREST])
def test_images_are_halved_as_the_reference_says(dtype, method):
    colours = dtype is DataType.UINT32
    for factors, shape in product(FACTORS_XYZ, SHAPES):
        block = noise(dtype, shape)
        if method is Method.MEAN and dtype.numpy.itemsize == 8:
            block //= 2**14  # the reference sums as float64
        got = downsample(block, factors, method)
        wanted = halved(block, z=factors[2] == 2, method=method, colours=colours)
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == block.dtype


@pytest.mark.parametrize("method", [Method.MEAN, Method.NEAREST])
@pytest.mark.parametrize("factors", FACTORS_XYZ)
def test_nan_and_infinity_are_voxels_like_others(method, factors):
    block = np.ones((2, 2, 4), "<f4")
    block[:, 1, 1], block[:, 1, 3] = np.nan, np.inf
    got = downsample(block, factors, method)
    assert np.isnan(got[..., 0]).all()
    assert np.isposinf(got[..., 1]).all()


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
def test_all_blocks_of_four_labels_vote_as_documented(dtype):
    blocks = np.array(list(product(range(5), repeat=4)), dtype)
    # A row of 2x2 blocks, one beside the other.
    row = blocks.reshape(-1, 2, 2).transpose(1, 0, 2).reshape(1, 2, -1)
    got = downsample(row, (2, 2, 1), Method.LABELS)
    assert got.reshape(-1).tolist() == [vote(*block) for block in blocks.tolist()]


@pytest.mark.parametrize(("block", "winner"), [
    ((1, 2, 2, 1), 1), ((1, 2, 1, 2), 2), ((1, 2, 3, 3), 3), ((1, 2, 3, 4), 1), ((0, 0, 3, 5), 3),
    ((0, 0, 0, 5), 5),  # ndstore lost this one
])  # fmt: skip
def test_votes_of_the_contract(block, winner):
    array = np.array(block, "<u8").reshape(1, 2, 2)
    assert downsample(array, (2, 2, 1), Method.LABELS).item() == winner


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
def test_labels_are_halved_as_the_reference_says_and_none_is_invented(dtype):
    large = np.dtype(dtype).type(np.iinfo(dtype).max // 3)
    for factors, shape in product(FACTORS_XYZ, SHAPES):
        block = np.random.default_rng(1).integers(0, 4, shape).astype(dtype) * large
        got = downsample(block, factors, Method.LABELS)
        np.testing.assert_array_equal(got, halved(block, z=factors[2] == 2, method=Method.LABELS))
        assert set(got.flat) <= set(block.flat) | {0}


@pytest.mark.parametrize("dtype", list(DataType))
def test_a_constant_stays_constant(dtype):
    value = 1.5 if dtype is DataType.FLOAT32 else np.iinfo(dtype.value).max
    block = np.full((5, 7, 9), value, dtype.numpy)
    methods = [Method.MEAN, Method.NEAREST, *([Method.LABELS] if dtype in LABELS else [])]
    for factors, method in product(FACTORS_XYZ, methods):
        assert (downsample(block, factors, method) == value).all()


def test_a_view_with_any_strides_is_halved_and_left_as_it_is():
    whole = np.arange(8 * 20 * 22, dtype="<i2").reshape(8, 20, 22)
    view, before = whole[::2, 1:15, 3:20], whole.copy()
    found, expected = (downsample(a, (2, 2, 1), Method.MEAN) for a in (view, view.copy()))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(whole, before)


def test_memory_beside_the_result_is_a_few_slices():
    block = np.zeros((128, 256, 256), "u1")
    _, peak = peak_bytes(lambda: downsample(block, (2, 2, 2), Method.MEAN))
    assert peak < block.nbytes / 8 + (2 << 20)


def test_other_factors_are_refused():
    with pytest.raises(InvalidArgumentError):
        downsample(np.zeros((2, 2, 2), "u1"), (4, 4, 1), Method.MEAN)
