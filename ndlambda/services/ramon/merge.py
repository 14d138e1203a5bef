"""Merges RAMON objects: references to the losers become references to the survivor.

The losers' fields are lost; the tombstone of a loser names the survivor. Voxels are relabelled
afterwards (``annotation.merging``).

Seeds and neurons have no voxels of their own: ndstore refuses such voxels in uploads, and reads a
neuron as all of its segments. So voxels given to one would belong to no object, and a reference to
a neuron that is merged into another type would be invalid. They merge only with their own type.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

from ndlambda.errors import (
    IntegrityError,
    InvalidArgumentError,
    NotFoundError,
    PreconditionFailedError,
)
from ndlambda.model.catalog import Channel
from ndlambda.model.ramon import Annotation, RamonType, with_references_moved
from ndlambda.services.ramon.many import contended
from ndlambda.services.ramon.query import ObjectFinder
from ndlambda.services.ramon.rows import ObjectRows, State, Tombstone, state_of
from ndlambda.services.support.retry import HOT_ROW_ATTEMPTS, optimistic
from ndlambda.stores.ports import Action, Check, Table

WITHOUT_VOXELS: Final = frozenset({RamonType.SEED, RamonType.NEURON})
"""Types of objects that have no voxels of their own."""


class RamonMerge:
    """Merges objects; any process may repeat a merge with the same ids after a crash.

    Parameters
    ----------
    table
        The store of rows.
    executor
        Reads parts of the index in parallel; None: one by one.
    """

    def __init__(self, table: Table, executor: Executor | None = None) -> None:
        self._rows = ObjectRows(table)
        self._finder = ObjectFinder(table, executor)

    def check(self, channel: Channel, survivor: int, losers: Sequence[int]) -> None:
        """Refuse ids that cannot be merged, before their voxels are touched.

        Raises
        ------
        NotFoundError
            The survivor or a loser has no object. (A loser that was merged into this survivor
            before is accepted: so a merge can be completed.)
        InvalidArgumentError
            There are no losers, or the survivor is one; or see ``check_types``.
        """
        if not losers or survivor in losers:
            raise InvalidArgumentError("A merge needs a survivor and at least one other id.")
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
        """Merge losers into the survivor, whose own fields stay.

        Parameters
        ----------
        channel, survivor, losers
            The objects.
        begin
            Returns the action that stores the job of relabelling a loser's voxels, for the
            transaction that retires it; None: there is no such job.

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
        # Not earlier: if the survivor is deleted meanwhile, references must stay with the loser.
        self.complete(channel, losers)

    def descent(self, channel: Channel, loser: int) -> tuple[list[int], int | None]:
        """Follow the merges of an object.

        Returns
        -------
        retired
            The object, and the objects that it was merged into one after the other and that are
            retired, too.
        successor
            The existing object at the end; None: the last one was deleted.

        Raises
        ------
        IntegrityError
            The objects were merged into each other in a circle, which no merge stores.
        """
        retired: dict[int, None] = {}
        successor: int | None = loser
        while successor is not None:
            if successor in retired:
                raise IntegrityError(f"Object {successor} was merged into itself.", id=successor)
            state = state_of(self._rows.find(channel.uid, successor))
            if not isinstance(state, Tombstone):
                break
            retired[successor] = None
            successor = state.merged_into
        return list(retired), successor

    def complete(self, channel: Channel, losers: Sequence[int]) -> None:
        """Move references from objects that were merged into one to its current successor.

        Idempotent, and may be interrupted.
        """
        first, *others = losers
        descent = self.descent(channel, first)
        while True:
            retired, successor = descent
            if successor is None:
                return  # references stay, as for any deleted object
            self._move_references(channel.uid, successor, frozenset([*retired, *others]))
            descent = self.descent(channel, first)
            if descent == (retired, successor):
                return

    def _move_references(self, uid: str, survivor: int, losers: frozenset[int]) -> None:
        found = self._finder.referring(uid, sorted(losers)).values()
        for number in sorted({n for by_key in found for each in by_key.values() for n in each}):
            self._move_references_of(uid, number, losers, survivor)

    def _move_references_of(
        self, uid: str, number: int, losers: frozenset[int], survivor: int
    ) -> None:
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
        raise contended(number)

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
            # The check keeps two opposite merges of the same objects from retiring both.
            also: list[Action] = [Check(kept.pk, kept.sk, kept.version), *begin]
            try:
                self._rows.change(uid, loser, row, Tombstone(merged_into=survivor), also)
            except PreconditionFailedError:
                continue
            return
        raise contended(loser)


def check_types(ramons: Sequence[Annotation]) -> None:
    """Refuse objects of types that do not merge.

    Raises
    ------
    InvalidArgumentError
        A seed or neuron is to be merged with another type.
    """
    bare = [ramon for ramon in ramons if ramon.ramon_type in WITHOUT_VOXELS]
    if bare and any(ramon.ramon_type is not bare[0].ramon_type for ramon in ramons):
        first = bare[0]
        name = first.ramon_type.name.lower()
        raise InvalidArgumentError(
            f"Object {first.id} is a {name} and has no voxels of its own; a {name} merges only "
            f"with another {name}.",
            id=first.id,
        )


def _may_lose(state: State, survivor: int) -> bool:
    return isinstance(state, Annotation) or state == Tombstone(merged_into=survivor)


def _not_found(number: int) -> NotFoundError:
    return NotFoundError(f"There is no object {number} to merge.", id=number)
