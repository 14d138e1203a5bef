"""What a propagation has come to, as a row that moves on conditionally.

A round goes through the stages of ``Stage``. Each step names the *position* that it leaves; whoever
comes later finds another and has lost, so every step happens once however many workers try. The
channel's state changes in one transaction with the job: 0 or 2 to 1 at the start, to 2 at the end,
to 0 where it was cancelled or has failed.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from ndlambda.batches import batched
from ndlambda.errors import (
    InvalidStateError,
    MalformedBodyError,
    NotFoundError,
    PreconditionFailedError,
    WriteContentionError,
)
from ndlambda.model.propagation import PropagateState
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.propagation.rows import RUNNING, delete_if, job_key
from ndlambda.services.support.paging import children
from ndlambda.services.support.retry import optimistic
from ndlambda.stores.ports import Action, Delete, Expectation, Put, Queue, Row, Table

_FORMAT = 1
_SENT_AT_ONCE = 500


class JobState(StrEnum):
    """Where a job is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """What a running job does now."""

    NOTING = "noting"
    PLANNING = "planning"
    BUILDING = "building"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class PropagationJob:
    """The last propagation of a channel.

    Attributes
    ----------
    uid, project, channel, dataset
        Which channel.
    run, resumption
        The first grows with every run that begins anew, the second where one goes on after it was
        cancelled or had failed. The rows of older runs are rubbish.
    method
        How images are reduced; kept for later runs. Empty for labels.
    full
        Whether the round rebuilds all there is, or only what depends on marks.
    depth
        Levels that one task of a full round builds.
    round, band
        Rounds repeat until no marks are left; a round does one band of levels after another.
    notes, plan
        Names of the attempt at noting, and at planning the band, that won.
    tasks
        How many tasks the bands of the round have that were planned.
    started_at, since, finished_at
        Unix seconds: of the run, of the band (or of its resumption), of the end (0: not yet).
    base, seen
        Tasks of the band that were done at ``since``, and when it was last looked.
    called_at
        When the workers were last called, or last seen working.
    reason
        Why it failed.
    """

    uid: str
    project: str
    channel: str
    dataset: str
    run: int
    method: str
    full: bool
    depth: int
    started_at: float
    since: float
    called_at: float
    resumption: int = 0
    state: JobState = JobState.RUNNING
    stage: Stage = Stage.NOTING
    round: int = 0
    band: int = 0
    notes: str = ""
    plan: str = ""
    tasks: tuple[int, ...] = ()
    base: int = 0
    seen: int = 0
    finished_at: float = 0
    reason: str = ""

    @property
    def position(self) -> tuple[object, ...]:
        """What every step changes."""
        start = (self.run, self.resumption, self.state)
        return *start, self.stage, self.round, self.band, self.notes, self.plan

    @property
    def row(self) -> Row:
        """The row that holds this job."""
        return Row(*job_key(self.uid), doc={"v": _FORMAT, **asdict(self)})

    @classmethod
    def from_row(cls, row: Row) -> "PropagationJob":
        """Return the job that a row holds."""
        doc = {name: value for name, value in row.doc.items() if name != "v"}
        doc["state"], doc["stage"] = JobState(doc["state"]), Stage(doc["stage"])
        return cls(**{**doc, "tasks": tuple(doc["tasks"])})


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A message: build from one root, or (without one) see to a job.

    Attributes
    ----------
    plan
        The plan that the task is of; of another plan it is a stale one.
    layer, time_point, code
        Which root.
    again
        Whether workers were called before, and nothing came of it.
    """

    uid: str
    plan: str = ""
    layer: str = ""
    time_point: int = 0
    code: int = 0
    again: bool = False

    @property
    def body(self) -> str:
        """The text that is sent."""
        message: dict[str, Any] = {"v": _FORMAT, "uid": self.uid}
        if self.plan:
            message |= {
                "plan": self.plan,
                "layer": self.layer,
                "time": self.time_point,
                "root": f"{self.code:x}",
            }
        if self.again:
            message["again"] = True
        return json.dumps(message)

    @classmethod
    def from_body(cls, body: str) -> "TaskMessage":
        """Return the call that a message is.

        Raises
        ------
        MalformedBodyError
            The text is no message of ours.
        """
        try:
            message = json.loads(body)
            again = isinstance(message, dict) and message.get("again") is True
            match message:
                case {
                    "v": 1,
                    "uid": str(uid),
                    "plan": str(plan),
                    "layer": str(layer),
                    "time": int(time_point),
                    "root": str(root),
                }:
                    return cls(uid, plan, layer, time_point, int(root, 16), again)
                case {"v": 1, "uid": str(uid)} if uid and "plan" not in message:
                    return cls(uid, again=again)
        except ValueError as error:
            raise MalformedBodyError("The message is not JSON, or its root no number.") from error
        raise MalformedBodyError("The message is not a version 1 message of a propagation.")


class PropagationJobs:
    """The rows of jobs, their steps, and the calls to the workers.

    Parameters
    ----------
    table, queue
        Where they are.
    catalog
        Holds the states of the channels.
    clock
        Unix seconds.
    """

    def __init__(
        self, table: Table, queue: Queue, catalog: Catalog, clock: Callable[[], float]
    ) -> None:
        self._table = table
        self._queue = queue
        self._catalog = catalog
        self._clock = clock

    def find(self, uid: str) -> PropagationJob | None:
        """Return the last job of a channel; None where it never had one."""
        row = self._table.get(*job_key(uid))
        return None if row is None else PropagationJob.from_row(row)

    def running(self) -> list[PropagationJob]:
        """Return the jobs that run; what is listed but does not, leaves the list."""
        jobs = []
        for row in children(self._table, RUNNING):
            job = self.find(row.sk)
            if job is not None and job.state is JobState.RUNNING:
                jobs.append(job)
            else:
                delete_if(self._table, row)
        return jobs

    def begin(
        self,
        uid: str,
        propagate: PropagateState,
        plan: Callable[[PropagationJob | None], PropagationJob],
    ) -> PropagationJob:
        """Store what ``plan`` makes of the last job, as running; the channel's state becomes 1.

        Raises
        ------
        InvalidStateError
            The channel's state is not ``propagate`` any more, or it became read-only.
        ChannelNotFoundError
            It was deleted.
        """
        for _ in optimistic():
            row = self._table.get(*job_key(uid))
            job = plan(None if row is None else PropagationJob.from_row(row))
            expect: Expectation = "absent" if row is None else row.version
            also = [Put(job.row, expect), Put(Row(RUNNING, uid))]
            try:
                self._catalog.update_channel(
                    job.project,
                    job.channel,
                    expect={"uid": uid, "propagate": propagate, "readonly": False},
                    also=also,
                    propagate=PropagateState.UNDER_PROPAGATION,
                )
            except PreconditionFailedError:
                continue
            self.call(uid)
            return job
        raise _contended(uid)

    def step(self, job: PropagationJob, **changes: Any) -> PropagationJob | None:
        """Change a job that is where we know it to be, and return it; None where it is not."""
        for _ in optimistic():
            found = self._find_at(job)
            if found is None:
                return None
            stepped = replace(found[0], **changes)
            try:
                self._table.put(stepped.row, expect=found[1])
            except PreconditionFailedError:
                continue
            return stepped
        raise _contended(job.uid)

    def end(self, job: PropagationJob, state: JobState, reason: str = "") -> bool:
        """End a job at its known position, with its channel's state; return whether it was there.

        One whose channel is gone, or whose state was changed by hand, fails without it.
        """
        propagate = (
            PropagateState.PROPAGATED if state is JobState.DONE else PropagateState.NOT_PROPAGATED
        )
        for _ in optimistic():
            found = self._find_at(job)
            if found is None:
                return False
            ended = replace(found[0], state=state, reason=reason, finished_at=self._clock())
            also: list[Action] = [Put(ended.row, found[1]), Delete(RUNNING, job.uid)]
            try:
                self._catalog.update_channel(
                    job.project,
                    job.channel,
                    expect={"uid": job.uid, "propagate": PropagateState.UNDER_PROPAGATION},
                    also=also,
                    propagate=propagate,
                )
            except (NotFoundError, InvalidStateError) as error:
                if not self._abandon(replace(ended, reason=error.message), found[1]):
                    continue  # another worker was faster, and the state is what it made it
                return False
            except PreconditionFailedError:
                continue
            return True
        raise _contended(job.uid)

    def call(self, uid: str, *, again: bool = False) -> None:
        """Call a worker to see to a job."""
        self._queue.send([TaskMessage(uid, again=again).body])

    def send(self, calls: Sequence[TaskMessage]) -> None:
        """Call workers to tasks."""
        for some in batched(calls, _SENT_AT_ONCE):
            self._queue.send([call.body for call in some])

    def _abandon(self, job: PropagationJob, version: int) -> bool:
        try:
            self._table.transact(
                [
                    Put(replace(job, state=JobState.FAILED).row, version),
                    Delete(RUNNING, job.uid),
                ]
            )
        except PreconditionFailedError:
            return False
        return True

    def _find_at(self, job: PropagationJob) -> tuple[PropagationJob, int] | None:
        row = self._table.get(*job_key(job.uid))
        if row is None:
            return None
        now = PropagationJob.from_row(row)
        return (now, row.version) if now.position == job.position else None


def _contended(uid: str) -> WriteContentionError:
    return WriteContentionError(f"The propagation of channel {uid} keeps being changed by others.")
