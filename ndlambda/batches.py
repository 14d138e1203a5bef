"""Splits sequences into the batches that a store or a queue accepts, and numbers into ranges."""

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import TypeVar

_T = TypeVar("_T")


def batched(items: Iterable[_T], size: int) -> Iterator[tuple[_T, ...]]:
    """Iterate over items in tuples of ``size``, the last of which may be shorter.

    Like ``itertools.batched``, which the oldest supported Python lacks.
    """
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch


def ranges_text(numbers: Iterable[int], most: int) -> str:
    """Return ascending numbers, at least one, as text: ``0, 3-7``; at most so many ranges."""
    found = list(numbers)
    starts = [found[0], *(after for before, after in pairwise(found) if after != before + 1)]
    ends = [*(before for before, after in pairwise(found) if after != before + 1), found[-1]]
    return spans_text(zip(starts, ends, strict=True), most)


def spans_text(spans: Iterable[tuple[int, int]], most: int) -> str:
    """Return spans of numbers, each with its last one, as text; at most so many of them."""
    texts = [f"{first}-{last}" if last > first else f"{first}" for first, last in spans]
    return ", ".join(texts[:most]) + (", ..." if len(texts) > most else "")
