"""The tasks of a propagation: one growing set of roots to build, one of roots built.

Members are only added, so tasks are idempotent and a crashed worker leaves nothing to repair. The
worker that adds the last root sees both sets equal; others may, too, and only one of them wins the
job's step.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from ndlambda.errors import PreconditionFailedError
from ndlambda.services.propagation.builder import PyramidNode
from ndlambda.services.propagation.jobs import PropagationJob, TaskMessage
from ndlambda.services.propagation.rows import by_bucket, codes_of, partition, rows_from
from ndlambda.services.support.paging import Key, delete_rows
from ndlambda.stores.ports import Expectation, Row, Table

WINDOW = 2000
"""Tasks sent at a time, and in the whole about as many as are in the queue at one time."""

_FEW = WINDOW // 2
"""When so many tasks of those sent are not done, the next ones are sent."""

_KINDS = ("todo", "done", "note", "try", "window")
_JUST_AFTER = " "
"""Appended to a sort key, sorts behind it and before every other."""


def layer_name(resolution: int, *, neariso: bool) -> str:
    """Return the name in keys and messages of a level or its near-isotropic variant."""
    return f"{resolution:02x}{'n' if neariso else 'p'}"


def node_of(message: TaskMessage) -> PyramidNode:
    """Return the root of a message."""
    resolution, is_neariso = int(message.layer[:2], 16), message.layer[2:] == "n"
    return PyramidNode(resolution, message.time_point, message.code, is_neariso)


class TaskLedger:
    """The rows of tasks.

    Parameters
    ----------
    table
        The store of rows.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, job: PropagationJob, plan: str, roots: Iterable[PyramidNode]) -> int:
        """Record the roots that a plan has to build; return their number."""
        groups: dict[tuple[str, int], set[int]] = defaultdict(set)
        for node in roots:
            layer = layer_name(node.resolution, neariso=node.neariso)
            groups[layer, node.time_point].add(node.code)
        for (layer, time_point), codes in groups.items():
            for bucket, members in by_bucket(codes).items():
                tail = _tail(layer, time_point, bucket)
                self._table.add_members(
                    partition(job.uid), _prefix("todo", job.run, plan) + tail, members
                )
        return sum(map(len, groups.values()))

    def is_done(self, job: PropagationJob, task: TaskMessage) -> bool:
        """Return whether a task is done."""
        ((bucket, members),) = by_bucket([task.code]).items()
        sk = _prefix("done", job.run, task.plan) + _tail(task.layer, task.time_point, bucket)
        row = self._table.get(partition(job.uid), sk)
        return row is not None and members <= row.members

    def finish(self, job: PropagationJob, task: TaskMessage) -> int:
        """Record a task as done; return the number of tasks of its bucket if all are, else 0."""
        ((bucket, members),) = by_bucket([task.code]).items()
        pk, tail = partition(job.uid), _tail(task.layer, task.time_point, bucket)
        todo, done = (_prefix(kind, job.run, task.plan) + tail for kind in ("todo", "done"))
        self._table.add_members(pk, done, members)
        found = self._table.batch_get([(pk, todo), (pk, done)])
        if (pk, todo) not in found or not found[pk, todo].members <= found[pk, done].members:
            return 0
        return len(found[pk, todo].members)

    def open_window(self, job: PropagationJob) -> list[TaskMessage]:
        """Return the first tasks of a job's plan that are not done, which are sent next."""
        return self._move_window(job, self._table.get(*_window_key(job)), "", 0)

    def move_window(self, job: PropagationJob, finished: int) -> list[TaskMessage]:
        """Count the tasks of a finished bucket; return the next tasks once those sent are few.

        The count may be too low, if a worker died before it counted: then the watch chain opens the
        window again.
        """
        done = self._table.increment(*_window_key(job), "done", finished)
        row = self._table.get(*_window_key(job))
        after = None if row is None else row.doc.get("after")
        if row is None or after is None:
            return []
        left = row.doc["sent"] - (done - row.doc["base"])
        return [] if left > _FEW else self._move_window(job, row, after, max(left, 0))

    def _move_window(
        self, job: PropagationJob, row: Row | None, after: str, left: int
    ) -> list[TaskMessage]:
        """Return the next tasks behind a row, unless another worker returns them.

        Parameters
        ----------
        left
            Tasks sent before that are not done.
        """
        tasks, last = list[TaskMessage](), None
        for found, members in self._open(job, after and after + _JUST_AFTER):
            tasks += self._tasks(job, found, members)
            if len(tasks) >= WINDOW:
                last = found.sk
                break
        base = 0 if row is None else row.counters.get("done", 0)
        doc = {"v": 1, "after": last, "sent": left + len(tasks), "base": base}
        expect: Expectation = "absent" if row is None else row.version
        try:
            self._table.put(Row(*_window_key(job), doc=doc), expect)
        except PreconditionFailedError:
            return []
        return tasks

    def count_attempt(self, job: PropagationJob, message: TaskMessage) -> int:
        """Count a repeated attempt at a step or a task of a job; return the count so far.

        A resumed job starts from 0.
        """
        step = f"{job.resumption:x}#{job.stage.value}#{job.round:x}#{job.band:x}#{message.plan}"
        root = _tail(message.layer, message.time_point, message.code) if message.plan else ""
        sk = _prefix("try", job.run, step) + root
        return self._table.increment(partition(job.uid), sk, "tries")

    def is_complete(self, job: PropagationJob, after: TaskMessage | None = None) -> bool:
        """Return whether all tasks of a job's plan are done.

        The search begins at the task ``after``: tasks are run in shuffled order, so an open one is
        found soon, and not by all workers in the same rows.
        """
        prefix, start = _prefix("todo", job.run, job.plan), ""
        if after is not None:
            ((bucket, _),) = by_bucket([after.code]).items()
            start = prefix + _tail(after.layer, after.time_point, bucket)
        if any(self._open(job, start)):
            return False
        return not start or not any(self._open(job))

    @staticmethod
    def _tasks(job: PropagationJob, row: Row, members: AbstractSet[int]) -> Iterator[TaskMessage]:
        layer, time_point, bucket = row.sk.split("#")[3:]
        for code in codes_of(int(bucket, 16), members):
            yield TaskMessage(job.uid, job.plan, layer, int(time_point, 16), code)

    def count_done(self, job: PropagationJob) -> int:
        """Return the number of tasks of a job's plan that are done."""
        if not job.plan:
            return 0
        pages = rows_from(self._table, partition(job.uid), _prefix("done", job.run, job.plan))
        return sum(len(row.members) for page in pages for row in page)

    def clear(self, uid: str, before: int) -> None:
        """Delete the tasks and snapshots of runs with lower numbers, which are not used again."""
        for kind in _KINDS:
            first, last = f"{kind}#", f"{kind}#{before:08x}"
            delete_rows(self._table, [partition(uid)], first=first, last=last)

    def _open(self, job: PropagationJob, first: str = "") -> Iterator[tuple[Row, AbstractSet[int]]]:
        """Iterate over the rows of a plan with open tasks, and their open members."""
        pk, prefix = partition(job.uid), _prefix("todo", job.run, job.plan)
        for page in rows_from(self._table, pk, prefix, first):
            keys = {row.sk: (pk, "done" + row.sk.removeprefix("todo")) for row in page}
            done = self._table.batch_get(list(keys.values()))
            for row in page:
                counterpart = done.get(keys[row.sk])
                rest = row.members - (counterpart.members if counterpart else frozenset())
                if rest:
                    yield row, rest


def _window_key(job: PropagationJob) -> Key:
    return partition(job.uid), _prefix("window", job.run, job.plan)


def _prefix(kind: str, run: int, plan: str) -> str:
    return f"{kind}#{run:08x}#{plan}#"


def _tail(layer: str, time_point: int, bucket: int) -> str:
    return f"{layer}#{time_point:08x}#{bucket:014x}"
