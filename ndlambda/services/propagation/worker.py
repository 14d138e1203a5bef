"""Handles the queue messages of propagation."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from ndlambda.errors import InvalidStateError, NDLambdaError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.propagation.builder import Built, PyramidNode
from ndlambda.services.propagation.jobs import (
    JobState,
    PropagationJob,
    PropagationJobs,
    Stage,
    TaskMessage,
)
from ndlambda.services.propagation.ledger import TaskLedger, node_of
from ndlambda.services.propagation.marks import PropagationMarks
from ndlambda.services.propagation.plan import Planner
from ndlambda.services.support.tries import MAX_TRIES, reason_of, why_unfinished
from ndlambda.space.shuffle import mixed
from ndlambda.stores.ports import ObjectStore
from ndlambda.voxels.downsample import Method

_log = logging.getLogger("ndlambda.propagation")


class LevelBuilder(Protocol):
    """Builds supercuboids (``PyramidBuilder``)."""

    def build(
        self, dataset: Dataset, channel: Channel, root: PyramidNode, depth: int, method: Method
    ) -> Built:
        """Build a supercuboid and all below it."""
        ...


@dataclass(frozen=True, slots=True)
class PropagationOptions:
    """How jobs are run.

    Attributes
    ----------
    depth
        Maximum number of levels that a task builds.
    overdue_s
        Seconds without progress after which a job is re-enqueued.
    max_attempts
        Repeated attempts at a step whose workers died without reporting a failure. With
        ``overdue_s`` between them, the first attempt is then older than a Lambda can live.
    clock
        Unix seconds.
    new_id
        Returns unique texts.
    """

    depth: int = 3
    overdue_s: float = 120.0
    max_attempts: int = 10
    clock: Callable[[], float] = time.time
    new_id: Callable[[], str] = field(default=lambda: secrets.token_hex(4))


@dataclass(frozen=True, slots=True)
class PropagationTables:
    """The rows of propagation: jobs, tasks, marks."""

    jobs: PropagationJobs
    ledger: TaskLedger
    marks: PropagationMarks

    def enqueue_open(self, job: PropagationJob, *, is_redelivery: bool = False) -> int:
        """Enqueue the first tasks that are not done, in shuffled order; return their number.

        The next ones follow when most of these are done.
        """
        tasks = sorted(self.ledger.open_window(job), key=lambda task: mixed(task.code))
        self.jobs.enqueue_tasks([replace(task, is_redelivery=is_redelivery) for task in tasks])
        return len(tasks)

    def enqueue_next(self, job: PropagationJob, finished: int) -> None:
        """Count finished tasks, and enqueue the next ones if few of those enqueued are left."""
        tasks = self.ledger.move_window(job, finished)
        self.jobs.enqueue_tasks(sorted(tasks, key=lambda task: mixed(task.code)))


class PropagationWorker:
    """Handles messages.

    Parameters
    ----------
    tables
        Jobs, tasks and marks.
    catalog, objects
        The channels, and their voxels.
    builder
        Runs the tasks.
    options
        See ``PropagationOptions``.
    """

    def __init__(
        self,
        tables: PropagationTables,
        catalog: Catalog,
        objects: ObjectStore,
        builder: LevelBuilder,
        options: PropagationOptions,
    ) -> None:
        self._tables = tables
        self._jobs, self._ledger, self._marks = tables.jobs, tables.ledger, tables.marks
        self._catalog = catalog
        self._objects = objects
        self._builder = builder
        self._options = options

    def run(self, body: str, receive_count: int = 1) -> None:
        """Handle a message. Idempotent; a stale message has no effect.

        A permanent error, too many failures, or too many attempts without any report (the worker
        was killed) fail the job with the reason; the channel's state is then 0.

        Parameters
        ----------
        receive_count
            The number of this delivery, from 1.

        Raises
        ------
        MalformedBodyError
            The text is no message of propagation.
        NDLambdaError
            A failure that a redelivery may overcome.
        """
        message = TaskMessage.from_body(body)
        job = self._jobs.find(message.uid)
        if job is None or job.state is not JobState.RUNNING:
            return
        is_redelivery = message.is_redelivery or receive_count > 1
        try:
            self._handle(job, replace(message, is_redelivery=is_redelivery))
        except Exception as error:
            is_retryable = not isinstance(error, NDLambdaError) or error.retryable
            if is_retryable and receive_count < MAX_TRIES:
                raise
            _log.exception("the propagation of channel %s/%s failed", job.project, job.channel)
            self._fail(message.uid, error)

    def _handle(self, job: PropagationJob, message: TaskMessage) -> None:
        if job.stage is not Stage.BUILDING:
            step = TaskMessage(message.uid, is_redelivery=message.is_redelivery)
            self._check_attempts(job, step)
            self._advance(job)
        elif not message.plan:
            self._tables.enqueue_open(job, is_redelivery=message.is_redelivery)
            self._advance(job)
        elif message.plan == job.plan:
            self._run_task(job, message)

    def _check_attempts(self, job: PropagationJob, message: TaskMessage) -> None:
        """Refuse work whose workers died too often, which cannot report a failure themselves."""
        if not message.is_redelivery:
            return
        attempts = self._ledger.count_attempt(job, message)
        if attempts > self._options.max_attempts:
            what: str = job.stage
            if message.plan:
                what = f"task {message.layer}/{message.time_point}/{message.code:x}"
            raise InvalidStateError(why_unfinished(f"{what} of band {job.band}", attempts))

    def _run_task(self, job: PropagationJob, task: TaskMessage) -> None:
        if self._ledger.is_done(job, task):
            is_bucket_done = True
        else:
            self._check_attempts(job, task)
            planner = self._planner(job)
            root = node_of(task)
            layers = planner.bands(full=job.full)[job.band]
            (depth,) = {
                layer.depth
                for layer in layers
                if (layer.resolution, layer.neariso) == (root.resolution, root.neariso)
            }
            method = Method(job.method) if job.method else Method.LABELS
            self._builder.build(planner.dataset, planner.channel, root, depth, method)
            finished = self._ledger.finish(job, task)
            is_bucket_done = finished > 0
            if is_bucket_done:
                self._tables.enqueue_next(job, finished)
        if is_bucket_done and self._ledger.is_complete(job, after=task):
            self._advance(job)

    def _planner(self, job: PropagationJob) -> Planner:
        channel = self._catalog.get_channel(job.project, job.channel)
        if channel.uid != job.uid:
            raise InvalidStateError(f"Channel {job.channel!r} was deleted and created again.")
        return Planner(self._catalog.get_dataset(job.dataset), channel, job.depth)

    def _advance(self, begun: PropagationJob) -> None:
        """Advance a job until it waits for tasks, or another worker has advanced it."""
        job: PropagationJob | None = begun
        while job is not None:
            match job.stage:
                case Stage.SNAPSHOT:
                    job = self._snapshot(job)
                case Stage.PLANNING:
                    job = self._plan(job)
                case Stage.BUILDING:
                    if not self._ledger.is_complete(job):
                        return
                    job = self._jobs.step(job, stage=Stage.PLANNING, band=job.band + 1, plan="")
                case Stage.CLOSING:
                    job = self._close(job)

    def _snapshot(self, job: PropagationJob) -> PropagationJob | None:
        # The step after the snapshot makes writers that marked before it mark again: see marks.
        self._ledger.clear(job.uid, before=job.run)
        snapshot_id = self._options.new_id()
        self._marks.snapshot(job.uid, job.run, snapshot_id)
        return self._jobs.step(job, stage=Stage.PLANNING, notes=snapshot_id)

    def _plan(self, job: PropagationJob) -> PropagationJob | None:
        planner = self._planner(job)
        bands = planner.bands(full=job.full)
        if job.band == len(bands):
            return self._jobs.step(job, stage=Stage.CLOSING)
        plan, band = self._options.new_id(), bands[job.band]
        if job.full:
            roots = planner.listed_roots(self._objects, band)
        else:
            marks = self._marks.read_snapshot(job.uid, job.run, job.notes)
            roots = planner.marked_roots(marks, band)
        tasks = self._ledger.add(job, plan, roots)
        now = self._options.clock()
        planned = self._jobs.step(
            job,
            stage=Stage.BUILDING,
            plan=plan,
            tasks=(*job.tasks, tasks),
            since=now,
            called_at=now,
            base=0,
            seen=0,
        )
        if planned is not None:
            self._tables.enqueue_open(planned)
        return planned

    def _close(self, job: PropagationJob) -> PropagationJob | None:
        self._marks.remove_unchanged(job.uid, job.run, job.notes)
        if self._marks.exist(job.uid):
            return self._jobs.step(
                job,
                stage=Stage.SNAPSHOT,
                round=job.round + 1,
                full=False,
                band=0,
                notes="",
                tasks=(),
            )
        if self._jobs.end(job, JobState.DONE):
            self._ledger.clear(job.uid, before=job.run + 1)
        return None

    def _fail(self, uid: str, error: Exception) -> None:
        while (job := self._jobs.find(uid)) is not None and job.state is JobState.RUNNING:
            if self._jobs.end(job, JobState.FAILED, reason_of(error)):
                return
