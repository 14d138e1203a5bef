"""Long sequences in pieces that a store or a queue takes at once."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")


def batched(items: Iterable[_T], size: int) -> Iterator[tuple[_T, ...]]:
    """Iterate over items in tuples of ``size``, the last of which may be shorter.

    As ``itertools.batched``, which is newer than the oldest Python that is supported.
    """
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch
