"""Merging RAMON objects: what referred to the losers refers to the survivor; their fields go.

Voxels are relabelled behind this (``object_merge``). Where a loser went stays in its row.

Seeds and neurons have no voxels of their own: ndstore refuses such voxels in uploads, and reads a
neuron as all of its segments. So voxels given to one are nobody's; and what names a neuron would
name, merged into something else, none. They merge only with their like.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

from ndlambda.errors import (
    IntegrityError,
    InvalidArgumentError,
    NotFoundError,
    PreconditionFailedError,
    WriteContentionError,
)
from ndlambda.model.catalog import Channel
from ndlambda.model.ramon import Annotation, RamonType, with_references_moved
from ndlambda.services.ramon.query import ObjectFinder
from ndlambda.services.ramon.rows import ObjectRows, State, Tombstone, state_of
from ndlambda.services.support.retry import HOT_ROW_ATTEMPTS, optimistic
from ndlambda.stores.ports import Action, Check, Table

WITHOUT_VOXELS: Final = frozenset({RamonType.SEED, RamonType.NEURON})
"""Types of objects that have no voxels of their own."""


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
            There are no losers, or the survivor is one; or ``check_types``.
        """
        if not losers or survivor in losers:
            raise InvalidArgumentError("A merge names a survivor and others beside it.")
        states = self._rows.find_many(channel.uid, [survivor, *dict.fromkeys(losers)])
        kept = states.get(survivor)
        if not isinstance(kept, Annotation):
            raise _not_found(survivor)
        for loser in losers:
            if not _may_lose(states.get(loser), survivor):
                raise _not_found(loser)
        living = [state for n in losers if isinstance(state := states[n], Annotation)]
        check_types([kept, *living])

    def merge(
        self,
        channel: Channel,
        survivor: int,
        losers: Sequence[int],
        begin: Callable[[int], Action] | None = None,
    ) -> None:
        """Let losers go into the survivor, whose own fields stay as they are.

        Parameters
        ----------
        channel, survivor, losers
            What is merged.
        begin
            Gives what stores the job of relabelling a loser's voxels, for the transaction that
            retires it; None where it has none.

        Raises
        ------
        NotFoundError, InvalidArgumentError
            As ``check``.
        WriteContentionError
            Others kept changing the objects.
        """
        self.check(channel, survivor, losers)
        for loser in dict.fromkeys(losers):
            self._retire(channel.uid, survivor, loser, [] if begin is None else [begin(loser)])
        # Not before: had the survivor gone meanwhile, they would refer to it, and not to the loser.
        self.complete(channel, losers)

    def descent(self, channel: Channel, loser: int) -> tuple[list[int], int | None]:
        """Return what has become of an object that went into another.

        Returns
        -------
        gone
            The object, and one after the other those that it went into and that are gone, too.
        heir
            The object that is there now; None where the last of these was deleted.

        Raises
        ------
        IntegrityError
            They went into each other in a circle, which no merge stores.
        """
        gone: dict[int, None] = {}
        heir: int | None = loser
        while heir is not None:
            if heir in gone:
                raise IntegrityError(f"Object {heir} went into itself, by others.", id=heir)
            state = state_of(self._rows.find(channel.uid, heir))
            if not isinstance(state, Tombstone):
                break
            gone[heir] = None
            heir = state.merged_into
        return list(gone), heir

    def complete(self, channel: Channel, losers: Sequence[int]) -> None:
        """Let what refers to objects that went into one refer to whatever has become of that.

        Harmless when repeated or broken off.
        """
        first, *others = losers
        descent = self.descent(channel, first)
        while True:
            gone, heir = descent
            if heir is None:
                return  # as what refers to any object that is deleted
            self._move_references(channel.uid, heir, frozenset([*gone, *others]))
            descent = self.descent(channel, first)
            if descent == (gone, heir):
                return

    def _move_references(self, uid: str, survivor: int, losers: frozenset[int]) -> None:
        found = self._finder.referring(uid, sorted(losers)).values()
        for number in sorted({n for by_key in found for each in by_key.values() for n in each}):
            self._turn(uid, number, losers, survivor)

    def _turn(self, uid: str, number: int, losers: frozenset[int], survivor: int) -> None:
        for _ in optimistic(HOT_ROW_ATTEMPTS):
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

    def _retire(self, uid: str, survivor: int, loser: int, begin: Sequence[Action]) -> None:
        for _ in optimistic(HOT_ROW_ATTEMPTS):
            row = self._rows.find_settled(uid, loser)
            state = state_of(row)
            if not _may_lose(state, survivor):
                raise _not_found(loser)
            if isinstance(state, Tombstone):
                return
            kept = self._rows.find_settled(uid, survivor)
            if kept is None or not isinstance(state_of(kept), Annotation):
                raise _not_found(survivor)
            # The check keeps two merges of the same objects from losing both.
            also: list[Action] = [Check(kept.pk, kept.sk, kept.version), *begin]
            try:
                self._rows.change(uid, loser, row, Tombstone(merged_into=survivor), also)
            except PreconditionFailedError:
                continue
            return
        raise _contended(loser)


def check_types(ramons: Sequence[Annotation]) -> None:
    """Make sure that objects are of types that merge.

    Raises
    ------
    InvalidArgumentError
        A seed or neuron is among others.
    """
    bare = [ramon for ramon in ramons if ramon.ramon_type in WITHOUT_VOXELS]
    if bare and any(ramon.ramon_type is not bare[0].ramon_type for ramon in ramons):
        odd = bare[0]
        name = odd.ramon_type.name.lower()
        raise InvalidArgumentError(
            f"Object {odd.id} is a {name} and has no voxels of its own; a {name} merges only with "
            "its like.",
            id=odd.id,
        )


def _may_lose(state: State, survivor: int) -> bool:
    return isinstance(state, Annotation) or state == Tombstone(merged_into=survivor)


def _not_found(number: int) -> NotFoundError:
    return NotFoundError(f"There is no object {number} to merge.", id=number)


def _contended(number: int) -> WriteContentionError:
    return WriteContentionError(
        f"Object {number} keeps being changed by others; try again.", id=number
    )
