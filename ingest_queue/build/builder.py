"""Building chunks: from parts in the drop store to supercuboids, exactly once in effect.

Everything here may be done twice, at the same time too: voxels are written by conditional
replacement and come out the same, digests are determined by the input, and the sets of what is done
only grow. A process may die between any two steps; whoever comes next carries on.

But for one order of things: a builder stalls between its last look at the chunk and its write, the
slice is replaced, another builder stores the newer one, the job completes, and only then the first
writes, and dies before it looks again. Voxels of the older slice then lie under the digest of the
newer one, which ``verify`` tells. A row read before each conditional put would close it, in every
write of every chunk. To repair it after the end could undo what people have painted since.
"""

import logging
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
"""Voxels of a chunk that are held at once; planes of larger slabs are decoded strip by strip."""

_ATTEMPTS = 16
_PARTLY = "partly"

_log = logging.getLogger("ndlambda.ingest")


class Propagate(Protocol):
    """Starts the propagation of a channel that a job has filled."""

    def __call__(self, job: Job) -> None:
        """Start it; harmless where it runs already."""
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """Where voxels come from, where digests go, and what wakes builders."""

    drop: ObjectStore
    objects: ObjectStore
    queue: Queue


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How chunks are built.

    Attributes
    ----------
    strip_bytes
        Bound on the voxels held at once; at least one row of supercuboids is.
    keep_input
        Whether what was dropped into folders stays when it is stored; else it is deleted.
    """

    strip_bytes: int = STRIP_BYTES
    keep_input: bool = True


class ChunkBuilder:
    """Builds chunks and completes jobs.

    Parameters
    ----------
    ledger, stores, catalog, writer
        Where things are.
    propagate
        Called for completed jobs that ask for it.
    options
        Bounds, and what becomes of the input.
    """

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
        self._composer = Composer(ledger, stores.drop, writer, self._options.strip_bytes)

    def build(self, job_id: str, generation: int, number: int, attempt: int = 1) -> None:
        """Build a chunk whose parts have come, and complete the job with the last one.

        Nothing happens where the job has ended or was called again since the message, or where
        parts are missing (unless the job is closed: then its policy says what becomes of them).

        A chunk that would only fail again, has failed too often, or was begun too often by workers
        that were never heard of again is set aside: all its parts are faults, and the job's policy
        says what becomes of it.

        Parameters
        ----------
        attempt
            The how-manieth try this is, from 1; more means that one before came to no end.

        Raises
        ------
        OutOfBoundsError
            The job has no such chunk.
        NDLambdaError
            A store failed, or the channel takes no writes now: to be tried again.
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
        if is_new or not built.has(number):  # who dies before it is entered is called for again
            self._forget_mended(job, number)
            self._tidy(job, number)
        built.enter(number)
        self.complete(job)

    def complete(self, job: Job) -> bool:
        """End a job all of whose chunks are built, and return whether it was this call that did."""
        target = self._target(job)
        if target is None or not self._ledger.built(job, target.grid(job).count).is_full():
            return False

        def to(current: Job) -> Job | None:
            # All is looked up here, after the job: who mends a slice changes it last.
            if current.state is not State.INGESTING or current.generation != job.generation:
                return None
            states = [state for _, state in self._ledger.states(job)]
            if not all(state.built for state in states):  # one was opened again
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
        """Start the propagation that a completed job asks for, once."""
        if job.state.is_complete and job.propagate and not job.propagated:
            self._propagate(job)
            self._ledger.change(job, lambda current: replace(current, propagated=True))

    def fail(self, job: Job, reason: str, fault: Fault | None = None) -> None:
        """End a job that cannot go on until somebody mends something.

        Where a fault is the reason, nothing happens if that was mended meanwhile.
        """

        def to(current: Job) -> Job | None:
            if not current.state.takes_input or current.generation != job.generation:
                return None
            if fault is not None and self._ledger.fault(job, fault.chunk, fault.part) is None:
                return None
            return current.with_state(State.FAILED, self._ledger.now(), reason)

        self._ledger.change(job, to)

    def refuse(self, job: Job, fault: Fault) -> None:
        """Record a part that cannot be had; where the policy is to fail, the job ends of it.

        Nothing happens if the part has come meanwhile.
        """
        if self._stands(job, fault) and job.on_bad is Policy.FAIL:
            self.fail(job, fault.error, fault)

    # inside

    def _target(self, job: Job) -> Target | None:
        try:
            return Target.of(job, self._catalog)
        except InvalidStateError as error:
            self.fail(job, error.message)
            return None

    def _try(self, job: Job, target: Target, chunk: Chunk, attempt: int) -> bool | None:
        """Build a chunk, or set it aside where that is no use; as ``_bring_about``."""
        try:
            with self._ledger.tries(job).trying(chunk.number, attempt):
                return self._bring_about(job, target, chunk)
        except NDLambdaError as error:
            if error.retryable:
                raise
            return self._set_aside(job, chunk, error)

    def _bring_about(self, job: Job, target: Target, chunk: Chunk) -> bool | None:
        """Write a chunk and note that it is built.

        Returns
        -------
        bool or None
            Whether it was done here, or by another process; None where it is not built now.

        Raises
        ------
        NDLambdaError
            As ``build``.
        """
        wrote = ""
        for _ in optimistic(_ATTEMPTS):
            state = self._ledger.state(job, chunk.number)
            if state.built and (wrote in {"", state.digest} or state.is_set_aside(chunk)):
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
        """Write what a chunk's parts hold, and enter that it is built.

        Who lost to another may have written voxels of a part that was replaced over those that
        the other has entered. So it writes once more, until it wrote what is entered.

        Returns
        -------
        wrote, settled
            The digest of what was written, ``_PARTLY`` where it was not all of one state; False
            where the chunk changed meanwhile.

        Raises
        ------
        Stop
            Nothing more is to be done now.
        """
        parts = self._ledger.parts(job, chunk.number)
        # Where it is stored its parts may be deleted, which is no reason to take them for missing.
        asked = replace(job, closed=False) if state.built else job
        try:
            built = self._composer.write(asked, target, chunk, parts, state)
        except StateChanged:
            return _PARTLY, False
        except PartReplaced as error:
            self._enter_replaced(job, chunk, error.part)
            return _PARTLY, False
        except (PartMissing, PartRejected, ReadOnlyChannelError, InvalidStateError) as error:
            if state.built:
                raise Superseded from error
            return _PARTLY, self._give_up(job, chunk, state, error)
        wrote = built.digests.digest
        if state.built or sum(self._stands(job, f) for f in built.faults) < len(built.faults):
            return wrote, False
        bad = frozenset(fault.part for fault in built.faults)
        settled = replace(state, bad=bad, stored_bytes=built.stored_bytes)
        return wrote, self._put_built(job, chunk, settled, built.digests)

    def _enter_replaced(self, job: Job, chunk: Chunk, part: Part) -> None:
        """Enter what lies under the key of a part now, whose notification is still to come.

        Otherwise a chunk could be entered as built of a part that nobody has read.

        Raises
        ------
        Stop
            The job takes nothing more: what was stored of the part is what it has.
        """
        now = self._ledger.find(job.id)
        if now is None or now.generation != job.generation or not now.state.takes_input:
            raise Superseded
        self._ledger.reopen(job, chunk.number, part.number)  # first, as the intake does
        self._ledger.see(job, chunk, part)

    def _put_built(self, job: Job, chunk: Chunk, state: ChunkState, digests: ChunkDigests) -> bool:
        """Note that a chunk is built, unless it changed since; return whether that was noted."""
        key = digests_key(job.id, chunk.number, digests.digest)
        self._stores.objects.put(key, digests.encode(), Overwrite())
        state = replace(state, built=True, digest=digests.digest)
        return self._ledger.put_state(job, chunk.number, state)

    def _set_aside(self, job: Job, chunk: Chunk, error: NDLambdaError) -> bool | None:
        """Note a chunk that cannot be stored as one of no use; as ``_bring_about``.

        Which of its parts is to blame nobody knows. It has no digests, since of what was written
        before nobody knows either.
        """
        _log.error("chunk %d of ingest job %s is set aside", chunk.number, job.id, exc_info=error)
        state = self._ledger.state(job, chunk.number)
        if state.built:
            return False
        reason = f"Chunk {chunk.number} of the job cannot be stored. {error.message}"
        faults = [
            Fault(chunk.number, part.number, part.key, reason, part.etag)
            for part in self._ledger.parts(job, chunk.number).values()
        ]
        if sum(self._stands(job, fault) for fault in faults) < len(faults):
            return None
        self._ledger.tries(job).forget(chunk.number)  # what mends it may fail a few times, too
        settled = replace(state, bad=frozenset(chunk.parts))
        if job.on_bad is not Policy.FAIL:
            if self._put_built(job, chunk, settled, ChunkDigests()):
                return True
        elif self._ledger.state(job, chunk.number).version == state.version:
            self.fail(job, reason)
            return None
        for fault in faults:  # a slower worker has stored it, or a part came
            self._ledger.clear_fault(job, fault.chunk, fault.part)
        return None

    def _give_up(self, job: Job, chunk: Chunk, state: ChunkState, error: Exception) -> bool:
        """Note why a chunk cannot be built; False where a part is there now that was no use.

        Raises
        ------
        Stop
            Nothing more is to be done now.
        """
        if self._ledger.state(job, chunk.number).version != state.version:
            return False  # another has stored it, and perhaps deleted the parts
        match error:
            case PartMissing():
                self._ledger.unsee(job, chunk.number, self._gone(job, chunk.number), state)
            case PartRejected(fault=fault):
                if not self._stands(job, fault):
                    return False
                self.fail(job, fault.error, fault)
            case ReadOnlyChannelError(message=reason):
                self.fail(job, reason)
        # A channel being propagated is waited for: the sweeper calls again.
        raise Superseded from error

    def _gone(self, job: Job, number: int) -> set[int]:
        """Return all missing parts of a chunk: one at a time, each would be asked for alone."""
        parts = self._ledger.parts(job, number).values()
        return {part.number for part in parts if etag_of(self._stores.drop, part.key) is None}

    def _stands(self, job: Job, fault: Fault) -> bool:
        """Record a fault, unless the part was replaced while it was looked at."""
        self._ledger.add_fault(job, fault)
        part = self._ledger.part(job, fault.chunk, fault.part)
        if part is None or part.etag == fault.etag:
            return True
        self._ledger.clear_fault(job, fault.chunk, fault.part)
        return False

    def _forget_mended(self, job: Job, number: int) -> None:
        """Clear the faults of parts that were no use while another one was not mended."""
        state = self._ledger.state(job, number)
        if not (state.built and state.reopened):
            return
        parts = self._ledger.parts(job, number)
        for fault in list(self._ledger.faults(job, number)):
            part = parts.get(fault.part)
            if fault.part not in state.bad and part is not None and part.etag == fault.etag:
                self._ledger.clear_fault(job, number, fault.part)

    def _tidy(self, job: Job, number: int) -> None:
        """Delete what a stored chunk was made of, unless it is to be kept.

        What was uploaded to a job is a copy, and never kept. All of a chunk with a bad slice stays,
        since it is needed again when that is mended, and so does an object that was replaced since.
        All of a chunk with a replaced slice stays, too: a slower builder that has written what was
        replaced needs it to mend that.
        """
        is_kept = self._options.keep_input and job.folder != job_folder(job.id)
        state = self._ledger.state(job, number)
        if is_kept or state.bad or state.reopened:
            return
        for part in self._ledger.parts(job, number).values():
            if etag_of(self._stores.drop, part.key) == part.etag:
                self._stores.drop.delete(part.key)
