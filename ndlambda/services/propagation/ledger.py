"""What a propagation has to build, and what of it is built: two growing sets of roots.

Sets can only be added to, so a task done twice is done once, and a worker that died half-way left
nothing to be mended. Who adds the last root sees both sets equal; so may others, and only one of
them wins the step of the job.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from ndlambda.services.propagation.builder import PyramidNode
from ndlambda.services.propagation.jobs import PropagationJob, TaskMessage
from ndlambda.services.propagation.rows import by_bucket, codes_of, partition, rows_from
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Row, Table

_KINDS = ("todo", "done", "note", "try")


def layer_name(resolution: int, *, neariso: bool) -> str:
    """Return the name in keys and messages of a level or its near-isotropic variant."""
    return f"{resolution:02x}{'n' if neariso else 'p'}"


def node_of(call: TaskMessage) -> PyramidNode:
    """Return the root that a message names."""
    return PyramidNode(int(call.layer[:2], 16), call.time_point, call.code, call.layer[2:] == "n")


class TaskLedger:
    """The rows of tasks.

    Parameters
    ----------
    table
        Where they are.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, job: PropagationJob, plan: str, roots: Iterable[PyramidNode]) -> int:
        """Enter what a plan has to build, and return how many that are."""
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

    def is_done(self, job: PropagationJob, call: TaskMessage) -> bool:
        """Return whether a task was done before."""
        ((bucket, members),) = by_bucket([call.code]).items()
        sk = _prefix("done", job.run, call.plan) + _tail(call.layer, call.time_point, bucket)
        row = self._table.get(partition(job.uid), sk)
        return row is not None and members <= row.members

    def finish(self, job: PropagationJob, call: TaskMessage) -> bool:
        """Enter a task as done, and return whether that was the last one of its bucket."""
        ((bucket, members),) = by_bucket([call.code]).items()
        pk, tail = partition(job.uid), _tail(call.layer, call.time_point, bucket)
        todo, done = (_prefix(kind, job.run, call.plan) + tail for kind in ("todo", "done"))
        self._table.add_members(pk, done, members)
        found = self._table.batch_get([(pk, todo), (pk, done)])
        return (pk, todo) in found and found[pk, todo].members <= found[pk, done].members

    def count_try(self, job: PropagationJob, call: TaskMessage) -> int:
        """Count that a step of a job, or a task of it, is tried again, and return how often it was.

        A job that goes on after it was cancelled or had failed counts anew.
        """
        step = f"{job.resumption:x}#{job.stage.value}#{job.round:x}#{job.band:x}#{call.plan}"
        root = _tail(call.layer, call.time_point, call.code) if call.plan else ""
        sk = _prefix("try", job.run, step) + root
        return self._table.increment(partition(job.uid), sk, "tries")

    def is_complete(self, job: PropagationJob, beside: TaskMessage | None = None) -> bool:
        """Return whether all of a job's plan is done.

        With ``beside`` the look begins there: tasks come in about the order of their keys, so what
        is open is found soon.
        """
        prefix, start = _prefix("todo", job.run, job.plan), ""
        if beside is not None:
            ((bucket, _),) = by_bucket([beside.code]).items()
            start = prefix + _tail(beside.layer, beside.time_point, bucket)
        if any(self._open(job, start)):
            return False
        return not start or not any(self._open(job))

    def missing(self, job: PropagationJob, most: int | None = None) -> list[TaskMessage]:
        """Return tasks of a job's plan that are not done, at most so many."""
        calls: list[TaskMessage] = []
        for row, members in self._open(job):
            layer, time_point, bucket = row.sk.split("#")[3:]
            for code in codes_of(int(bucket, 16), members):
                calls.append(TaskMessage(job.uid, job.plan, layer, int(time_point, 16), code))
                if len(calls) == most:
                    return calls
        return calls

    def count_done(self, job: PropagationJob) -> int:
        """Return how many tasks of a job's plan are done."""
        if not job.plan:
            return 0
        pages = rows_from(self._table, partition(job.uid), _prefix("done", job.run, job.plan))
        return sum(len(row.members) for page in pages for row in page)

    def clear(self, uid: str, before: int) -> None:
        """Delete tasks and notes of runs with lower numbers, which nobody looks at any more."""
        for kind in _KINDS:
            first, last = f"{kind}#", f"{kind}#{before:08x}"
            pk = partition(uid)
            while rows := self._table.query(pk, first=first, last=last, limit=100).rows:
                self._delete(rows)

    def _open(self, job: PropagationJob, first: str = "") -> Iterator[tuple[Row, AbstractSet[int]]]:
        """Iterate over rows of a plan with members that are not done, and these."""
        pk, prefix = partition(job.uid), _prefix("todo", job.run, job.plan)
        for page in rows_from(self._table, pk, prefix, first):
            keys = {row.sk: (pk, "done" + row.sk.removeprefix("todo")) for row in page}
            done = self._table.batch_get(list(keys.values()))
            for row in page:
                counterpart = done.get(keys[row.sk])
                rest = row.members - (counterpart.members if counterpart else frozenset())
                if rest:
                    yield row, rest

    def _delete(self, rows: Sequence[Row]) -> None:
        self._table.transact([Delete(row.pk, row.sk) for row in rows[:MAX_TRANSACTION]])


def _prefix(kind: str, run: int, plan: str) -> str:
    return f"{kind}#{run:08x}#{plan}#"


def _tail(layer: str, time_point: int, bucket: int) -> str:
    return f"{layer}#{time_point:08x}#{bucket:014x}"
