"""Splits sequences into the batches that a store or a queue accepts."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")


def batched(items: Iterable[_T], size: int) -> Iterator[tuple[_T, ...]]:
    """Iterate over items in tuples of ``size``, the last of which may be shorter.

    Like ``itertools.batched``, which the oldest supported Python lacks.
    """
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch
