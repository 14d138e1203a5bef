"""Starts, resumes, cancels and reports the propagation of channels by queue workers.

Messages only wake workers. Tasks, open and done, are rows (``ledger``) of a job whose steps are
conditional (``jobs``). So messages may be lost, duplicated or reordered, and workers may die at any
point: the watch chain of a job re-enqueues it if it makes no progress.
"""

from collections.abc import Sequence
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
    LevelBuilder,
    PropagationOptions,
    PropagationTables,
    PropagationWorker,
)
from ndlambda.services.support.watch import Look, WatchMessage
from ndlambda.stores.ports import ObjectStore, Queue, Table
from ndlambda.voxels.downsample import Method


@dataclass(frozen=True, slots=True)
class PropagationStores:
    """The stores of rows, voxels and messages."""

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
        The marks of written supercuboids.
    builder
        Runs the tasks.
    options
        See ``PropagationOptions``.
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
        self._tables = PropagationTables(self._jobs, self._ledger, marks)
        self._worker = PropagationWorker(
            self._tables, catalog, stores.objects, builder, self._options
        )

    # for callers

    def start(
        self,
        dataset: Dataset,
        channel: Channel,
        *,
        method: Method | None = None,
        full: bool = False,
        owner_id: int | None = None,
        token: str = "",
    ) -> PropagationJob:
        """Start propagating a channel, or resume a cancelled or failed job; return the job.

        A propagated channel is rebuilt only where it was written since; ``full``, or another
        method than last time, rebuilds everything.

        Parameters
        ----------
        method
            How images are reduced: ``MEAN`` or ``NEAREST``; None: as last time, at first ``MEAN``.
        owner_id, token
            Who starts it, by which token.

        Raises
        ------
        ReadOnlyChannelError
            The channel is read-only.
        InvalidStateError
            It is being propagated.
        InvalidArgumentError
            The method does not fit the channel.
        """
        check_startable(channel)
        if method is not None and (channel.is_annotation or method is Method.LABELS):
            raise InvalidArgumentError(
                "The methods mean and nearest are for images; labels are always voted."
            )

        def plan(last: PropagationJob | None) -> PropagationJob:
            job = self._next_job(dataset, channel, last, method=method, full=full)
            is_new = last is None or job.run != last.run
            return replace(job, owner_id=owner_id, token=token) if is_new else job

        return self._jobs.begin(channel.uid, channel.propagate, plan)

    def reset(self, channel: Channel) -> None:
        """Set the state of a channel to 0 (ndstore's ``setPropagate/0``); voxels stay.

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
        """Cancel a propagation; ``start`` resumes it.

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
        """Return the state and progress of a channel's propagation; let a stale job be watched."""
        job, stale = self._jobs.find(channel.uid), self._marks.count(channel.uid)
        if job is None:
            return Status(channel.propagate, NEVER, stale)
        self._ask_if_stale(job)
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

    def ask_if_stale(self, channel: Channel) -> None:
        """Ask for a look after a channel's job if it makes no progress; writes no row."""
        job = self._jobs.find(channel.uid)
        if job is not None:
            self._ask_if_stale(job)

    def sweep(self) -> int:
        """Look after the running jobs whose watch chains stand still; return their number."""
        chains = self._jobs.chains
        return sum(chains.take_over(job.uid, self._look_after) for job in self._jobs.running())

    def run(self, body: str, receive_count: int = 1) -> None:
        """Handle a message: look after a job, or see ``PropagationWorker.run``."""
        watch = WatchMessage.find(body)
        if watch is not None:
            self._jobs.chains.receive(watch, receive_count, self._look_after)
        else:
            self._worker.run(body, receive_count)

    def last_jobs(self, uids: Sequence[str]) -> dict[str, PropagationJob]:
        """Return the last jobs of channels by uid; channels without one are left out."""
        return self._jobs.find_all(uids)

    # inside

    def _next_job(
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

    def _is_stale(self, job: PropagationJob) -> bool:
        """Return whether a job may make no progress."""
        return self._options.clock() - job.called_at >= self._options.overdue_s

    def _ask_if_stale(self, job: PropagationJob) -> None:
        if job.state is JobState.RUNNING and self._is_stale(job):
            self._jobs.chains.ask(job.uid)

    def _look_after(self, uid: str) -> Look:
        """Re-enqueue a job if it makes no progress."""
        job = self._jobs.find(uid)
        if job is None or job.state is not JobState.RUNNING:
            return Look.ENDED
        now = self._options.clock()
        done = self._ledger.count_done(job)
        if job.stage is Stage.BUILDING and done != job.seen:
            self._jobs.step(job, called_at=now, seen=done)
            return Look.MOVES
        if not self._is_stale(job):
            return Look.MOVES
        if job.stage is not Stage.BUILDING or not self._tables.enqueue_open(
            job, is_redelivery=True
        ):
            self._jobs.enqueue(job.uid, is_redelivery=True)
        self._jobs.step(job, called_at=now, seen=done)
        return Look.MOVES


def check_startable(channel: Channel) -> None:
    """Refuse to propagate a channel that is read-only or being propagated.

    Raises
    ------
    ReadOnlyChannelError, InvalidStateError
    """
    if channel.readonly:
        raise ReadOnlyChannelError(f"Channel {channel.name!r} is read-only.", channel=channel.name)
    if channel.propagate == PropagateState.UNDER_PROPAGATION:
        raise InvalidStateError(
            f"Channel {channel.name!r} is being propagated.", channel=channel.name
        )


def check_resettable(channel: Channel) -> None:
    """Refuse to reset a channel that is being propagated, or is propagated and read-only.

    Raises
    ------
    ReadOnlyChannelError, InvalidStateError
    """
    if channel.propagate != PropagateState.NOT_PROPAGATED:
        check_startable(channel)
