"""Orders numbers without regard to their size, always in the same way.

Jobs visit supercuboids in this order where no other matters: S3 splits a prefix of keys by and by
as it is used, and visitors in Morton order press on one of its partitions all the time.
"""

from collections.abc import Iterable
from typing import Final

_MASK: Final = (1 << 64) - 1


def mixed(number: int) -> int:
    """Return the 64 bits of a number mixed: a bijection (the finalizer of SplitMix64)."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31


def shuffled(numbers: Iterable[int]) -> list[int]:
    """Return numbers below 2^64 in an order that depends on which they are only."""
    return sorted(numbers, key=mixed)
