"""Builds chunks: from parts in the drop store to supercuboids, with exactly-once effect.

Every step is idempotent, also when run concurrently: voxels are written by conditional replacement
and come out the same, digests depend on the input only, and the sets of finished work only grow. A
process may die between any two steps; the next worker continues.

One interleaving is not covered: a builder stalls between its last check of the chunk and its write,
the slice is replaced, another builder stores the newer slice, the job completes, and only then the
first builder writes, and dies before its next check. Voxels of the older slice are then stored
under the digest of the newer one, which ``verify`` reports. Reading a row before each conditional
put would prevent it, at a cost in every write of every chunk. A repair after the end of the job
could undo what people have painted since.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from ingest_queue.build.compose import Composer
from ingest_queue.build.outcomes import (
    PartMissing,
    PartRejected,
    PartReplaced,
    StateChanged,
    Superseded,
)
from ingest_queue.jobs.attempts import StoresFailedError
from ingest_queue.jobs.chunk_state import ChunkState, Fault, Part
from ingest_queue.jobs.digests import ChunkDigests, digests_key, root_digest
from ingest_queue.jobs.grid import Chunk
from ingest_queue.jobs.job import Job, Policy, State
from ingest_queue.jobs.keys import etag_of, job_folder
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.target import Target, VoxelWriter
from ndlambda.errors import (
    InvalidStateError,
    NDLambdaError,
    ReadOnlyChannelError,
    WriteContentionError,
)
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.support.retry import optimistic
from ndlambda.stores.ports import ObjectStore, Overwrite, Queue

STRIP_BYTES = 1 << 29
"""Bytes of a chunk's voxels held in memory; planes of larger slabs are decoded strip by strip."""

_ATTEMPTS = 16
_PARTLY = "partly"

_log = logging.getLogger("ndlambda.ingest")


class Propagate(Protocol):
    """Starts the propagation of a channel that a job has filled."""

    def __call__(self, job: Job) -> None:
        """Start it; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of parts and of digests, and the queue that wakes builders."""

    drop: ObjectStore
    objects: ObjectStore
    queue: Queue


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How chunks are built.

    Attributes
    ----------
    max_strip_bytes
        Bound on the voxels in memory; at least one row of supercuboids is held.
    keep_input
        Whether files in drop folders are kept once they are stored.
    """

    max_strip_bytes: int = STRIP_BYTES
    keep_input: bool = True


class ChunkBuilder:
    """Builds chunks, completes jobs, and starts the propagation of those that ask for it."""

    def __init__(
        self,
        ledger: Ledger,
        stores: Stores,
        catalog: Catalog,
        writer: VoxelWriter,
        propagate: Propagate,
        options: BuildOptions | None = None,
    ) -> None:
        self._ledger = ledger
        self._stores = stores
        self._catalog = catalog
        self._propagate = propagate
        self._options = options or BuildOptions()
        self._composer = Composer(ledger, stores.drop, writer, self._options.max_strip_bytes)

    def build(self, job_id: str, generation: int, number: int, attempt: int = 1) -> None:
        """Build a chunk whose parts are complete, and complete the job with the last chunk.

        Nothing happens if the job has ended, if the message is of an older generation, or if parts
        are missing (unless the job is closed: then its policy decides about them).

        A chunk is quarantined if another attempt would only fail again, or if too many attempts
        failed or did not finish: all its parts become faults, and the job's policy decides.

        Parameters
        ----------
        attempt
            Number of this attempt, from 1; more than 1 if an earlier one did not finish.

        Raises
        ------
        OutOfBoundsError
            The job has no such chunk.
        StoresFailedError
            A store failed too often.
        NDLambdaError
            A store failed, or the channel accepts no writes now; worth a retry.
        """
        job = self._ledger.find(job_id)
        if job is None or job.generation != generation or not job.state.takes_input:
            return
        target = self._target(job)
        if target is None:
            return
        chunk = target.grid(job).chunk(number)
        is_new = self._try(job, target, chunk, attempt)
        if is_new is None:
            return
        built = self._ledger.built(job, target.grid(job).count)
        if is_new or not built.has(number):  # a crash before ``enter`` is retried
            self._clear_mended_faults(job, number)
            self._delete_input(job, number)
        built.enter(number)
        self.complete(job)

    def complete(self, job: Job) -> bool:
        """End a job if all of its chunks are built; return whether this call ended it."""
        target = self._target(job)
        if target is None or not self._ledger.built(job, target.grid(job).count).is_full():
            return False

        def to(current: Job) -> Job | None:
            # Read after the job: a repair of a slice changes the job last.
            if current.state is not State.INGESTING or current.generation != job.generation:
                return None
            states = [state for _, state in self._ledger.states(job)]
            if not all(state.built for state in states):  # a chunk was reopened
                return None
            faulty = any(True for _ in self._ledger.faults(job))
            ending = State.COMPLETE_WITH_ERRORS if faulty else State.COMPLETE
            ended = current.with_state(ending, self._ledger.now())
            return replace(ended, digest=root_digest(state.digest for state in states))

        ended = self._ledger.change(job, to)
        if ended is None:
            return False
        self.follow_up(ended)
        return True

    def follow_up(self, job: Job) -> None:
        """Start the propagation that a completed job asks for, once each time that it completes."""

        def to(current: Job) -> Job | None:
            # A job that was resumed meanwhile is propagated again when it completes.
            return replace(current, propagated=True) if current.version == job.version else None

        if job.state.is_complete and job.propagate and not job.propagated:
            self._propagate(job)
            self._ledger.change(job, to)

    def fail(self, job: Job, reason: str, *faults: Fault) -> None:
        """Mark a job as failed until its input is repaired.

        With faults as the reason, nothing happens if all were repaired meanwhile.
        """

        def to(current: Job) -> Job | None:
            if not current.state.takes_input or current.generation != job.generation:
                return None
            left = [self._ledger.fault(job, each.chunk, each.part) for each in faults]
            if faults and not any(left):
                return None
            return current.with_state(State.FAILED, self._ledger.now(), reason)

        self._ledger.change(job, to)

    def refuse(self, job: Job, fault: Fault) -> None:
        """Record a part that cannot be obtained; under the policy ``FAIL`` the job fails.

        Nothing happens if the part was received meanwhile.
        """
        if self._record_fault_if_current(job, fault) and job.on_bad is Policy.FAIL:
            self.fail(job, fault.error, fault)

    def _target(self, job: Job) -> Target | None:
        try:
            return Target.of(job, self._catalog)
        except InvalidStateError as error:
            self.fail(job, error.message)
            return None

    def _try(self, job: Job, target: Target, chunk: Chunk, attempt: int) -> bool | None:
        """Build a chunk, or quarantine it; see ``_build_until_settled``."""
        try:
            with self._ledger.attempts(job).track(chunk.number, attempt):
                return self._build_until_settled(job, target, chunk)
        except NDLambdaError as error:
            if error.retryable or isinstance(error, StoresFailedError):
                raise
            return self._quarantine(job, chunk, error)

    def _build_until_settled(self, job: Job, target: Target, chunk: Chunk) -> bool | None:
        """Write a chunk and record it as built, with retries until its state is stable.

        Returns
        -------
        bool or None
            True if it was built here, False if by another process; None if it is not built.
        """
        wrote = ""
        for _ in optimistic(_ATTEMPTS):
            state = self._ledger.state(job, chunk.number)
            if state.built and (wrote in {"", state.digest} or state.is_quarantined(chunk)):
                return False
            if not (state.is_ready(chunk) or job.closed):
                return None
            try:
                wrote, is_new = self._settle(job, target, chunk, state)
            except Superseded:
                return None
            if is_new:
                return True
        raise WriteContentionError(f"Chunk {chunk.number} of job {job.id} keeps changing.")

    def _settle(
        self, job: Job, target: Target, chunk: Chunk, state: ChunkState
    ) -> tuple[str, bool]:
        """Write the voxels of a chunk's parts, and record the chunk as built.

        A builder that lost a race may have overwritten the recorded voxels with those of a replaced
        part. So it writes again until what it wrote is what is recorded.

        Returns
        -------
        wrote, settled
            The digest of what was written, ``_PARTLY`` if that is not of one state; whether the
            chunk was recorded.

        Raises
        ------
        Superseded
            Nothing more is to be done now.
        """
        parts = self._ledger.parts(job, chunk.number)
        # The parts of a stored chunk may be deleted; they do not count as missing.
        asked = replace(job, closed=False) if state.built else job
        try:
            built = self._composer.write(asked, target, chunk, parts, state)
        except StateChanged:
            return _PARTLY, False
        except PartReplaced as error:
            self._record_replaced(job, chunk, error.part)
            return _PARTLY, False
        except (PartMissing, PartRejected, ReadOnlyChannelError, InvalidStateError) as error:
            if state.built:
                raise Superseded from error
            return _PARTLY, self._give_up(job, chunk, state, error)
        wrote = built.digests.digest
        if state.built or not self._record_all(job, built.faults):
            return wrote, False
        bad = frozenset(fault.part for fault in built.faults)
        settled = replace(state, bad=bad, stored_bytes=built.stored_bytes)
        return wrote, self._put_built(job, chunk, settled, built.digests)

    def _record_replaced(self, job: Job, chunk: Chunk, part: Part) -> None:
        """Record the current object under a part's key before its notification arrives.

        Otherwise a chunk could be recorded as built from a part that was never read.

        Raises
        ------
        Superseded
            The job accepts no input any more and keeps what is stored.
        """
        now = self._ledger.find(job.id)
        if now is None or now.generation != job.generation or not now.state.takes_input:
            raise Superseded
        self._ledger.reopen(job, chunk.number, part.number)  # first, as the part registry does
        self._ledger.record_part(job, chunk, part)

    def _put_built(self, job: Job, chunk: Chunk, state: ChunkState, digests: ChunkDigests) -> bool:
        """Record a chunk as built unless it has changed; return whether it was recorded."""
        key = digests_key(job.id, chunk.number, digests.digest)
        self._stores.objects.put(key, digests.encode(), Overwrite())
        state = replace(state, built=True, digest=digests.digest)
        return self._ledger.put_state(job, chunk.number, state)

    def _quarantine(self, job: Job, chunk: Chunk, error: NDLambdaError) -> bool | None:
        """Mark all parts of a chunk that cannot be stored as bad; see ``_build_until_settled``.

        The part at fault is unknown. The chunk has no digests, since what an earlier attempt wrote
        is unknown, too.
        """
        _log.error("chunk %d of ingest job %s is quarantined", chunk.number, job.id, exc_info=error)
        state = self._ledger.state(job, chunk.number)
        if state.built:
            return False
        reason = f"Chunk {chunk.number} of the job cannot be stored. {error.message}"
        faults = [
            Fault(chunk.number, part.number, part.key, reason, part.etag)
            for part in self._ledger.parts(job, chunk.number).values()
        ]
        if not self._record_all(job, faults):
            return None
        self._ledger.attempts(job).reset(chunk.number)  # repaired input gets all attempts again
        settled = replace(state, bad=frozenset(chunk.parts))
        if job.on_bad is not Policy.FAIL:
            if self._put_built(job, chunk, settled, ChunkDigests()):
                return True
        elif self._ledger.state(job, chunk.number).version == state.version:
            self.fail(job, reason)
            return None
        for fault in faults:  # a slower worker stored it, or a part was received
            self._ledger.clear_fault(job, fault.chunk, fault.part)
        return None

    def _give_up(self, job: Job, chunk: Chunk, state: ChunkState, error: Exception) -> bool:
        """Record why a chunk cannot be built; False if the cause was resolved meanwhile.

        Raises
        ------
        Superseded
            Nothing more is to be done now.
        """
        if self._ledger.state(job, chunk.number).version != state.version:
            return False  # another builder stored it, and perhaps deleted the parts
        match error:
            case PartMissing():
                self._ledger.forget_parts(
                    job, chunk.number, self._missing_parts(job, chunk.number), state
                )
            case PartRejected(reason=reason, faults=faults):
                if not self._record_all(job, faults):
                    return False
                self.fail(job, reason, *faults)
            case ReadOnlyChannelError(message=reason):
                self.fail(job, reason)
        # While the channel is being propagated the chunk waits; the sweeper enqueues it again.
        raise Superseded from error

    def _missing_parts(self, job: Job, number: int) -> set[int]:
        """Return all missing parts of a chunk, so that users are asked for all of them at once."""
        parts = self._ledger.parts(job, number).values()
        return {part.number for part in parts if etag_of(self._stores.drop, part.key) is None}

    def _record_all(self, job: Job, faults: Iterable[Fault]) -> bool:
        """Record every fault that is current; return whether all of them are."""
        are_current = [self._record_fault_if_current(job, fault) for fault in faults]
        return all(are_current)

    def _record_fault_if_current(self, job: Job, fault: Fault) -> bool:
        """Record a fault unless the part was replaced meanwhile; return whether it was recorded."""
        self._ledger.add_fault(job, fault)
        part = self._ledger.part(job, fault.chunk, fault.part)
        if part is None or part.etag == fault.etag:
            return True
        self._ledger.clear_fault(job, fault.chunk, fault.part)
        return False

    def _clear_mended_faults(self, job: Job, number: int) -> None:
        """Clear faults recorded for parts that are used now."""
        state = self._ledger.state(job, number)
        if not (state.built and state.reopened):
            return
        parts = self._ledger.parts(job, number)
        for fault in list(self._ledger.faults(job, number)):
            part = parts.get(fault.part)
            if fault.part not in state.bad and part is not None and part.etag == fault.etag:
                self._ledger.clear_fault(job, number, fault.part)

    def _delete_input(self, job: Job, number: int) -> None:
        """Delete the parts of a stored chunk, unless they are to be kept.

        Uploads to a job are copies and never kept. All parts of a chunk with a bad slice stay,
        since they are needed again when it is repaired, and so does an object that was replaced
        since. All parts of a chunk with a replaced slice stay, too: a slower builder that wrote the
        replaced slice needs them to write the chunk again.
        """
        is_kept = self._options.keep_input and job.folder != job_folder(job.id)
        state = self._ledger.state(job, number)
        if is_kept or state.bad or state.reopened:
            return
        for part in self._ledger.parts(job, number).values():
            if etag_of(self._stores.drop, part.key) == part.etag:
                self._stores.drop.delete(part.key)
