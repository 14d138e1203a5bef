"""Changes the row of a RAMON object together with its index rows.

Most changes are one transaction. One with more rows than a transaction allows proceeds in steps
that any process can complete, since the object's row records the state:

1. ``{"now": OLD, "next": NEW}``: the index rows of NEW are added;
2. ``{"now": NEW, "last": OLD}``: the index rows of OLD only are removed;
3. ``{"now": NEW}``.

Each step checks the row's version, and every further change completes the steps first. So the index
always contains the rows of ``now``, no stale row remains in the end, and a superseded process
cannot remove what a later change has added.

While the voxels of a new object are painted, a claim (``{"now": {"claim": DIGEST}}``) is stored in
its place (``annotation.claims``).
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
    """The state of a deleted object, which keeps its id from being issued again.

    Attributes
    ----------
    merged_into
        The object that received its voxels; None: they are erased.
    """

    merged_into: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The state of an object while its voxels are painted; the row expires.

    Attributes
    ----------
    digest
        Identifies the upload.
    """

    digest: str


State: TypeAlias = Annotation | Tombstone | Claim | None
"""The state of an id; None: it was never stored."""


def state_of(row: Row | None) -> State:
    """Return the current state of a row."""
    return None if row is None else _state(keys.id_of(row), row.doc["now"])


class ObjectRows:
    """The rows of objects in a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, uid: str, annotation_id: int) -> Row | None:
        """Return an object's row, even if a change is incomplete."""
        return self._table.get(*keys.object_key(uid, annotation_id))

    def find_many(self, uid: str, ids: Sequence[int]) -> dict[int, State]:
        """Return the states of ids; those never stored are omitted."""
        found = self._table.batch_get([keys.object_key(uid, number) for number in ids])
        return {keys.id_of(row): state_of(row) for row in found.values()}

    def find_all_settled(self, uid: str, ids: Sequence[int]) -> dict[int, Row]:
        """Return the rows of objects after completing their changes."""
        found = self._table.batch_get([keys.object_key(uid, number) for number in ids])
        settled: dict[int, Row] = {}
        for row in found.values():
            number = keys.id_of(row)
            now = self.find_settled(uid, number) if _is_under_way(row) else row
            if now is not None:
                settled[number] = now
        return settled

    def claim(
        self, uid: str, claims: Mapping[int, Claim], rows: Mapping[int, Row], expires: int
    ) -> None:
        """Store claims in the place of objects, in one transaction.

        Parameters
        ----------
        uid, claims
            By id; ``MAX_TRANSACTION`` at most.
        rows
            The rows of the ids, as they were read.
        expires
            Unix seconds at which the claims expire.

        Raises
        ------
        PreconditionFailedError
            A row has changed; nothing is claimed.
        """
        self._table.transact(
            [
                Put(
                    Row(*keys.object_key(uid, number), doc=_doc(now=claim), expires=expires),
                    _unchanged(rows.get(number)),
                )
                for number, claim in claims.items()
            ]
        )

    def release(self, rows: Sequence[Row]) -> None:
        """Delete rows of claims, ``MAX_TRANSACTION`` at most, in one transaction.

        Raises
        ------
        PreconditionFailedError
            One of them has changed; none is deleted.
        """
        self._table.transact([Delete(row.pk, row.sk, row.version) for row in rows])

    def find_settled(self, uid: str, annotation_id: int) -> Row | None:
        """Return an object's row after completing an incomplete change."""
        row = self.find(uid, annotation_id)
        while row is not None and _is_under_way(row):
            # If it fails, another process is completing the change, too.
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
        """Change the state of an id if its settled row is still ``row``.

        Parameters
        ----------
        uid, annotation_id
            The object.
        row
            As returned by ``find_settled``.
        new
            The new state.
        also
            Further actions of the same transaction.

        Raises
        ------
        PreconditionFailedError
            The object has changed concurrently, or an action's expectation does not hold.
        PayloadTooLargeError
            The object is too large for a row or, if its index rows exceed one transaction, for a
            row beside its old state.
        """
        actions = [*actions_of(uid, annotation_id, row, new), *also]
        try:
            if len(actions) <= MAX_TRANSACTION:
                self._table.transact(actions)
                return
            both = Row(*keys.object_key(uid, annotation_id), doc=_doc(now=state_of(row), next=new))
            self._table.transact([Put(both, _unchanged(row)), *also])
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(
                f"Object {annotation_id} has too many or too long values to be stored.",
                **error.details,
            ) from error
        # From here on the change will be completed, here or by the next process.
        self.find_settled(uid, annotation_id)

    def add_many(
        self, uid: str, ramons: Sequence[Annotation], claims: Mapping[int, Row] | None = None
    ) -> None:
        """Store new objects, as many per transaction as fit.

        Parameters
        ----------
        uid, ramons
            The objects.
        claims
            Settled rows that they replace; an id without one must have no row.

        Raises
        ------
        PreconditionFailedError
            One of the ids was stored before, or its row has changed; objects before it may be
            stored.
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
        """Complete the current step of a row."""
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
        for batch in batched(actions, MAX_TRANSACTION - 1):
            self._table.transact([unchanged, *batch])


def actions_of(
    uid: str, annotation_id: int, row: Row | None, new: Annotation | Tombstone
) -> list[Action]:
    """Return the actions that change the state of an id, if its row is still the same."""
    added, removed = _difference(uid, state_of(row), new)
    put = Put(Row(*keys.object_key(uid, annotation_id), doc=_doc(now=new)), _unchanged(row))
    return [put, *_puts(added), *_deletes(removed)]


def _is_under_way(row: Row) -> bool:
    return "next" in row.doc or "last" in row.doc


def _unchanged(row: Row | None) -> Expectation:
    return "absent" if row is None else row.version


def _difference(uid: str, old: State, new: State) -> tuple[list[Row], list[Row]]:
    """Return the index rows to add and to remove."""
    before, after = ({(row.pk, row.sk): row for row in _index(uid, state)} for state in (old, new))
    # Rows with different contents are written again, too.
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
        case Tombstone(merged_into):
            # Earlier versions read "erasing", too.
            return {"gone": True, "merged_into": merged_into, "erasing": False}
        case Claim(digest):
            return {"claim": digest}
    return to_document(state)


def _state(annotation_id: int, document: Mapping[str, Any] | None) -> State:
    if document is None:
        return None
    if document.get("gone"):
        return Tombstone(document["merged_into"])
    if "claim" in document:
        return Claim(document["claim"])
    return from_document(annotation_id, document)
