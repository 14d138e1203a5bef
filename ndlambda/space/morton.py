"""Morton (Z-order) codes of three axes, 21 bits each: x bit k at 3k, y at 3k+1, z at 3k+2."""

from typing import NewType

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import OutOfBoundsError

Morton = NewType("Morton", int)

AXIS_BITS = 21
AXIS_LIMIT = 1 << AXIS_BITS
_LOW_BITS = 11
_LOW_MASK = (1 << _LOW_BITS) - 1


def _spread_table(bits: int) -> NDArray[np.uint64]:
    values = np.arange(1 << bits, dtype=np.uint64)
    spread = np.zeros_like(values)
    for bit in range(bits):
        spread |= ((values >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit)
    return spread


_SPREAD = _spread_table(_LOW_BITS)
_HIGH_SHIFT = np.uint64(3 * _LOW_BITS)


def _spread(values: NDArray[np.integer]) -> NDArray[np.uint64]:
    low: NDArray[np.uint64] = _SPREAD[values & _LOW_MASK]
    if values.size and int(values.max()) > _LOW_MASK:
        low |= _SPREAD[values >> _LOW_BITS] << _HIGH_SHIFT
    return low


def _check_axis(first: int, last: int) -> None:
    if first < 0 or last >= AXIS_LIMIT:
        raise OutOfBoundsError(
            f"Morton codes hold 0 <= index < {AXIS_LIMIT} on each axis.", limit=AXIS_LIMIT
        )


def encode(x: int, y: int, z: int) -> Morton:
    """Return the code of one index.

    Raises
    ------
    OutOfBoundsError
        An index is negative or does not fit in 21 bits.
    """
    return Morton(int(plan((x, y, z), (x + 1, y + 1, z + 1))[0, 0, 0]))


def plan(start_xyz: tuple[int, int, int], stop_xyz: tuple[int, int, int]) -> NDArray[np.uint64]:
    """Return the codes of every index of a half-open box of cells.

    Returns
    -------
    codes
        uint64, axes (z, y, x), one code per cell. Three table look-ups per axis are broadcast, so
        the cost is one OR per cell.

    Raises
    ------
    OutOfBoundsError
        An index is negative or does not fit in 21 bits.
    """
    for lo, hi in zip(start_xyz, stop_xyz, strict=True):
        _check_axis(lo, hi - 1)
    axes = [np.arange(lo, hi, dtype=np.int64) for lo, hi in zip(start_xyz, stop_xyz, strict=True)]
    x, y, z = (_spread(axis) << np.uint64(shift) for shift, axis in enumerate(axes))
    codes: NDArray[np.uint64] = z[:, None, None] | y[None, :, None] | x[None, None, :]
    return codes


def encode_indices(index_xyz: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return the codes of many indices, shape (n, 3) with columns x, y, z.

    Raises
    ------
    OutOfBoundsError
        An index is negative or does not fit in 21 bits.
    """
    if index_xyz.size:
        _check_axis(int(index_xyz.min()), int(index_xyz.max()))
    columns = index_xyz.astype(np.int64, copy=False)
    codes: NDArray[np.uint64] = (
        _spread(columns[:, 0])
        | _spread(columns[:, 1]) << np.uint64(1)
        | _spread(columns[:, 2]) << np.uint64(2)
    )
    return codes


_COMPACT_STEPS = (
    (2, 0x10C30C30C30C30C3),
    (4, 0x100F00F00F00F00F),
    (8, 0x1F0000FF0000FF),
    (16, 0x1F00000000FFFF),
    (32, 0x1FFFFF),
)


def _compact(codes: NDArray[np.uint64]) -> NDArray[np.int64]:
    value = codes & np.uint64(0x1249249249249249)
    for shift, mask in _COMPACT_STEPS:
        value = (value | (value >> np.uint64(shift))) & np.uint64(mask)
    return value.astype(np.int64)


def decode_codes(codes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the indices of many codes: int64, shape (n, 3), columns x, y, z."""
    return np.stack([_compact(codes >> np.uint64(shift)) for shift in range(3)], axis=-1)


def decode(code: int) -> tuple[int, int, int]:
    """Return the index (x, y, z) of one code.

    Raises
    ------
    OutOfBoundsError
        The code is negative or over 63 bits.
    """
    if not 0 <= code < 1 << (3 * AXIS_BITS):
        raise OutOfBoundsError("A Morton code holds 63 bits.", code=code)
    x, y, z = decode_codes(np.array([code], dtype=np.uint64))[0].tolist()
    return x, y, z
