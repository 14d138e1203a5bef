"""The rows that list jobs of all kinds, newest first; they only refer to the rows of the kinds.

====================  ================  ====================================================
pk                    sk                row
====================  ================  ====================================================
``jobs#user#OWNER``   ``INVERTED.ID``   doc ``kind``, ``ref``: a job of a user
``jobs#all#SHARD``    ``INVERTED.ID``   the same, of all users, in 16 partitions by id
====================  ================  ====================================================

INVERTED is the time of creation in milliseconds, subtracted from the largest number of its 13
hexadecimal digits. The rows are written in the transaction that opens the job, and expire where
those of an ended job do.
"""

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final
from zlib import crc32

from ndlambda.errors import InvalidArgumentError
from ndlambda.services.jobs.contract import job_id
from ndlambda.stores.ports import Delete, Put, Row, Table

KEPT_S: Final = 30 * 86_400
"""How long ended jobs stay listed whose own rows go, too."""

_SHARDS: Final = 16
_LAST: Final = (1 << 52) - 1
_POSITION = re.compile(r"[0-9a-f]{13}\.[a-z]+-[0-9a-z.]+")
_JUST_AFTER: Final = " "
"""Appended to a sort key, sorts behind it and before every other."""


@dataclass(frozen=True, slots=True)
class JobEntry:
    """An entry of the list."""

    kind: str
    ref: str
    owner_id: int | None
    created_at: float

    @property
    def position(self) -> str:
        """Where it is in the list; sorts from new to old."""
        return f"{_LAST - int(self.created_at * 1000):013x}.{job_id(self.kind, self.ref)}"

    def put_actions(self, expires: int | None = None) -> list[Put]:
        """Return the actions that list the job."""
        doc = {"kind": self.kind, "ref": self.ref}
        return [Put(Row(pk, self.position, doc=doc, expires=expires)) for pk in self._partitions()]

    def delete_actions(self) -> list[Delete]:
        """Return the actions that take the job out of the list."""
        return [Delete(pk, self.position) for pk in self._partitions()]

    def _partitions(self) -> list[str]:
        shard = _shard(crc32(job_id(self.kind, self.ref).encode()) % _SHARDS)
        return [shard] if self.owner_id is None else [shard, _of_user(self.owner_id)]


@dataclass(frozen=True, slots=True)
class Position:
    """A job's place in the list, and its reference."""

    position: str
    kind: str
    ref: str


class JobIndex:
    """Reads the list of jobs.

    Parameters
    ----------
    table
        The store of rows.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def page(self, owner_id: int | None, limit: int, after: str = "") -> list[Position]:
        """Return the next jobs behind a position, newest first.

        Parameters
        ----------
        owner_id
            Of this user; None: of all.

        Raises
        ------
        InvalidArgumentError
            ``after`` is not a position.
        """
        if after and _POSITION.fullmatch(after) is None:
            raise InvalidArgumentError("after= is not the `next` of an earlier answer.")
        first = after and after + _JUST_AFTER
        shards = [_of_user(owner_id)] if owner_id is not None else map(_shard, range(_SHARDS))
        pages = [self._page(pk, first, limit) for pk in shards]
        return list(islice(heapq.merge(*pages, key=lambda found: found.position), limit))

    def ensure(self, listed: Iterable[JobEntry]) -> None:
        """List jobs that an older version opened, which did not."""
        for each in listed:
            puts = each.put_actions()
            if self._table.get(puts[0].row.pk, puts[0].row.sk) is None:
                self._table.transact(puts)

    def _page(self, pk: str, first: str, limit: int) -> list[Position]:
        found: list[Position] = []
        cursor: str | None = None
        while len(found) < limit:
            page = self._table.query(pk, first=first, limit=limit - len(found), cursor=cursor)
            found += [Position(row.sk, row.doc["kind"], row.doc["ref"]) for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        return found


def _of_user(owner_id: int) -> str:
    return f"jobs#user#{owner_id}"


def _shard(number: int) -> str:
    return f"jobs#all#{number:x}"
