"""Reading the rows of a partition page by page."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from ndlambda.stores.ports import Row, Table

Key: TypeAlias = tuple[str, str]
"""Partition key and sort key of a row."""

_AFTER_NAMES = "~"
"""Sorts behind every character of a sort key."""


def prefixed(prefix: str, first: str = "") -> tuple[str, str]:
    """Return the first and last sort key that start with a prefix and are at least ``first``."""
    return max(prefix, first), prefix + _AFTER_NAMES


def pages(
    table: Table, pk: str, first: str = "", last: str | None = None, size: int | None = None
) -> Iterator[Sequence[Row]]:
    """Iterate over the rows of a partition in pages, none of which is empty.

    Rows of pages that were already returned may be changed or removed meanwhile.

    Parameters
    ----------
    table, pk
        Which partition.
    first, last
        Only rows whose sort keys are within these (inclusive); ``prefixed`` returns such a pair.
    size
        Most rows of a page; None leaves it to the store.
    """
    cursor: str | None = None
    while True:
        page = table.query(pk, first=first, last=last, limit=size, cursor=cursor)
        if page.rows:
            yield page.rows
        cursor = page.cursor
        if cursor is None:
            return


def rows_in(table: Table, pk: str, first: str = "", last: str | None = None) -> Iterator[Row]:
    """Iterate over the rows of a partition, as ``pages``."""
    return chain.from_iterable(pages(table, pk, first, last))


def children(table: Table, pk: str, kind: str | None = None) -> list[Row]:
    """Return all rows of a partition, or those whose sort keys start with a kind and a ``#``."""
    return list(rows_in(table, pk, *(() if kind is None else prefixed(f"{kind}#"))))
