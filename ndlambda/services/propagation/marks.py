"""Which supercuboids writers touched since they were last propagated.

A channel that was never propagated has no job and needs no marks: its first run lists all there is.
Otherwise a writer marks what it is about to touch *before* it writes, and looks at the job again
afterwards: if that has moved meanwhile, its mark may have been taken for done before the voxels
came, or the run may have begun in between, so it marks once more. (A retried write that changes
nothing marks, too: its first attempt may have died in between.)

What no mark tells of: a writer that came past the check of the channel's state before a run began,
put voxels behind the run's back, and died before its second look (in a first run it has no first
mark, either). Nobody was told that such a write succeeded; written again, as it must be, it marks.
Erasures and merges of labels lose nothing by it, since they go by the index of every level and are
carried on by others. Voxels that somebody writes to a near-isotropic variant itself are not marked:
it is made from the plain level, and the next full run, or one that comes by, replaces them.

A run *notes* marks with their versions when a round begins, and its job moves on before any voxel
is read. At the end of the round a mark goes only if it still has the version noted, so one that was
written again, even with the same members, makes another round.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from ndlambda.batches import batched
from ndlambda.model.catalog import Channel
from ndlambda.services.propagation.rows import (
    by_bucket,
    codes_of,
    delete_if,
    job_key,
    mark_tail,
    partition,
    rows_from,
)
from ndlambda.services.support.pool import run_all
from ndlambda.services.volume.touched import Targets
from ndlambda.stores.ports import Put, Row, Table

_MARK = "mark#"
_NOTES_AT_ONCE = 25


@dataclass(frozen=True, slots=True)
class DirtyMark:
    """Marked supercuboids of one bucket."""

    resolution: int
    time_point: int
    codes: list[int]


class PropagationMarks:
    """Marks as rows.

    Parameters
    ----------
    table
        Where they are.
    executor
        Threads for one request to the table each.
    """

    def __init__(self, table: Table, executor: Executor) -> None:
        self._table = table
        self._executor = executor

    @contextmanager
    def writing(self, channel: Channel, targets: Targets) -> Iterator[None]:
        """Mark what is written inside the context, before and, if need be, again behind it.

        Costs one request before and one after where the channel was never propagated.
        """
        before = self._table.get(*job_key(channel.uid))
        if before is not None:
            self._mark(channel, targets)
        try:
            yield
        finally:
            after = self._table.get(*job_key(channel.uid))
            if after is not None and (before is None or before.version != after.version):
                self._mark(channel, targets)

    def _mark(self, channel: Channel, targets: Targets) -> None:
        pk = partition(channel.uid)

        def additions() -> Iterator[Callable[[], int]]:
            for touched in targets():
                if touched.resolution < channel.resolution:
                    continue  # nothing is made from levels finer than the channel's own
                for bucket, members in by_bucket(touched.codes).items():
                    tail = mark_tail(touched.resolution, touched.time_point, bucket)
                    yield partial(self._table.add_members, pk, _MARK + tail, members)

        run_all(self._executor, additions())

    # for the runs

    def count(self, uid: str) -> int:
        """Return how many supercuboids are marked."""
        pages = rows_from(self._table, partition(uid), _MARK)
        return sum(len(row.members) for page in pages for row in page)

    def exist(self, uid: str) -> bool:
        """Return whether anything is marked."""
        return any(rows_from(self._table, partition(uid), _MARK))

    def note(self, uid: str, run: int, notes: str) -> None:
        """Note all marks, with the versions that they have now, under a name never used before."""
        pk = partition(uid)
        for page in rows_from(self._table, pk, _MARK):
            actions = [
                Put(
                    Row(
                        pk,
                        _note_prefix(run, notes) + row.sk.removeprefix(_MARK),
                        doc={"version": row.version},
                        members=row.members,
                    )
                )
                for row in page
            ]
            for some in batched(actions, _NOTES_AT_ONCE):
                self._table.transact(some)

    def noted(self, uid: str, run: int, notes: str) -> Iterator[DirtyMark]:
        """Iterate over marks as they were noted."""
        prefix = _note_prefix(run, notes)
        for page in rows_from(self._table, partition(uid), prefix):
            for row in page:
                resolution, time_point, bucket = (
                    int(part, 16) for part in row.sk.removeprefix(prefix).split("#")
                )
                yield DirtyMark(resolution, time_point, codes_of(bucket, row.members))

    def remove_noted(self, uid: str, run: int, notes: str) -> None:
        """Remove marks that have not changed since they were noted."""
        pk, prefix = partition(uid), _note_prefix(run, notes)
        for page in rows_from(self._table, pk, prefix):
            for row in page:
                sk = _MARK + row.sk.removeprefix(prefix)
                delete_if(self._table, Row(pk, sk, version=row.doc["version"]))


def _note_prefix(run: int, notes: str) -> str:
    return f"note#{run:08x}#{notes}#"
