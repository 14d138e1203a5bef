"""Merging RAMON objects: what referred to the losers refers to the survivor; their fields go.

Voxels are relabelled before this, by whoever paints. Where the losers went stays known: the row of
each says so, and a row of the survivor lists it.
"""

from collections.abc import Sequence
from concurrent.futures import Executor

from ndlambda.errors import (
    InvalidArgumentError,
    NotFoundError,
    PreconditionFailedError,
    WriteContentionError,
)
from ndlambda.model.catalog import Channel
from ndlambda.model.ramon import Annotation, with_references_moved
from ndlambda.services import ramon_keys as keys
from ndlambda.services.ramon_query import ObjectFinder
from ndlambda.services.ramon_rows import Gone, ObjectRows, State, state_of
from ndlambda.stores.ports import Action, Check, Put, Row, Table

_ATTEMPTS = 32


class RamonMerge:
    """Merges of objects; each may be repeated after a crash, by anybody, with the same ids.

    Parameters
    ----------
    table
        Where the objects are.
    executor
        Reads parts of the index side by side; None reads them one by one.
    """

    def __init__(self, table: Table, executor: Executor | None = None) -> None:
        self._rows = ObjectRows(table)
        self._finder = ObjectFinder(table, executor)

    def check(self, channel: Channel, survivor: int, losers: Sequence[int]) -> None:
        """Look whether ids can be merged, before their voxels are touched.

        Raises
        ------
        NotFoundError
            The survivor or a loser has no object. (A loser that went into this survivor before
            may be named again: so a merge is completed.)
        InvalidArgumentError
            There are no losers, or the survivor is one.
        """
        if not losers or survivor in losers:
            raise InvalidArgumentError("A merge names a survivor and others beside it.")
        states = self._rows.find_many(channel.uid, [survivor, *dict.fromkeys(losers)])
        if not isinstance(states.get(survivor), Annotation):
            raise _not_found(survivor)
        for loser in losers:
            if not _may_lose(states.get(loser), survivor):
                raise _not_found(loser)

    def merge(self, channel: Channel, survivor: int, losers: Sequence[int]) -> None:
        """Let losers go into the survivor, whose own fields stay as they are.

        Raises
        ------
        NotFoundError, InvalidArgumentError
            As ``check``.
        WriteContentionError
            Others kept changing the objects.
        """
        self.check(channel, survivor, losers)
        uid = channel.uid
        gone = frozenset(losers)
        self._move_references(uid, survivor, gone)
        for loser in dict.fromkeys(losers):
            self._retire(uid, survivor, loser)
        # Again for those that were made while the losers were still there.
        self._move_references(uid, survivor, gone)

    def list_merged(self, channel: Channel, survivor: int) -> list[int]:
        """Give the ids that went into an object, ascending."""
        listed = self._finder.merged_into(channel.uid, survivor)
        states = self._rows.find_many(channel.uid, listed)
        return [number for number in listed if states.get(number) == Gone(survivor)]

    def _move_references(self, uid: str, survivor: int, losers: frozenset[int]) -> None:
        found = self._finder.referring(uid, sorted(losers)).values()
        for number in sorted({n for by_key in found for each in by_key.values() for n in each}):
            self._turn(uid, number, losers, survivor)

    def _turn(self, uid: str, number: int, losers: frozenset[int], survivor: int) -> None:
        for _ in range(_ATTEMPTS):
            row = self._rows.find_settled(uid, number)
            old = state_of(row)
            if not isinstance(old, Annotation):
                return
            new = with_references_moved(old, losers, survivor)
            if new is old:
                return
            try:
                self._rows.change(uid, number, row, new)
            except PreconditionFailedError:
                continue
            return
        raise _contended(number)

    def _retire(self, uid: str, survivor: int, loser: int) -> None:
        for _ in range(_ATTEMPTS):
            row = self._rows.find_settled(uid, loser)
            state = state_of(row)
            if not _may_lose(state, survivor):
                raise _not_found(loser)
            if isinstance(state, Gone):
                return
            kept = self._rows.find_settled(uid, survivor)
            if kept is None or not isinstance(state_of(kept), Annotation):
                raise _not_found(survivor)
            # The check keeps two merges of the same objects from losing both.
            also: list[Action] = [
                Check(kept.pk, kept.sk, kept.version),
                Put(Row(*keys.merged_key(uid, survivor, loser))),
            ]
            try:
                self._rows.change(uid, loser, row, Gone(merged_into=survivor), also)
            except PreconditionFailedError:
                continue
            return
        raise _contended(loser)


def _may_lose(state: State, survivor: int) -> bool:
    return isinstance(state, Annotation) or state == Gone(merged_into=survivor)


def _not_found(number: int) -> NotFoundError:
    return NotFoundError(f"There is no object {number} to merge.", id=number)


def _contended(number: int) -> WriteContentionError:
    return WriteContentionError(
        f"Object {number} keeps being changed by others; try again.", id=number
    )
