"""Pyramids of channels, built by queue workers: started, carried on, cancelled, looked at.

Messages only wake workers up. What is to be done and what is done are rows (``propagation_ledger``)
under a job whose steps are conditional (``propagation_jobs``), so that messages may be lost, come
twice or in any order, and workers may die anywhere: ``resend_pending`` finds what nobody does.
"""

from dataclasses import dataclass, replace

from ndlambda.errors import (
    InvalidArgumentError,
    InvalidStateError,
    ReadOnlyChannelError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.propagation import PropagateState
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.propagation.jobs import JobState, PropagationJob, PropagationJobs, Stage
from ndlambda.services.propagation.ledger import TaskLedger
from ndlambda.services.propagation.marks import PropagationMarks
from ndlambda.services.propagation.plan import Planner
from ndlambda.services.propagation.status import NEVER, Status, pace_of, status_of
from ndlambda.services.propagation.worker import (
    RESENT_AT_ONCE,
    LevelBuilder,
    PropagationOptions,
    PropagationTables,
    PropagationWorker,
)
from ndlambda.stores.ports import ObjectStore, Queue, Table
from ndlambda.voxels.downsample import Method


@dataclass(frozen=True, slots=True)
class PropagationStores:
    """Where the rows, the voxels and the calls to the workers are."""

    table: Table
    objects: ObjectStore
    queue: Queue


class PropagationService:
    """The propagation of all channels.

    Parameters
    ----------
    stores
        Table, objects, queue.
    catalog
        Holds the channels and their states.
    marks
        What writers touched.
    builder
        Carries out a task.
    options
        See there.
    """

    def __init__(
        self,
        stores: PropagationStores,
        catalog: Catalog,
        marks: PropagationMarks,
        builder: LevelBuilder,
        options: PropagationOptions | None = None,
    ) -> None:
        self._options = options or PropagationOptions()
        self._catalog = catalog
        self._marks = marks
        self._ledger = TaskLedger(stores.table)
        self._jobs = PropagationJobs(stores.table, stores.queue, catalog, self._options.clock)
        self._books = PropagationTables(self._jobs, self._ledger, marks)
        self._worker = PropagationWorker(
            self._books, catalog, stores.objects, builder, self._options
        )

    # for callers

    def start(
        self,
        dataset: Dataset,
        channel: Channel,
        *,
        method: Method | None = None,
        full: bool = False,
    ) -> PropagationJob:
        """Begin to propagate a channel, or go on where it was cancelled or failed; give the job.

        A propagated channel is brought up to date where it was written since; ``full``, or another
        method than last time, rebuilds all.

        Parameters
        ----------
        method
            How images are reduced: ``MEAN`` or ``NEAREST``; None as last time, at first ``MEAN``.

        Raises
        ------
        ReadOnlyChannelError
            The channel is read-only.
        InvalidStateError
            It is being propagated.
        InvalidArgumentError
            Labels have no other method than theirs.
        """
        check_startable(channel)
        if method is not None and (channel.is_annotation or method is Method.LABELS):
            raise InvalidArgumentError(
                "The method mean or nearest is for images; labels are voted."
            )

        def plan(last: PropagationJob | None) -> PropagationJob:
            return self._begun(dataset, channel, last, method=method, full=full)

        return self._jobs.begin(channel.uid, channel.propagate, plan)

    def reset(self, channel: Channel) -> None:
        """Set the state of a channel back to 0 (ndstore's ``setPropagate/0``); voxels stay.

        Raises
        ------
        InvalidStateError
            It is being propagated.
        ReadOnlyChannelError
            It is propagated and read-only.
        """
        check_resettable(channel)
        if channel.propagate != PropagateState.NOT_PROPAGATED:
            self._catalog.update_channel(
                channel.project,
                channel.name,
                expect={"uid": channel.uid, "propagate": channel.propagate, "readonly": False},
                propagate=PropagateState.NOT_PROPAGATED,
            )

    def cancel(self, channel: Channel) -> None:
        """Stop a propagation; started again, it goes on where it was.

        Raises
        ------
        InvalidStateError
            None is running.
        """
        while (job := self._jobs.find(channel.uid)) is not None and job.state is JobState.RUNNING:
            if self._jobs.end(job, JobState.CANCELLED):
                return
        raise InvalidStateError(f"Channel {channel.name!r} is not being propagated.")

    def status(self, dataset: Dataset, channel: Channel) -> Status:
        """Return how far a channel is; looks after its job on the way."""
        job, stale = self._jobs.find(channel.uid), self._marks.count(channel.uid)
        if job is None:
            return Status(channel.propagate, NEVER, stale)
        if job.state is JobState.RUNNING:
            self._nudge(job)
        planner = Planner(dataset, channel, job.depth)
        done = self._ledger.count_done(job)
        bands = status_of(job, planner.bands(full=job.full), done)
        pace = pace_of(job, bands, planner.weights(full=job.full), now=self._options.clock())
        return Status(
            propagate=channel.propagate,
            state=job.state.value,
            stale=stale,
            method=job.method or None,
            full=job.full,
            round=job.round,
            bands=bands,
            tasks=sum(band.tasks for band in bands),
            done=sum(band.done for band in bands),
            progress=pace.progress,
            tasks_per_s=pace.tasks_per_s,
            eta_s=pace.eta_s,
            reason=job.reason,
            started_at=job.started_at,
            finished_at=job.finished_at or None,
        )

    def look_after(self, channel: Channel) -> None:
        """Call workers to a channel's job if they should have come to it."""
        job = self._jobs.find(channel.uid)
        if job is not None and job.state is JobState.RUNNING:
            self._nudge(job)

    def resend_pending(self) -> int:
        """Call workers again to jobs that make no progress, and return how many.

        To be done every minute or so: messages may be lost, and a process may end between storing
        a step and calling for the next one.
        """
        return sum(map(self._nudge, self._jobs.running()))

    def run(self, body: str, receive_count: int = 1) -> None:
        """Do what a message asks for; see ``PropagationWorker.run``."""
        self._worker.run(body, receive_count)

    # inside

    def _begun(
        self,
        dataset: Dataset,
        channel: Channel,
        last: PropagationJob | None,
        *,
        method: Method | None,
        full: bool,
    ) -> PropagationJob:
        now = self._options.clock()
        chosen = (
            "" if channel.is_annotation else str(method or (last and last.method) or Method.MEAN)
        )
        is_same = last is not None and last.method == chosen and not full
        if is_same and last is not None and last.state in {JobState.FAILED, JobState.CANCELLED}:
            done = self._ledger.count_done(last)
            return replace(
                last,
                resumption=last.resumption + 1,
                state=JobState.RUNNING,
                since=now,
                base=done,
                seen=done,
                called_at=now,
                finished_at=0,
                reason="",
            )
        return PropagationJob(
            uid=channel.uid,
            project=channel.project,
            channel=channel.name,
            dataset=dataset.name,
            run=1 if last is None else last.run + 1,
            method=chosen,
            full=not (is_same and channel.propagate == PropagateState.PROPAGATED),
            depth=self._options.depth,
            started_at=now,
            since=now,
            called_at=now,
        )

    def _nudge(self, job: PropagationJob) -> bool:
        """Call workers to a job that makes no progress; return whether that was so."""
        now = self._options.clock()
        if now - job.called_at < self._options.overdue_s:
            return False
        done = self._ledger.count_done(job)
        if job.stage is Stage.BUILDING and done != job.seen:
            self._jobs.step(job, called_at=now, seen=done)
            return False
        if job.stage is not Stage.BUILDING or not self._books.send_missing(
            job, RESENT_AT_ONCE, again=True
        ):
            self._jobs.call(job.uid, again=True)
        self._jobs.step(job, called_at=now, seen=done)
        return True


def check_startable(channel: Channel) -> None:
    """Make sure that a channel may be propagated now.

    Raises
    ------
    ReadOnlyChannelError, InvalidStateError
        It is read-only, or being propagated.
    """
    if channel.readonly:
        raise ReadOnlyChannelError(f"Channel {channel.name!r} is read-only.", channel=channel.name)
    if channel.propagate == PropagateState.UNDER_PROPAGATION:
        raise InvalidStateError(
            f"Channel {channel.name!r} is being propagated.", channel=channel.name
        )


def check_resettable(channel: Channel) -> None:
    """Make sure that a channel's state may be set to 0.

    Raises
    ------
    ReadOnlyChannelError, InvalidStateError
        It is propagated and read-only, or being propagated.
    """
    if channel.propagate != PropagateState.NOT_PROPAGATED:
        check_startable(channel)
