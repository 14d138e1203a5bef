"""RAMON objects of annotation channels: made, read, changed, found, merged and deleted.

It knows neither permissions nor voxels: ids come with the objects, and voxels are erased by whoever
paints, given as a small protocol (``ramon_ports``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from ndlambda.batches import batched
from ndlambda.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PreconditionFailedError,
    WriteContentionError,
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
from ndlambda.services.ramon.ports import VoxelEraser
from ndlambda.services.ramon.query import ObjectFinder
from ndlambda.services.ramon.rows import Claim, ObjectRows, Tombstone, state_of
from ndlambda.services.support.retry import HOT_ROW_ATTEMPTS, optimistic
from ndlambda.stores.ports import Row, Table

_READ_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class StoredRamon:
    """An object as it was read, and the version that an update may insist on."""

    ramon: Annotation
    version: int


class Ramon:
    """RAMON objects.

    Parameters
    ----------
    table
        Where they are (``services/ramon_keys.py`` says which rows).
    eraser
        Erases voxels of objects that are deleted.
    executor
        Reads parts of the index side by side; None reads them one by one.
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
        self._finder = ObjectFinder(table, executor)

    # making and reading

    def create_reserved(
        self,
        channel: Channel,
        ramons: Sequence[Annotation],
        claims: Mapping[int, Row] | None = None,
    ) -> None:
        """Store new objects whose ids were reserved or claimed for them, several a transaction.

        After a failure some may be stored; whoever tries again reserves other ids. Claims are given
        as the rows of their ids.

        Raises
        ------
        AlreadyExistsError
            An id was given to an object before, even if that is deleted.
        ValidationError, PayloadTooLargeError
            A value is refused, or all of one object are too long together.
        InvalidArgumentError
            It is no annotation channel.
        """
        uid = _uid(channel)
        for ramon in ramons:
            check(ramon)
        try:
            self._rows.add_many(uid, ramons, claims)
        except PreconditionFailedError as error:
            raise AlreadyExistsError("An id that should be new is used already.") from error

    def get(self, channel: Channel, annotation_id: int) -> StoredRamon:
        """Return an object.

        Raises
        ------
        NotFoundError
            There is none of this id.
        """
        row = self._rows.find(_uid(channel), annotation_id)
        return StoredRamon(*_living(row, annotation_id))

    def get_many(self, channel: Channel, ids: Sequence[int]) -> list[Annotation]:
        """Return objects in the order of their ids; one that is not there fails all, as in ndstore.

        Raises
        ------
        NotFoundError
            There is no object of one of the ids.
        """
        uid = _uid(channel)
        found: dict[int, Annotation] = {}
        wanted = list(dict.fromkeys(ids))
        for some in batched(wanted, _READ_AT_ONCE):
            states = self._rows.find_many(uid, some)
            found |= {n: state for n, state in states.items() if isinstance(state, Annotation)}
        missing = [number for number in wanted if number not in found]
        if missing:
            raise _not_found(missing[0])
        return [found[number] for number in ids]

    # changing

    def update(self, channel: Channel, ramon: Annotation, *, if_version: int | None = None) -> None:
        """Put an object in the place of the one that has its id, wholly: nothing is merged.

        Parameters
        ----------
        channel, ramon
            The object; its type may be another than before.
        if_version
            Do so only if the object is still as it was read.

        Raises
        ------
        NotFoundError
            There is none of this id.
        PreconditionFailedError
            It has another version.
        ValidationError, PayloadTooLargeError
            A value is refused, or all together are too long.
        """
        check(ramon)
        self._change(channel, ramon.id, lambda _: ramon, if_version)

    def set_field(self, channel: Channel, annotation_id: int, name: str, word: str) -> Annotation:
        """Set a field, or a key-value pair, to what a word spells, and return the object.

        Of concurrent calls none is lost.

        Raises
        ------
        NotFoundError
            There is no object of this id.
        InvalidArgumentError
            The field cannot be set.
        ValidationError, PayloadTooLargeError
            The value is refused, or the object becomes too long.
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
        """Return a list that is not stored: the ids of the objects that refer to one, ascending.

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
        """Return all such lists of some objects by name, in the order of the objects."""
        kept = [ramon.id for ramon in ramons if ramon.ramon_type in DERIVED]
        referring = self._finder.referring(_uid(channel), kept)
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
            What is asked; :func:`ndlambda.model.ramon.parse_query` reads it.
        within
            Only objects of these ids, such as the labels found in a region.
        """
        return self._finder.find(_uid(channel), query, within)

    def find_objects(
        self, channel: Channel, query: ObjectQuery, within: AbstractSet[int] | None = None
    ) -> Iterator[Annotation]:
        """Iterate over such objects themselves, by ascending id; the query's limit is not kept."""
        return self._finder.objects(_uid(channel), query, within)

    def top_keys(
        self, channel: Channel, count: int = 10, ramon_type: RamonType | None = None
    ) -> list[tuple[str, int]]:
        """Return the most frequent keys of key-value pairs with counts, most frequent first."""
        return self._finder.top_keys(_uid(channel), count, ramon_type)

    # deleting

    def delete(self, channel: Channel, ids: Sequence[int]) -> list[int]:
        """Delete objects with their voxels; repeated, or of ids without object, it is success.

        An object is not found from here on, and is in no answer to a query. Its id stays used. A
        call that breaks off behind that has left a job to a worker, which erases the voxels;
        labels without an object, which nothing is known of, are erased by a repetition.

        Returns
        -------
        list of int
            Those whose voxels a job is still erasing.
        """
        unfinished: list[int] = []
        for annotation_id in dict.fromkeys(ids):
            self._mark_deleted(channel, annotation_id)
            if self._eraser.erase(channel, annotation_id):
                self.finish_deletion(channel, annotation_id)
            else:
                unfinished.append(annotation_id)
        return unfinished

    def finish_deletion(self, channel: Channel, annotation_id: int) -> None:
        """Note that all voxels of a deleted object are erased, which ends the job of doing so.

        Harmless when repeated. Of an id without a deleted object nothing is noted.
        """
        uid = _uid(channel)
        end = self._eraser.end_action(channel, annotation_id)
        for _ in optimistic(HOT_ROW_ATTEMPTS):
            row = self._rows.find_settled(uid, annotation_id)
            state = state_of(row)
            if not (isinstance(state, Tombstone) and state.erasing):
                return
            try:
                self._rows.change(uid, annotation_id, row, replace(state, erasing=False), [end])
            except PreconditionFailedError:
                continue
            return
        raise _contended(annotation_id)

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
        raise _contended(annotation_id)

    def _mark_deleted(self, channel: Channel, annotation_id: int) -> None:
        uid = _uid(channel)
        begin = self._eraser.begin_action(channel, annotation_id)
        for _ in optimistic(HOT_ROW_ATTEMPTS):
            row = self._rows.find_settled(uid, annotation_id)
            # In the place of a claim, too: whoever is painting under it stores no object then.
            if not isinstance(state_of(row), Annotation | Claim):
                return
            try:
                self._rows.change(uid, annotation_id, row, Tombstone(erasing=True), [begin])
            except PreconditionFailedError:
                continue
            return
        raise _contended(annotation_id)


def _uid(channel: Channel) -> str:
    if not channel.is_annotation:
        raise InvalidArgumentError(
            f"Channel {channel.name!r} has no objects: it is no annotation channel.",
            channel=channel.name,
        )
    return channel.uid


def _living(row: Row | None, annotation_id: int) -> tuple[Annotation, int]:
    state = state_of(row)
    if row is None or not isinstance(state, Annotation):
        raise _not_found(annotation_id)
    return state, row.version


def _not_found(annotation_id: int) -> NotFoundError:
    return NotFoundError(f"There is no object {annotation_id}.", id=annotation_id)


def _contended(annotation_id: int) -> WriteContentionError:
    return WriteContentionError(
        f"Object {annotation_id} keeps being changed by others; try again.", id=annotation_id
    )
