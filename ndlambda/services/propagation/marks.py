"""Marks of the supercuboids that were written since they were last propagated.

A channel that was never propagated has no job and needs no marks: its first run lists everything.
Otherwise a writer marks what it will touch *before* it writes, and reads the job again afterwards.
If the job has changed, the mark may have been processed before the voxels were stored, or a run may
have begun in between, so the writer marks again. (A retried write that changes nothing marks, too:
its first attempt may have died in between.)

One case leaves no mark: a writer that passed the check of the channel's state before a run began,
stored voxels that the run did not see, and died before its second read of the job. (In a first run
it set no first mark, either.) Such a write was never acknowledged; its retry marks. Erasures and
merges of labels are not affected, since they use the index of every level and are resumed by other
workers. Voxels written directly to a near-isotropic variant are not marked: the variant is built
from the plain level, and the next full run, or one that rebuilds the supercuboid, replaces them.

A run takes a *snapshot* of the marks with their versions when a round begins, and its job advances
before any voxel is read. At the end of the round a mark is deleted only if it still has the version
of the snapshot, so one that was written again, even with the same members, causes another round.
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
_SNAPSHOT_BATCH = 25


@dataclass(frozen=True, slots=True)
class DirtyMark:
    """Marked supercuboids of one bucket."""

    resolution: int
    time_point: int
    codes: list[int]


class PropagationMarks:
    """The rows of marks.

    Parameters
    ----------
    table
        The store of rows.
    executor
        Threads, each for one request to the table.
    """

    def __init__(self, table: Table, executor: Executor) -> None:
        self._table = table
        self._executor = executor

    @contextmanager
    def track_write(self, channel: Channel, targets: Targets) -> Iterator[None]:
        """Mark the targets of a write before the context and, if necessary, again after it.

        Costs one request before and one after if the channel was never propagated.
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
                    continue  # nothing is built from levels finer than the channel's own
                for bucket, members in by_bucket(touched.codes).items():
                    tail = mark_tail(touched.resolution, touched.time_point, bucket)
                    yield partial(self._table.add_members, pk, _MARK + tail, members)

        run_all(self._executor, additions())

    # for the runs

    def count(self, uid: str) -> int:
        """Return the number of marked supercuboids."""
        pages = rows_from(self._table, partition(uid), _MARK)
        return sum(len(row.members) for page in pages for row in page)

    def exist(self, uid: str) -> bool:
        """Return whether anything is marked."""
        return any(rows_from(self._table, partition(uid), _MARK))

    def snapshot(self, uid: str, run: int, snapshot_id: str) -> None:
        """Store a snapshot of all marks with their versions under a new id."""
        pk = partition(uid)
        for page in rows_from(self._table, pk, _MARK):
            actions = [
                Put(
                    Row(
                        pk,
                        _snapshot_prefix(run, snapshot_id) + row.sk.removeprefix(_MARK),
                        doc={"version": row.version},
                        members=row.members,
                    )
                )
                for row in page
            ]
            for batch in batched(actions, _SNAPSHOT_BATCH):
                self._table.transact(batch)

    def read_snapshot(self, uid: str, run: int, snapshot_id: str) -> Iterator[DirtyMark]:
        """Iterate over the marks of a snapshot."""
        prefix = _snapshot_prefix(run, snapshot_id)
        for page in rows_from(self._table, partition(uid), prefix):
            for row in page:
                resolution, time_point, bucket = (
                    int(part, 16) for part in row.sk.removeprefix(prefix).split("#")
                )
                yield DirtyMark(resolution, time_point, codes_of(bucket, row.members))

    def remove_unchanged(self, uid: str, run: int, snapshot_id: str) -> None:
        """Delete the marks that have not changed since a snapshot."""
        pk, prefix = partition(uid), _snapshot_prefix(run, snapshot_id)
        for page in rows_from(self._table, pk, prefix):
            for row in page:
                sk = _MARK + row.sk.removeprefix(prefix)
                delete_if(self._table, Row(pk, sk, version=row.doc["version"]))


def _snapshot_prefix(run: int, snapshot_id: str) -> str:
    return f"note#{run:08x}#{snapshot_id}#"
