"""One RAMON object's row and the index rows that follow it.

Most changes are one transaction. One with more rows than a transaction takes goes in steps that
anybody can complete, since the object's row says what is under way:

1. ``{"now": OLD, "next": NEW}``: what NEW is found under is added;
2. ``{"now": NEW, "last": OLD}``: what only OLD was found under is removed;
3. ``{"now": NEW}``.

Each step checks the row's version, and whoever wants to change the object completes the steps
first. So the index holds at least what ``now`` says at any time, nothing is left in it in the end,
and a process that was overtaken cannot remove what a later change has added.

While the voxels of a new object are painted, a claim (``{"now": {"claim": DIGEST}}``) has its place
(``annotation_claims``).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from ndlambda.batches import batched
from ndlambda.errors import PayloadTooLargeError, PreconditionFailedError
from ndlambda.model.ramon import Annotation, from_document, to_document
from ndlambda.services.ramon import keys
from ndlambda.stores.ports import (
    MAX_TRANSACTION,
    Action,
    Check,
    Delete,
    Expectation,
    Put,
    Row,
    Table,
)

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What stays of an object that was deleted: its id is never given again.

    Attributes
    ----------
    merged_into
        The object that its voxels went to; None where they were erased.
    erasing
        Its voxels may not all be erased yet.
    """

    merged_into: int | None = None
    erasing: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """What stands for an object while its voxels are painted; the row vanishes by itself.

    Attributes
    ----------
    digest
        Names what is uploaded.
    """

    digest: str


State: TypeAlias = Annotation | Tombstone | Claim | None
"""What an id stands for; None: it was never stored."""


def state_of(row: Row | None) -> State:
    """Return what a row says that its id stands for now."""
    return None if row is None else _state(keys.id_of(row), row.doc["now"])


class ObjectRows:
    """Rows of objects in a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, uid: str, annotation_id: int) -> Row | None:
        """Return an object's row as it is."""
        return self._table.get(*keys.object_key(uid, annotation_id))

    def find_many(self, uid: str, ids: Sequence[int]) -> dict[int, State]:
        """Return what ids stand for; those never stored are not in the answer."""
        found = self._table.batch_get([keys.object_key(uid, number) for number in ids])
        return {keys.id_of(row): state_of(row) for row in found.values()}

    def find_all_settled(self, uid: str, ids: Sequence[int]) -> dict[int, Row]:
        """Return objects' rows (``MAX_TRANSACTION`` at most) after completing what is under way."""
        found = self._table.batch_get([keys.object_key(uid, number) for number in ids])
        settled: dict[int, Row] = {}
        for row in found.values():
            number = keys.id_of(row)
            now = self.find_settled(uid, number) if _is_under_way(row) else row
            if now is not None:
                settled[number] = now
        return settled

    def claim(
        self, uid: str, claims: Mapping[int, Claim], rows: Mapping[int, Row], to: int
    ) -> None:
        """Put claims in the place of objects, in one transaction.

        Parameters
        ----------
        uid, claims
            By id; ``MAX_TRANSACTION`` at most.
        rows
            Those of the ids that have one, as they were read.
        to
            Unix seconds at which the claims vanish.

        Raises
        ------
        PreconditionFailedError
            A row has changed; nothing is claimed.
        """
        self._table.transact(
            [
                Put(
                    Row(*keys.object_key(uid, number), doc=_doc(now=claim), expires=to),
                    _unchanged(rows.get(number)),
                )
                for number, claim in claims.items()
            ]
        )

    def release(self, rows: Sequence[Row]) -> None:
        """Remove rows of claims, ``MAX_TRANSACTION`` at most, in one transaction.

        Raises
        ------
        PreconditionFailedError
            One of them has changed; all stay.
        """
        self._table.transact([Delete(row.pk, row.sk, row.version) for row in rows])

    def find_settled(self, uid: str, annotation_id: int) -> Row | None:
        """Return an object's row after completing the change that is under way, if any."""
        row = self.find(uid, annotation_id)
        while row is not None and _is_under_way(row):
            # Where it fails, somebody else completes it, too, and is ahead.
            with suppress(PreconditionFailedError):
                self._step(uid, row)
            row = self.find(uid, annotation_id)
        return row

    def change(
        self,
        uid: str,
        annotation_id: int,
        row: Row | None,
        new: Annotation | Tombstone,
        also: Sequence[Action] = (),
    ) -> None:
        """Make an id stand for something new, if its settled row still is ``row``.

        Parameters
        ----------
        uid, annotation_id
            Which object.
        row
            As ``find_settled`` gave it.
        new
            What it is to stand for.
        also
            Actions that belong to the same transaction.

        Raises
        ------
        PreconditionFailedError
            Others changed the object meanwhile, or an action's expectation does not hold.
        PayloadTooLargeError
            The object does not fit in a row, or, with more rows of its index than one
            transaction takes, not beside what it was before.
        """
        old = state_of(row)
        key = keys.object_key(uid, annotation_id)
        expect = _unchanged(row)
        added, removed = _difference(uid, old, new)
        put = Put(Row(*key, doc=_doc(now=new)), expect)
        actions = [put, *also, *_puts(added), *_deletes(removed)]
        try:
            if len(actions) <= MAX_TRANSACTION:
                self._table.transact(actions)
                return
            self._table.transact([Put(Row(*key, doc=_doc(now=old, next=new)), expect), *also])
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(
                f"Object {annotation_id} has more or longer values than are kept of one.",
                **error.details,
            ) from error
        # From here on the change will be made, by us or by whoever comes next.
        self.find_settled(uid, annotation_id)

    def add_many(
        self, uid: str, ramons: Sequence[Annotation], claims: Mapping[int, Row] | None = None
    ) -> None:
        """Store new objects, as many a transaction as fit.

        Parameters
        ----------
        uid, ramons
            The objects.
        claims
            Settled rows that they take the place of; where none is given there must be none.

        Raises
        ------
        PreconditionFailedError
            One of the ids was stored before, or its row has changed; objects in front of it may be
            stored now.
        PayloadTooLargeError
            As ``change``.
        """
        batch: list[Action] = []
        for ramon in ramons:
            row = Row(*keys.object_key(uid, ramon.id), doc=_doc(now=ramon))
            claim = claims.get(ramon.id) if claims else None
            actions = [Put(row, _unchanged(claim)), *_puts(keys.index_rows(uid, ramon))]
            if len(actions) > MAX_TRANSACTION:
                self.change(uid, ramon.id, claim, ramon)
                continue
            if len(batch) + len(actions) > MAX_TRANSACTION:
                self._table.transact(batch)
                batch = []
            batch += actions
        self._table.transact(batch)

    def _step(self, uid: str, row: Row) -> None:
        """Complete the step that a row is in."""
        number = keys.id_of(row)
        now = state_of(row)
        if "next" in row.doc:
            new = _state(number, row.doc["next"])
            added, _ = _difference(uid, now, new)
            self._in_batches(row, _puts(added))
            self._table.put(Row(row.pk, row.sk, doc=_doc(now=new, last=now)), row.version)
        else:
            _, removed = _difference(uid, _state(number, row.doc["last"]), now)
            self._in_batches(row, _deletes(removed))
            self._table.put(Row(row.pk, row.sk, doc=_doc(now=now)), row.version)

    def _in_batches(self, row: Row, actions: Sequence[Action]) -> None:
        unchanged = Check(row.pk, row.sk, row.version)
        for some in batched(actions, MAX_TRANSACTION - 1):
            self._table.transact([unchanged, *some])


def _is_under_way(row: Row) -> bool:
    return "next" in row.doc or "last" in row.doc


def _unchanged(row: Row | None) -> Expectation:
    return "absent" if row is None else row.version


def _difference(uid: str, old: State, new: State) -> tuple[list[Row], list[Row]]:
    """Return the index rows to add and to remove."""
    before, after = ({(row.pk, row.sk): row for row in _index(uid, state)} for state in (old, new))
    # Put anew where the row's contents differ, too.
    added = [row for key, row in after.items() if before.get(key) != row]
    return added, [row for key, row in before.items() if key not in after]


def _index(uid: str, state: State) -> Iterable[Row]:
    return keys.index_rows(uid, state) if isinstance(state, Annotation) else ()


def _puts(rows: Iterable[Row]) -> list[Action]:
    return [Put(row) for row in rows]


def _deletes(rows: Iterable[Row]) -> list[Action]:
    return [Delete(row.pk, row.sk) for row in rows]


def _doc(**states: State) -> dict[str, Any]:
    return {"v": _FORMAT, **{name: _document(state) for name, state in states.items()}}


def _document(state: State) -> dict[str, Any] | None:
    match state:
        case None:
            return None
        case Tombstone(merged_into, erasing):
            return {"gone": True, "merged_into": merged_into, "erasing": erasing}
        case Claim(digest):
            return {"claim": digest}
    return to_document(state)


def _state(annotation_id: int, document: Mapping[str, Any] | None) -> State:
    if document is None:
        return None
    if document.get("gone"):
        return Tombstone(document["merged_into"], document["erasing"])
    if "claim" in document:
        return Claim(document["claim"])
    return from_document(annotation_id, document)
