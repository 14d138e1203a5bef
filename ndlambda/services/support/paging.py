"""Reads the rows of a partition page by page, and deletes them in batches."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Row, Table

Key: TypeAlias = tuple[str, str]
"""Partition key and sort key of a row."""

_AFTER_NAMES = "~"
"""Sorts after every character of a sort key."""


def prefixed(prefix: str, first: str = "") -> tuple[str, str]:
    """Return the first and last sort key that start with a prefix and are at least ``first``."""
    return max(prefix, first), prefix + _AFTER_NAMES


def pages(
    table: Table, pk: str, first: str = "", last: str | None = None, size: int | None = None
) -> Iterator[Sequence[Row]]:
    """Iterate over the rows of a partition in pages, none of which is empty.

    Rows of returned pages may be changed or deleted during the iteration.

    Parameters
    ----------
    table, pk
        The partition.
    first, last
        Bounds of the sort keys, inclusive; ``prefixed`` returns such a pair.
    size
        Maximum number of rows of a page; None: the store decides.
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


def delete_rows(
    table: Table,
    pks: Iterable[str],
    *,
    first: str = "",
    last: str | None = None,
    max_rows: int | None = None,
) -> bool:
    """Delete the rows of partitions in batches; return whether none is left.

    A repeated call continues where an earlier one stopped.

    Parameters
    ----------
    table, pks
        The partitions.
    first, last
        Bounds of the sort keys, inclusive.
    max_rows
        No batch is started after so many rows were deleted.
    """
    deleted = 0
    for pk in pks:
        while rows := table.query(pk, first=first, last=last, limit=MAX_TRANSACTION).rows:
            if max_rows is not None and deleted >= max_rows:
                return False
            table.transact([Delete(row.pk, row.sk) for row in rows])
            deleted += len(rows)
    return True
