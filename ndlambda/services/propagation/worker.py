"""Carries propagations on: what a queue worker does with a message."""

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
from ndlambda.stores.ports import ObjectStore
from ndlambda.voxels.downsample import Method

MOST_RECEIVES = 5
"""Deliveries of a message after which its failure is the job's."""
RESENT_AT_ONCE = 10_000
"""Tasks that are called for again at once, at most; the rest when these are done."""

_log = logging.getLogger("ndlambda.propagation")


class LevelBuilder(Protocol):
    """What builds (``pyramid_builder``)."""

    def build(
        self, dataset: Dataset, channel: Channel, root: PyramidNode, depth: int, method: Method
    ) -> Built:
        """Build a supercuboid and what is below it."""
        ...


@dataclass(frozen=True, slots=True)
class PropagationOptions:
    """How jobs are run.

    Attributes
    ----------
    depth
        Most levels that a task builds.
    overdue_s
        Seconds without any progress after which workers are called again.
    most_tries
        How often a step is tried again that ended its workers before they could say why. With
        ``overdue_s`` between them, the first try is then older than a Lambda may become.
    clock
        Unix seconds.
    new_id
        Gives texts that never repeat.
    """

    depth: int = 3
    overdue_s: float = 120.0
    most_tries: int = 10
    clock: Callable[[], float] = time.time
    new_id: Callable[[], str] = field(default=lambda: secrets.token_hex(4))


@dataclass(frozen=True, slots=True)
class PropagationTables:
    """The rows of propagations: jobs, tasks, marks."""

    jobs: PropagationJobs
    ledger: TaskLedger
    marks: PropagationMarks

    def send_missing(
        self, job: PropagationJob, most: int | None = None, *, again: bool = False
    ) -> int:
        """Call workers to tasks that are not done, and return how many."""
        calls = self.ledger.missing(job, most)
        self.jobs.send([replace(call, again=again) for call in calls])
        return len(calls)


class PropagationWorker:
    """Does what messages ask for.

    Parameters
    ----------
    books
        What is to be done, and what is done.
    catalog, objects
        The channels, and their voxels.
    builder
        Carries out a task.
    options
        See there.
    """

    def __init__(
        self,
        books: PropagationTables,
        catalog: Catalog,
        objects: ObjectStore,
        builder: LevelBuilder,
        options: PropagationOptions,
    ) -> None:
        self._books = books
        self._jobs, self._ledger, self._marks = books.jobs, books.ledger, books.marks
        self._catalog = catalog
        self._objects = objects
        self._builder = builder
        self._options = options

    def run(self, body: str, receive_count: int = 1) -> None:
        """Do what a message asks for. Harmless when repeated, and where nothing is left of it.

        What cannot succeed later, has failed too often, or was begun too often by workers that
        were never heard of again, parks the job as failed, with the reason; the channel's state is
        then 0.

        Parameters
        ----------
        receive_count
            The number of this delivery, from 1.

        Raises
        ------
        MalformedBodyError
            The message is not ours.
        NDLambdaError
            Something that may succeed when the message is delivered again.
        """
        call = TaskMessage.from_body(body)
        job = self._jobs.find(call.uid)
        if job is None or job.state is not JobState.RUNNING:
            return
        try:
            self._answer(job, replace(call, again=call.again or receive_count > 1))
        except Exception as error:
            again = not isinstance(error, NDLambdaError) or error.retryable
            if again and receive_count < MOST_RECEIVES:
                raise
            _log.exception("the propagation of channel %s/%s failed", job.project, job.channel)
            self._fail(call.uid, error)

    def _answer(self, job: PropagationJob, call: TaskMessage) -> None:
        if job.stage is not Stage.BUILDING:
            self._count_try(job, TaskMessage(call.uid, again=call.again))
            self._advance(job)
        elif not call.plan:
            self._books.send_missing(job, RESENT_AT_ONCE, again=call.again)
            self._advance(job)
        elif call.plan == job.plan:
            self._do_task(job, call)

    def _count_try(self, job: PropagationJob, call: TaskMessage) -> None:
        """Refuse what has ended its workers too often; they had no time to report a failure."""
        if not call.again:
            return
        tries = self._ledger.count_try(job, call)
        if tries > self._options.most_tries:
            what = f"task {call.layer}/{call.time_point}/{call.code:x}" if call.plan else job.stage
            raise InvalidStateError(
                f"Workers began {what} of band {job.band} {tries} times and came to no end; they "
                "may need more memory or time."
            )

    def _do_task(self, job: PropagationJob, call: TaskMessage) -> None:
        if self._ledger.is_done(job, call):
            is_bucket_done = True
        else:
            self._count_try(job, call)
            planner = self._planner(job)
            root = node_of(call)
            layers = planner.bands(full=job.full)[job.band]
            (depth,) = {
                layer.depth
                for layer in layers
                if (layer.resolution, layer.neariso) == (root.resolution, root.neariso)
            }
            method = Method(job.method) if job.method else Method.LABELS
            self._builder.build(planner.dataset, planner.channel, root, depth, method)
            is_bucket_done = self._ledger.finish(job, call)
        if is_bucket_done and self._ledger.is_complete(job, beside=call):
            self._advance(job)

    def _planner(self, job: PropagationJob) -> Planner:
        channel = self._catalog.get_channel(job.project, job.channel)
        if channel.uid != job.uid:
            raise InvalidStateError(f"Channel {job.channel!r} was made anew.")
        return Planner(self._catalog.get_dataset(job.dataset), channel, job.depth)

    def _advance(self, begun: PropagationJob) -> None:
        """Take a job as far as it comes without waiting for tasks, unless others do so."""
        job: PropagationJob | None = begun
        while job is not None:
            match job.stage:
                case Stage.NOTING:
                    job = self._note(job)
                case Stage.PLANNING:
                    job = self._plan(job)
                case Stage.BUILDING:
                    if not self._ledger.is_complete(job):
                        return
                    job = self._jobs.step(job, stage=Stage.PLANNING, band=job.band + 1, plan="")
                case Stage.CLOSING:
                    job = self._close(job)

    def _note(self, job: PropagationJob) -> PropagationJob | None:
        # The step behind the notes makes writers who marked before them look again: see marks.
        self._ledger.clear(job.uid, before=job.run)
        notes = self._options.new_id()
        self._marks.note(job.uid, job.run, notes)
        return self._jobs.step(job, stage=Stage.PLANNING, notes=notes)

    def _plan(self, job: PropagationJob) -> PropagationJob | None:
        planner = self._planner(job)
        bands = planner.bands(full=job.full)
        if job.band == len(bands):
            return self._jobs.step(job, stage=Stage.CLOSING)
        plan, band = self._options.new_id(), bands[job.band]
        if job.full:
            roots = planner.listed(self._objects, band)
        else:
            roots = planner.marked(self._marks.noted(job.uid, job.run, job.notes), band)
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
            self._books.send_missing(planned)
        return planned

    def _close(self, job: PropagationJob) -> PropagationJob | None:
        self._marks.remove_noted(job.uid, job.run, job.notes)
        if self._marks.exist(job.uid):
            return self._jobs.step(
                job,
                stage=Stage.NOTING,
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
        reason = (
            str(error) if isinstance(error, NDLambdaError) else f"{type(error).__name__}: {error}"
        )
        while (job := self._jobs.find(uid)) is not None and job.state is JobState.RUNNING:
            if self._jobs.end(job, JobState.FAILED, reason):
                return
