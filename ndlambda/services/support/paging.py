"""Reads the rows of a partition page by page, and deletes them in batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeAlias, TypeVar

from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Row, Table

Key: TypeAlias = tuple[str, str]
"""Partition key and sort key of a row."""

T = TypeVar("T")
S = TypeVar("S")

_SCANNED = 1000
_NEXT = "!"
"""Sorts before every character of a name: a key with it is the next one."""
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


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """A part of a long list.

    Attributes
    ----------
    items
        In order; may be empty though there are more.
    next
        Where the next part begins, for its ``after``; None: there is none.
    """

    items: Sequence[T]
    next: str | None

    def map(self, change: Callable[[Sequence[T]], Sequence[S]]) -> "Slice[S]":
        """Return the slice of other items."""
        return Slice(change(self.items), self.next)


def slice_of(
    table: Table,
    pk: str,
    limit: int,
    *,
    prefix: str = "",
    after: str = "",
    is_shown: Callable[[Row], bool] | None = None,
) -> Slice[Row]:
    """Return some rows of a partition, read with one query, whatever the length of the list.

    Stable while rows come and go: the position is a sort key.

    Parameters
    ----------
    table, pk
        The partition.
    limit
        Maximum number of rows of the slice.
    prefix
        Of the sort keys.
    after
        Begin behind this sort key, without the prefix.
    is_shown
        Tells which rows are listed; None: all. Of a list in which few rows are shown, a slice has
        those among the next ``_SCANNED``.
    """
    first, last = prefixed(prefix, f"{prefix}{after}{_NEXT}" if after else prefix)
    scanned = limit if is_shown is None else max(limit, _SCANNED)
    page = table.query(pk, first=first, last=last, limit=scanned + 1)
    shown = [row for row in page.rows if is_shown is None or is_shown(row)]
    if len(shown) > limit:
        reached: Row | None = shown[limit - 1]
    elif page.cursor is not None:
        reached = page.rows[-1]
    else:
        reached = None
    return Slice(shown[:limit], None if reached is None else reached.sk.removeprefix(prefix))


def rows_in(
    table: Table, pk: str, first: str = "", last: str | None = None, size: int | None = None
) -> Iterator[Row]:
    """Iterate over the rows of a partition, as ``pages``."""
    return chain.from_iterable(pages(table, pk, first, last, size))


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
