"""Creates, reads, changes, finds and deletes RAMON objects of annotation channels.

Permissions, ids and voxels belong to other services; voxels are erased through a port (``ports``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from ndlambda.batches import batched
from ndlambda.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PreconditionFailedError,
)
from ndlambda.model.catalog import Channel
from ndlambda.model.ramon import (
    DERIVED,
    Annotation,
    ObjectQuery,
    RamonType,
    check,
    get_field,
    with_field,
)
from ndlambda.services.ramon.many import ManyChanges, contended
from ndlambda.services.ramon.ports import VoxelEraser
from ndlambda.services.ramon.query import ObjectFinder
from ndlambda.services.ramon.rows import Claim, ObjectRows, State, Tombstone, state_of
from ndlambda.services.support.retry import HOT_ROW_ATTEMPTS, optimistic
from ndlambda.stores.ports import Row, Table

_READ_BATCH = 1000


@dataclass(frozen=True, slots=True)
class StoredRamon:
    """An object as it was read, with the version for a conditional update."""

    ramon: Annotation
    version: int


class Ramon:
    """The RAMON objects of all channels.

    Parameters
    ----------
    table
        The store of rows (see ``keys``).
    eraser
        Erases the voxels of deleted objects.
    executor
        Reads parts of the index in parallel; None: one by one.
    """

    def __init__(
        self,
        table: Table,
        eraser: VoxelEraser,
        *,
        executor: Executor | None = None,
    ) -> None:
        self._eraser = eraser
        self._rows = ObjectRows(table)
        self._many = ManyChanges(table)
        self._finder = ObjectFinder(table, executor)

    # creating and reading

    def create_reserved(
        self,
        channel: Channel,
        ramons: Sequence[Annotation],
        claims: Mapping[int, Row] | None = None,
    ) -> None:
        """Store new objects whose ids were reserved or claimed, several per transaction.

        After a failure some may be stored; a retry reserves other ids. ``claims`` are the rows of
        claimed ids.

        Raises
        ------
        AlreadyExistsError
            An id was used before, even if its object is deleted.
        ValidationError, PayloadTooLargeError
            A value is invalid, or the values of one object are too large.
        InvalidArgumentError
            The channel is not an annotation channel.
        """
        uid = _uid(channel)
        for ramon in ramons:
            check(ramon)
        try:
            self._rows.add_many(uid, ramons, claims)
        except PreconditionFailedError as error:
            raise AlreadyExistsError("The id of a new object is already used.") from error

    def get(self, channel: Channel, annotation_id: int) -> StoredRamon:
        """Return an object.

        Raises
        ------
        NotFoundError
            The id has no object.
        """
        row = self._rows.find(_uid(channel), annotation_id)
        return StoredRamon(*_living(row, annotation_id))

    def get_many(self, channel: Channel, ids: Sequence[int]) -> list[Annotation]:
        """Return objects in the order of their ids; a missing one fails the call, as in ndstore.

        Raises
        ------
        NotFoundError
            One of the ids has no object.
        """
        states = self.states(channel, ids)
        found = [states.get(number) for number in ids]
        for number, state in zip(ids, found, strict=True):
            if not isinstance(state, Annotation):
                raise no_object(number)
        return [state for state in found if isinstance(state, Annotation)]

    def states(self, channel: Channel, ids: Sequence[int]) -> dict[int, State]:
        """Return the states of ids; those never stored are omitted."""
        uid = _uid(channel)
        found: dict[int, State] = {}
        for batch in batched(list(dict.fromkeys(ids)), _READ_BATCH):
            found |= self._rows.find_many(uid, batch)
        return found

    # changing

    def update(self, channel: Channel, ramon: Annotation, *, if_version: int | None = None) -> None:
        """Replace the object of an id as a whole.

        Parameters
        ----------
        channel, ramon
            The new object; its type may differ.
        if_version
            Replace only an object of this version.

        Raises
        ------
        NotFoundError
            The id has no object.
        PreconditionFailedError
            The object has another version.
        ValidationError, PayloadTooLargeError
            A value is invalid, or the values are too large.
        """
        check(ramon)
        self._change(channel, ramon.id, lambda _: ramon, if_version)

    def update_many(self, channel: Channel, ramons: Sequence[Annotation]) -> None:
        """Replace the objects of distinct ids as wholes, many per transaction.

        Raises
        ------
        NotFoundError
            One of the ids has no object; others may be replaced.
        ValidationError, PayloadTooLargeError
            A value is invalid, or the values of one object are too large.
        """
        new = {ramon.id: check(ramon) for ramon in ramons}

        def replaced(number: int, state: State) -> Annotation:
            if not isinstance(state, Annotation):
                raise no_object(number)
            return new[number]

        self._many.change(_uid(channel), list(new), replaced)

    def set_field(self, channel: Channel, annotation_id: int, name: str, word: str) -> Annotation:
        """Set a field or a key-value pair from its text; return the object.

        Concurrent calls are not lost.

        Raises
        ------
        NotFoundError
            The id has no object.
        InvalidArgumentError
            The field cannot be set.
        ValidationError, PayloadTooLargeError
            The value is invalid, or the object becomes too large.
        """
        return self._change(channel, annotation_id, lambda old: with_field(old, name, word))

    def get_field(self, channel: Channel, annotation_id: int, name: str) -> str:
        """Return the text of a field, a derived list or a key-value pair.

        Raises
        ------
        NotFoundError
            There is no such object, or it has no such field.
        """
        ramon = self.get(channel, annotation_id).ramon
        if name in DERIVED.get(ramon.ramon_type, {}):
            return ",".join(map(str, self.derived(channel, ramon, name)))
        return get_field(ramon, name)

    # finding

    def derived(self, channel: Channel, ramon: Annotation, name: str) -> list[int]:
        """Return a derived list: the ids of the objects that reference an object, ascending.

        Raises
        ------
        NotFoundError
            The object's type has no such list.
        """
        if name not in DERIVED.get(ramon.ramon_type, {}):
            raise NotFoundError(f"Object {ramon.id} has no list {name[:80]!r}.", field=name[:80])
        return self.derived_lists(channel, [ramon])[0][name]

    def derived_lists(
        self, channel: Channel, ramons: Sequence[Annotation]
    ) -> list[dict[str, list[int]]]:
        """Return the derived lists of objects by name, in the order of the objects."""
        ids = [ramon.id for ramon in ramons if ramon.ramon_type in DERIVED]
        referring = self._finder.referring(_uid(channel), ids)
        found: list[dict[str, list[int]]] = []
        for ramon in ramons:
            by_key = referring.get(ramon.id, {})
            found.append(
                {
                    name: sorted({number for key in under for number in by_key.get(key, ())})
                    for name, under in DERIVED.get(ramon.ramon_type, {}).items()
                }
            )
        return found

    def query(
        self, channel: Channel, query: ObjectQuery, within: AbstractSet[int] | None = None
    ) -> list[int]:
        """Return the ids of objects for which all predicates hold, ascending.

        Parameters
        ----------
        channel, query
            The query; :func:`ndlambda.model.ramon.parse_query` parses one.
        within
            Only objects of these ids, such as the labels in a region.
        """
        return self._finder.find(_uid(channel), query, within)

    def find_objects(
        self, channel: Channel, query: ObjectQuery, within: AbstractSet[int] | None = None
    ) -> Iterator[Annotation]:
        """Iterate over the matching objects, by ascending id; the query's limit is ignored."""
        return self._finder.objects(_uid(channel), query, within)

    def top_keys(
        self, channel: Channel, count: int = 10, ramon_type: RamonType | None = None
    ) -> list[tuple[str, int]]:
        """Return the most frequent keys of key-value pairs with counts, in descending order."""
        return self._finder.top_keys(_uid(channel), count, ramon_type)

    # deleting

    def delete(self, channel: Channel, ids: Sequence[int]) -> list[int]:
        """Delete objects with their voxels; idempotent, also for ids without an object.

        A deleted object is not found by any query; its id stays used. If the call is interrupted
        after that, a worker erases the voxels by the stored job. Labels without an object have no
        job; a repetition of the call erases them.

        Returns
        -------
        list of int
            Ids whose voxels a job is still erasing.
        """
        merged: set[int] = set()

        def deleted(number: int, state: State) -> Tombstone | None:
            if isinstance(state, Tombstone) and state.merged_into is not None:
                merged.add(number)
            # A tombstone replaces a claim, too: its upload can then store no object.
            return Tombstone() if isinstance(state, Annotation | Claim) else None

        distinct = list(dict.fromkeys(ids))
        groups = self._many.change(
            _uid(channel),
            distinct,
            deleted,
            partial(self._eraser.begin_actions, channel),
        )
        begun = {number for group in groups for number in group}
        others = [number for number in distinct if number not in begun]
        return self._eraser.erase(channel, groups, others, merged)

    # inside

    def _change(
        self,
        channel: Channel,
        annotation_id: int,
        work: Callable[[Annotation], Annotation],
        if_version: int | None = None,
    ) -> Annotation:
        uid = _uid(channel)
        for _ in optimistic(HOT_ROW_ATTEMPTS):
            row = self._rows.find_settled(uid, annotation_id)
            old, version = _living(row, annotation_id)
            if if_version is not None and version != if_version:
                raise PreconditionFailedError(
                    f"Object {annotation_id} was changed by others.", id=annotation_id
                )
            new = work(old)
            try:
                self._rows.change(uid, annotation_id, row, new)
            except PreconditionFailedError:
                continue
            return new
        raise contended(annotation_id)


def _uid(channel: Channel) -> str:
    if not channel.is_annotation:
        raise InvalidArgumentError(
            f"Channel {channel.name!r} has no objects: it is not an annotation channel.",
            channel=channel.name,
        )
    return channel.uid


def _living(row: Row | None, annotation_id: int) -> tuple[Annotation, int]:
    state = state_of(row)
    if row is None or not isinstance(state, Annotation):
        raise no_object(annotation_id)
    return state, row.version


def no_object(annotation_id: int) -> NotFoundError:
    """Return the error of an id that has no object."""
    return NotFoundError(f"There is no object {annotation_id}.", id=annotation_id)
