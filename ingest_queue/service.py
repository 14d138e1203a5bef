"""The ingest service, used by routes, workers and the command.

Jobs are created by request (``create``) or by dropped files (``drop``). Then objects are recorded
(``registry``), chunks are built (``build``), and the builder of the last one completes the job.
"""

import heapq
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby

from ingest_queue.build.builder import BuildOptions, ChunkBuilder, Propagate, Stores
from ingest_queue.build.parts_registry import PartRegistry
from ingest_queue.build.sweep import Sweeper
from ingest_queue.build.verify import Verifier
from ingest_queue.jobs.attempts import StoresFailedError
from ingest_queue.jobs.chunk_state import Fault
from ingest_queue.jobs.grid import PLANES, Chunk
from ingest_queue.jobs.job import Job, Mode, State, message
from ingest_queue.jobs.job_spec import JobSpec
from ingest_queue.jobs.keys import job_folder
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.tally import Progress, Tally
from ingest_queue.jobs.target import Target, VoxelWriter
from ndlambda.errors import InvalidStateError, OutOfBoundsError, QuotaExceededError
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.support.watch import WatchMessage
from ndlambda.services.volume.region import Region
from ndlambda.space.shuffle import shuffled

_MAX_CHUNKS = 1 << 40

_log = logging.getLogger("ndlambda.ingest")


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """Options of ingest; a bound of 0 is no bound.

    Attributes
    ----------
    max_user_jobs
        Jobs of one user that have not ended.
    max_job_bytes
        Bytes of voxels of one job.
    new_id
        Returns a new job id: 16 hexadecimal digits.
    """

    max_user_jobs: int = 0
    max_job_bytes: int = 0
    building: BuildOptions = field(default_factory=BuildOptions)
    new_id: Callable[[], str] = field(default=lambda: secrets.token_hex(8))


class IngestService:
    """Creates, builds, counts and cancels ingest jobs; parameters as of ``ChunkBuilder``."""

    def __init__(
        self,
        ledger: Ledger,
        stores: Stores,
        catalog: Catalog,
        writer: VoxelWriter,
        propagate: Propagate,
        options: IngestOptions | None = None,
    ) -> None:
        options = options or IngestOptions()
        self.ledger = ledger
        self.stores = stores
        self._catalog = catalog
        self._options = options
        self._writer = writer
        self.chains = ledger.chains(stores.queue)
        self._builder = ChunkBuilder(ledger, stores, catalog, writer, propagate, options.building)
        enqueue, chains = self._enqueue, self.chains
        self.registry = PartRegistry(ledger, catalog, stores.drop, enqueue, chains)
        self.sweeper = Sweeper(ledger, catalog, self.registry, self._builder, enqueue, chains)
        self.verifier = Verifier(ledger, stores.objects, catalog, writer)

    def create(self, view: ProjectView, owner_id: int, spec: JobSpec, folder: str = "") -> Job:
        """Create a job. Idempotent: with the id of an equal job, that job is returned.

        Parameters
        ----------
        view, spec
            Where the voxels go; the caller checks the permission to write.
        folder
            The folder of dropped files that feeds it; empty: a folder of its own.

        Raises
        ------
        ChannelNotFoundError, ResolutionNotFoundError, OutOfBoundsError
            The channel, resolution or extent does not exist.
        ReadOnlyChannelError, InvalidStateError
            The channel accepts no writes now.
        QuotaExceededError
            The user has too many jobs, or the job is too large.
        AlreadyExistsError
            Another job has the id.
        """
        channel = view.channel(spec.channel)
        level = view.dataset.pyramid.level(spec.resolution)
        region = Region(level, spec.box or level.box, spec.times or channel.times)
        region.check()
        if not channel.times[0] <= region.times[0] <= region.times[1] <= channel.times[1]:
            raise OutOfBoundsError(
                f"The channel has the time points {channel.times[0]} to {channel.times[1] - 1}."
            )
        job_id = spec.job_id or self._options.new_id()
        if self.ledger.find(job_id) is None:
            self._writer.check_writable(channel)
            self._check_quota(owner_id, region.voxels * channel.dtype.itemsize)
        job = Job(
            id=job_id,
            owner_id=owner_id,
            token=view.token.name,
            dataset=view.dataset.name,
            project=view.project.name,
            channel=channel.name,
            channel_uid=channel.uid,
            resolution=spec.resolution,
            box=region.box,
            times=region.times,
            mode=spec.mode,
            on_bad=spec.on_bad,
            folder=folder or job_folder(job_id),
            propagate=spec.propagate,
            tile_xyzt=spec.tile_xyzt,
            notes=spec.notes,
            labels=spec.labels,
        )
        chunks = Target.of(job, self._catalog).grid(job).count
        if chunks > _MAX_CHUNKS:
            raise OutOfBoundsError(f"The job would have {chunks} chunks; make several jobs.")
        job = replace(job, chunks=chunks)
        owner = view.project.user_id
        self.chains.start([job.id])
        return self.ledger.create(job, folder=folder or None, owner_id=owner)

    def build(self, job_id: str, generation: int, chunk: int, attempt: int = 1) -> None:
        """Build the chunk of a message; see ``ChunkBuilder.build``.

        If stores fail too often, so does the job.
        """
        with self.failing_with_stores(job_id, generation):
            self._builder.build(job_id, generation, chunk, attempt)

    @contextmanager
    def failing_with_stores(self, job_id: str, generation: int) -> Iterator[None]:
        """Fail a job whose attempts at a chunk were failed by stores too often."""
        try:
            yield
        except StoresFailedError as error:
            _log.exception("ingest job %s failed", job_id)
            job = self.ledger.find(job_id)
            if job is not None and job.generation == generation:
                self._builder.fail(job, error.message)

    def watch(self, message: WatchMessage, receive_count: int) -> None:
        """Handle a watch message of a job.

        Parameters
        ----------
        receive_count
            The number of this delivery, from 1.
        """
        self.chains.receive(message, receive_count, self.sweeper.look_after)

    def refuse(self, job: Job, fault: Fault) -> None:
        """Record a part that cannot be obtained; see ``ChunkBuilder.refuse``."""
        self._builder.refuse(job, fault)

    def refuse_plane(self, job: Job, time_point: int, z: int, error: str) -> None:
        """Record a plane (dataset z) that cannot be read at its source; see ``refuse``.

        Raises
        ------
        OutOfBoundsError
            The job has no such plane.
        InvalidStateError
            The channel was deleted.
        """
        target = self.target(job)
        grid = target.grid(job)
        if job.mode is Mode.SLICES:
            self.refuse(job, Fault(grid.of_slice(time_point, z).number, z, "", error))
            return
        # One fault for a plane, however many boxes it intersects.
        inside = z - target.level.offset_xyz[2]
        number = grid.of_plane(time_point, inside).start
        self.refuse(job, Fault(number, PLANES + inside, "", error))

    def target(self, job: Job) -> Target:
        """Return the channel and level that a job writes.

        Raises
        ------
        InvalidStateError
            The channel was deleted.
        """
        return Target.of(job, self._catalog)

    def cancel(self, job: Job) -> Job:
        """Cancel a job: nothing more is built, not even by workers under way.

        Stored voxels stay. Idempotent.

        Raises
        ------
        InvalidStateError
            It is complete.
        """

        def to(current: Job) -> Job | None:
            if current.state.is_complete:
                raise InvalidStateError(f"Ingest job {job.id} is complete.", job=job.id)
            if current.state is State.CANCELLED:
                return None
            ended = current.with_state(State.CANCELLED, self.ledger.now())
            return replace(ended, generation=current.generation + 1)

        self.chains.restart(job.id)  # for its uploads
        return self.ledger.change(job, to) or self.ledger.get(job.id)

    def progress(self, job: Job) -> Progress:
        """Return the progress of a job."""
        target = self.target(job)
        return self._tally(job, target).progress(target.channel.dtype.itemsize)

    def is_built(self, job: Job, target: Target) -> bool:
        """Return whether all chunks of a job are stored."""
        return self.ledger.built(job, target.grid(job).count).is_full()

    def missing(self, job: Job) -> Iterator[tuple[int, int]]:
        """Iterate over missing parts: (time point, slice) or (time point, chunk)."""
        for chunk, parts in self.missing_parts(job):
            for part in parts:
                yield chunk.time_point, part if job.mode is Mode.SLICES else chunk.number

    def missing_parts(
        self, job: Job, after: int = -1, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[Chunk, list[int]]]:
        """Iterate over the chunks > after that miss parts, with these parts, in order.

        Parameters
        ----------
        shard
            ``(i, n)``: only the i-th (from 0) of n equal spans of chunks.
        """
        target = self.target(job)
        return self._tally(job, target).missing_parts(_span(target.grid(job).count, after, shard))

    def needed_parts(
        self, job: Job, after: int = -1, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[Chunk, list[int]]]:
        """Iterate as ``missing_parts``, but over received, unusable parts, too."""
        grid = self.target(job).grid(job)
        span = _span(grid.count, after, shard)
        unusable = (
            (grid.chunk(fault.chunk), [fault.part])
            for fault in self.faults(job)
            if fault.chunk in span and fault.part in grid.chunk(fault.chunk).parts
        )
        both = heapq.merge(self.missing_parts(job, after, shard), unusable, key=_number)
        for _, same in groupby(both, _number):
            found = list(same)
            yield found[0][0], sorted({part for _, parts in found for part in parts})

    def faults(self, job: Job) -> Iterator[Fault]:
        """Iterate over the faults of a job's input."""
        return self.ledger.faults(job)

    def _tally(self, job: Job, target: Target) -> Tally:
        return Tally(self.ledger, job, target.grid(job))

    def _enqueue(self, job: Job, chunks: Sequence[int], attempt: int = 1) -> None:
        bodies = [json.dumps(message(job, chunk, attempt)) for chunk in shuffled(chunks)]
        self.stores.queue.send(bodies)

    def _check_quota(self, owner_id: int, job_bytes: int) -> None:
        limit = self._options.max_job_bytes
        if 0 < limit < job_bytes:
            raise QuotaExceededError(
                f"The job has {job_bytes} bytes of voxels; {limit} are allowed. Ask the operator.",
                limit=limit,
            )
        limit = self._options.max_user_jobs
        if limit:
            running = self.ledger.of_user.count_under_way(owner_id, limit)
            if running >= limit:
                raise QuotaExceededError(
                    f"You have {running} ingest jobs under way; {limit} are allowed. Wait for one "
                    "to end, or cancel one.",
                    limit=limit,
                )


def _span(count: int, after: int, shard: tuple[int, int]) -> range:
    """Return the chunks > after of a shard, of ``count`` chunks."""
    index, shards = shard
    return range(max(count * index // shards, after + 1), count * (index + 1) // shards)


def _number(found: tuple[Chunk, list[int]]) -> int:
    return found[0].number
