"""Halves a block of voxels: computes one level of a pyramid from the next finer one.

A voxel of the result combines the voxels 2i and 2i+1 of each halved axis. At an odd end of the
block, images use the existing voxels and labels count the missing ones as 0.

=========  =========================================================================================
method     how voxels are combined
=========  =========================================================================================
mean       their mean; integers are exact and rounded half to even, floats are summed as float64 and
           NaN wins; uint32 is a colour (RGBA), and each byte has its own mean
nearest    voxel (2i+1, 2j+1), as ndstore's PIL chose; if z is halved, the mean of the two slices'
           voxels rounded down (colours: per byte), or the other one if one is 0
labels     ndstore's vote: a label that occurs twice wins, otherwise the first one in scan order; if
           z is halved, the first slice votes, and the second one where the result is 0
=========  =========================================================================================

ndstore's vote lost a label that only the last of four voxels had; here it is kept. Two labels with
two voxels each are a tie: the pair that is completed last in scan order wins, so 1 2 / 2 1 gives 1
and 1 2 / 1 2 gives 2, as in ndstore.

In near-isotropic variants a mean treats zeros along z as ndstore does: they are missing, and the
voxel of the other slice stands for both (``zero_is_missing_z``).
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import InvalidArgumentError
from ndlambda.space.box import XYZ

FACTORS_XYZ: tuple[XYZ, XYZ] = ((2, 2, 1), (2, 2, 2))
"""Supported factors."""

_COLOUR = np.dtype("<u4")
_EVEN_BYTES = np.uint32(0x00FF00FF)
_LANE_ONES = np.uint32(0x00010001)
_HIGH_SEVEN_BITS = np.uint32(0xFEFEFEFE)

_SLAB_VOXELS = 1 << 17
"""Approximate number of voxels processed at once, so that intermediate arrays fit the cache."""

_Slab = NDArray[Any]
"""Voxels (n, 1 or 2, y, x) of the one or two slices per result slice; y and x are even, C order."""


class Method(StrEnum):
    """How voxels are combined; see the module."""

    MEAN = "mean"
    NEAREST = "nearest"
    LABELS = "labels"


def downsample(
    block: NDArray[Any], factors_xyz: XYZ, method: Method, *, zero_is_missing_z: bool = False
) -> NDArray[Any]:
    """Return a block halved in x and y, and in z if the factor says so.

    Parameters
    ----------
    block
        (z, y, x), at least one voxel per axis, one of the nine little-endian dtypes. Not changed.
    factors_xyz
        (2, 2, 1) or (2, 2, 2).
    method
        See the module; LABELS is for unsigned integers.
    zero_is_missing_z
        Whether, where z is halved, a mean passes over zeros along z. The other methods always do.

    Returns
    -------
    halved
        (z, y, x), a new array of the block's dtype; lengths of halved axes are rounded up. The call
        needs extra memory for a few slices only (and a copy of a block of odd shape).

    Raises
    ------
    InvalidArgumentError
        Other factors.
    """
    if factors_xyz not in FACTORS_XYZ:
        raise InvalidArgumentError(f"A block shrinks by {FACTORS_XYZ}, not by {factors_xyz}.")
    slices = factors_xyz[2]
    even = _even(block, slices, edge=method is not Method.LABELS)
    depth, height, width = even.shape
    halved = np.empty((depth // slices, height // 2, width // 2), block.dtype)
    make = _slab_maker(method, block.dtype)
    fills = zero_is_missing_z and slices == 2 and method is Method.MEAN
    step = max(1, _SLAB_VOXELS // (slices * height * width))
    with np.errstate(invalid="ignore"):  # NaN and infinity are valid voxels
        for z in range(0, len(halved), step):
            slab = np.ascontiguousarray(even[z * slices : (z + step) * slices])
            slab = slab.reshape(-1, slices, height, width)
            halved[z : z + step] = make(_filled_z(slab) if fills else slab)
    return halved


def _even(block: NDArray[Any], slices: int, *, edge: bool) -> NDArray[Any]:
    """Return the block padded to even lengths, by repeating its last voxels or by zeros.

    Repeated voxels do not change the mean of the existing ones.
    """
    missing = [(0, -length % by) for length, by in zip(block.shape, (slices, 2, 2), strict=True)]
    if not any(after for _, after in missing):
        return block
    return np.pad(block, missing, mode="edge") if edge else np.pad(block, missing)


def _slab_maker(method: Method, dtype: np.dtype) -> Callable[[_Slab], NDArray[Any]]:
    if method is Method.LABELS:
        return _vote_slab
    if method is Method.NEAREST:
        return _nearest
    if dtype.kind == "f":
        return _mean_of_floats
    if dtype == _COLOUR:
        return _mean_of_colours
    return _mean_of_long_integers if dtype.itemsize == 8 else _mean_of_integers


def _filled_z(slab: _Slab) -> NDArray[Any]:
    """Return pairs of slices in which a zero voxel has the value of the other slice."""
    if slab.all():
        return slab
    first, second = slab[:, 0], slab[:, 1]
    filled = np.where(first == 0, second, first), np.where(second == 0, first, second)
    return np.stack(filled, axis=1)


# --- mean ----------------------------------------------------------------------------------


def _mean_of_integers(slab: _Slab) -> NDArray[Any]:
    """Return the mean of integers of up to 32 bits.

    Two neighbours in x are read as one integer of twice the width, whose halves are added: this
    uses contiguous memory. Signed integers are processed as unsigned ones with the sign bit
    flipped, which shifts all of them by an even number.
    """
    bits = slab.itemsize * 8
    values = _as_unsigned(slab)
    pairs = values.view(f"<u{slab.itemsize * 2}")
    sums = pairs & pairs.dtype.type((1 << bits) - 1)
    sums += pairs >> bits
    total = _over_rows_and_slices(sums)
    shift = _shift(slab)
    up = (total >> shift) & 1
    up += (1 << (shift - 1)) - 1  # a half rounds up only if the floor is odd, more than a half does
    total += up
    total >>= shift
    return _from_unsigned(total.astype(values.dtype), slab.dtype)


def _mean_of_long_integers(slab: _Slab) -> NDArray[Any]:
    """Return the mean of 64-bit integers from the sums of their quotients and remainders."""
    values, shift = _as_unsigned(slab), _shift(slab)
    low = np.uint64((1 << shift) - 1)
    rest = _over_rows_and_slices(_over_pairs(values & low))
    total = _over_rows_and_slices(_over_pairs(values >> shift))
    total += rest >> shift
    rest &= low
    half = 1 << (shift - 1)
    total += (rest > half) | ((rest == half) & ((total & 1) == 1))
    return _from_unsigned(total, slab.dtype)


def _mean_of_colours(slab: _Slab) -> NDArray[Any]:
    """Return the mean of each byte, processing two bytes at a time in lanes of 16 bits."""
    even = _mean_of_lanes(slab & _EVEN_BYTES, _shift(slab))
    odd = _mean_of_lanes((slab >> 8) & _EVEN_BYTES, _shift(slab))
    colours: NDArray[Any] = even | (odd << 8)
    return colours


def _mean_of_lanes(lanes: NDArray[Any], shift: int) -> NDArray[Any]:
    total = _over_rows_and_slices(_over_pairs(lanes))
    up = (total >> shift) & _LANE_ONES
    up += _LANE_ONES * np.uint32((1 << (shift - 1)) - 1)
    mean: NDArray[Any] = ((total + up) >> shift) & _EVEN_BYTES
    return mean


def _mean_of_floats(slab: _Slab) -> NDArray[Any]:
    # Rows first: contiguous memory is added while it is widened, which leaves half as many pairs.
    rows: NDArray[Any] = np.add(slab[:, 0, 0::2], slab[:, 0, 1::2], dtype=np.float64)
    if slab.shape[1] == 2:
        rows += slab[:, 1, 0::2]
        rows += slab[:, 1, 1::2]
    total = _over_pairs(rows)
    total /= 1 << _shift(slab)
    return total


def _shift(slab: _Slab) -> int:
    """Return the binary logarithm of the number of voxels per result voxel."""
    return 3 if slab.shape[1] == 2 else 2


def _over_pairs(values: NDArray[Any]) -> NDArray[Any]:
    total: NDArray[Any] = values[..., 0::2] + values[..., 1::2]
    return total


def _over_rows_and_slices(sums: NDArray[Any]) -> NDArray[Any]:
    total: NDArray[Any] = sums[:, 0, 0::2] + sums[:, 0, 1::2]
    if sums.shape[1] == 2:
        total += sums[:, 1, 0::2]
        total += sums[:, 1, 1::2]
    return total


def _as_unsigned(slab: _Slab) -> NDArray[Any]:
    unsigned = slab.view(f"<u{slab.itemsize}")
    if slab.dtype.kind == "i":
        unsigned = unsigned ^ _sign(unsigned.dtype)
    return unsigned


def _from_unsigned(values: NDArray[Any], dtype: np.dtype) -> NDArray[Any]:
    if dtype.kind == "i":
        values ^= _sign(values.dtype)
    return values.view(dtype)


def _sign(dtype: np.dtype) -> Any:
    return dtype.type(1 << (dtype.itemsize * 8 - 1))


# --- nearest -------------------------------------------------------------------------------


def _nearest(slab: _Slab) -> NDArray[Any]:
    chosen = slab[..., 1::2, 1::2]
    if chosen.shape[1] == 1:
        return chosen[:, 0]
    first, second = chosen[:, 0], chosen[:, 1]
    if slab.dtype.kind == "f":
        both = (first.astype(np.float64) + second) / 2
    else:
        # The mean of two integers is a & b plus half of a ^ b, without overflow.
        apart: NDArray[Any] = first ^ second
        if slab.dtype == _COLOUR:
            apart = apart & _HIGH_SEVEN_BITS
        both = (first & second) + (apart >> 1)
    return np.where(first == 0, second, np.where(second == 0, first, both))


# --- labels --------------------------------------------------------------------------------


def _vote_slab(slab: _Slab) -> NDArray[Any]:
    voted = _vote(slab[:, 0])
    if slab.shape[1] == 2:
        none = voted == 0
        if none.any():
            np.copyto(voted, _vote(slab[:, 1]), where=none)
    return voted


def _vote(planes: NDArray[Any]) -> NDArray[Any]:
    voted = planes[:, ::2, ::2].copy()
    others = [planes[:, y::2, x::2] for y, x in ((0, 1), (1, 0), (1, 1))]
    differs = voted != others[0]
    differs |= voted != others[1]
    differs |= voted != others[2]
    places = np.flatnonzero(differs)  # few, because real labels are mostly uniform
    if places.size:
        four = (np.ascontiguousarray(each).ravel()[places] for each in (voted, *others))
        voted.ravel()[places] = _vote_of(*four)
    return voted


def _vote_of(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], d: NDArray[Any]) -> NDArray[Any]:
    voted: NDArray[Any] = np.where(a != 0, a, b)
    np.copyto(voted, c, where=(c != 0) & ((voted == 0) | (c == a) | (c == b)))
    np.copyto(voted, d, where=(d != 0) & ((voted == 0) | (d == a) | (d == b) | (d == c)))
    return voted
