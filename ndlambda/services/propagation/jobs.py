"""The state of a channel's propagation: one row, changed by optimistic concurrency.

A round passes through the stages of ``Stage``. Each step names the *fencing token* of the state
that it leaves. A later attempt finds another token and is discarded, so every step happens once
however many workers try. The channel's state changes in the same transaction as the job: from 0 or
2 to 1 at the start, to 2 at the end, to 0 on cancellation or failure.
"""

import json
from collections.abc import Callable, Iterator, Sequence
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
from ndlambda.services.jobs.index import JobEntry, JobIndex
from ndlambda.services.propagation.rows import RUNNING, delete_if, job_key, watch_key
from ndlambda.services.support.paging import rows_in
from ndlambda.services.support.retry import optimistic
from ndlambda.services.support.watch import Chains
from ndlambda.stores.ports import Action, Delete, Expectation, Put, Queue, Row, Table

KIND = "propagation"

_FORMAT = 1
_MESSAGES_A_BATCH = 500


class JobState(StrEnum):
    """The state of a job."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """The stage of a running job."""

    SNAPSHOT = "noting"
    PLANNING = "planning"
    BUILDING = "building"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class PropagationJob:
    """The last propagation of a channel.

    Attributes
    ----------
    uid, project, channel, dataset
        The channel and its dataset.
    run, resumption
        ``run`` is incremented by every new run, ``resumption`` by every resumption after a
        cancellation or failure. The rows of older runs are garbage.
    method
        How images are reduced; kept for later runs. Empty for labels.
    full
        Whether the round rebuilds everything, or only what depends on marks.
    depth
        Levels that one task of a full round builds.
    round, band
        Rounds repeat until no marks are left; a round builds one band of levels after another.
    notes, plan
        Ids of the accepted snapshot of marks, and of the accepted plan of the band.
    tasks
        Number of tasks of each band of the round planned so far.
    started_at, since, finished_at
        Unix seconds: start of the run, start (or resumption) of the band, end (0: not ended).
    base, seen
        Tasks of the band that were done at ``since``, and at the last check for progress.
    called_at
        Unix seconds at which tasks were last enqueued, or progress was last seen.
    reason
        Why it failed.
    owner_id, token
        Who started the run, and by which token; None and empty: unknown.
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
    stage: Stage = Stage.SNAPSHOT
    round: int = 0
    band: int = 0
    notes: str = ""
    plan: str = ""
    tasks: tuple[int, ...] = ()
    base: int = 0
    seen: int = 0
    finished_at: float = 0
    reason: str = ""
    owner_id: int | None = None
    token: str = ""

    @property
    def listed(self) -> JobEntry:
        """The run in the list of jobs of all kinds."""
        return JobEntry(KIND, f"{self.uid}#{self.run}", self.owner_id, self.started_at)

    @property
    def fencing_token(self) -> tuple[object, ...]:
        """A value that every step changes; a step from an outdated token is refused."""
        start = (self.run, self.resumption, self.state)
        return *start, self.stage, self.round, self.band, self.notes, self.plan

    @property
    def row(self) -> Row:
        """The row of this job."""
        return Row(*job_key(self.uid), doc={"v": _FORMAT, **asdict(self)})

    @classmethod
    def from_row(cls, row: Row) -> "PropagationJob":
        """Return the job of a row."""
        doc = {name: value for name, value in row.doc.items() if name != "v"}
        doc["state"], doc["stage"] = JobState(doc["state"]), Stage(doc["stage"])
        return cls(**{**doc, "tasks": tuple(doc["tasks"])})


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A message: run the task of one root or, without a plan, advance the job.

    Attributes
    ----------
    plan
        The plan of the task; a message of another plan is stale.
    layer, time_point, code
        The root.
    is_redelivery
        Whether the message was sent or delivered before without success.
    """

    uid: str
    plan: str = ""
    layer: str = ""
    time_point: int = 0
    code: int = 0
    is_redelivery: bool = False

    @property
    def body(self) -> str:
        """The message as text."""
        message: dict[str, Any] = {"v": _FORMAT, "uid": self.uid}
        if self.plan:
            message |= {
                "plan": self.plan,
                "layer": self.layer,
                "time": self.time_point,
                "root": f"{self.code:x}",
            }
        if self.is_redelivery:
            message["again"] = True
        return json.dumps(message)

    @classmethod
    def from_body(cls, body: str) -> "TaskMessage":
        """Parse a message.

        Raises
        ------
        MalformedBodyError
            The text is no message of propagation.
        """
        try:
            message = json.loads(body)
            is_redelivery = isinstance(message, dict) and message.get("again") is True
            match message:
                case {
                    "v": 1,
                    "uid": str(uid),
                    "plan": str(plan),
                    "layer": str(layer),
                    "time": int(time_point),
                    "root": str(root),
                }:
                    return cls(uid, plan, layer, time_point, int(root, 16), is_redelivery)
                case {"v": 1, "uid": str(uid)} if uid and "plan" not in message:
                    return cls(uid, is_redelivery=is_redelivery)
        except ValueError as error:
            raise MalformedBodyError(
                "The message is not JSON, or its root is not a number."
            ) from error
        raise MalformedBodyError("The message is not a version 1 message of a propagation.")


class PropagationJobs:
    """The rows of jobs, their steps, and the messages to workers.

    Parameters
    ----------
    table, queue
        Stores of rows and messages.
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
        self.chains = Chains(table, queue, watch_key, clock)

    def find(self, uid: str) -> PropagationJob | None:
        """Return the last job of a channel, None if it never had one."""
        row = self._table.get(*job_key(uid))
        return None if row is None else PropagationJob.from_row(row)

    def find_all(self, uids: Sequence[str]) -> dict[str, PropagationJob]:
        """Return the last jobs of channels by uid; channels without one are left out."""
        rows = self._table.batch_get([job_key(uid) for uid in uids])
        return {sk: PropagationJob.from_row(row) for (_, sk), row in rows.items()}

    def running(self) -> Iterator[PropagationJob]:
        """Iterate over the running jobs; remove others from the list."""
        for row in rows_in(self._table, RUNNING):
            job = self.find(row.sk)
            if job is not None and job.state is JobState.RUNNING:
                JobIndex(self._table).ensure([job.listed])
                yield job
            else:
                delete_if(self._table, row)

    def begin(
        self,
        uid: str,
        propagate: PropagateState,
        plan: Callable[[PropagationJob | None], PropagationJob],
    ) -> PropagationJob:
        """Store the job that ``plan`` derives from the last one; the channel's state becomes 1.

        Raises
        ------
        InvalidStateError
            The channel's state is no longer ``propagate``, or it became read-only.
        ChannelNotFoundError
            The channel was deleted.
        """
        for _ in optimistic():
            row = self._table.get(*job_key(uid))
            last = None if row is None else PropagationJob.from_row(row)
            job = plan(last)
            expect: Expectation = "absent" if row is None else row.version
            also: list[Action] = [Put(job.row, expect), Put(Row(RUNNING, uid))]
            also += job.listed.put_actions()
            if last is not None and last.run != job.run:
                also += last.listed.delete_actions()
            self.chains.restart(uid)  # first: a death after the update leaves a watched job
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
            self.enqueue(uid)
            return job
        raise _contended(uid)

    def step(self, job: PropagationJob, **changes: Any) -> PropagationJob | None:
        """Change a job if its fencing token is current; return the changed job, or None."""
        for _ in optimistic():
            found = self._find_current(job)
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
        """End a job and its channel's state if the token is current; return whether it was.

        If the channel was deleted or its state changed by hand, the job fails without it.
        """
        propagate = (
            PropagateState.PROPAGATED if state is JobState.DONE else PropagateState.NOT_PROPAGATED
        )
        for _ in optimistic():
            found = self._find_current(job)
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
                    continue  # another worker was faster and set the state
                return False
            except PreconditionFailedError:
                continue
            return True
        raise _contended(job.uid)

    def enqueue(self, uid: str, *, is_redelivery: bool = False) -> None:
        """Enqueue a message that advances a job."""
        self._queue.send([TaskMessage(uid, is_redelivery=is_redelivery).body])

    def enqueue_tasks(self, messages: Sequence[TaskMessage]) -> None:
        """Enqueue tasks."""
        for batch in batched(messages, _MESSAGES_A_BATCH):
            self._queue.send([message.body for message in batch])

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

    def _find_current(self, job: PropagationJob) -> tuple[PropagationJob, int] | None:
        """Return the stored job and its version if the fencing token is current."""
        row = self._table.get(*job_key(job.uid))
        if row is None:
            return None
        stored = PropagationJob.from_row(row)
        return (stored, row.version) if stored.fencing_token == job.fencing_token else None


def _contended(uid: str) -> WriteContentionError:
    return WriteContentionError(
        f"Others keep changing the propagation of channel {uid}; try again."
    )
