"""Finds the caller's ingest jobs, and turns jobs into response fields."""

from hashlib import blake2b
from typing import Any

from ingest_queue.jobs.grid import Chunk
from ingest_queue.jobs.job import Job, Mode, State, is_job_id
from ingest_queue.jobs.tally import Progress
from ingest_queue.jobs.target import Target
from ndlambda.errors import InvalidArgumentError, InvalidStateError, NotFoundError
from ndlambda.web.routing import Context

_MAX_KEY_LENGTH = 255

_STATUS = {
    State.CREATED: 1,
    State.INGESTING: 1,
    State.COMPLETE: 2,
    State.COMPLETE_WITH_ERRORS: 2,
    State.CANCELLED: 3,
    State.FAILED: 4,
}
"""ndstore's numbers: 1 uploading, 2 complete, 3 deleted; 4 comes from its successor. 0, preparing,
is never used."""


def find_job(context: Context, job_id: str) -> Job:
    """Return a job of the caller; a superuser may see any job.

    Raises
    ------
    NotFoundError
        There is no such job, or it belongs to another user: the answer is the same.
    """
    job = context.runtime.ingest.jobs.ledger.find(job_id) if is_job_id(job_id) else None
    if job is None or not context.runtime.access.may_manage(context.principal, job.owner_id):
        raise NotFoundError(f"There is no ingest job {job_id[:80]!r} of yours.", job=job_id[:80])
    return job


def idempotent_job_id(context: Context, owner_id: int) -> str:
    """Return the job id derived from the header ``Idempotency-Key``; empty without the header.

    Raises
    ------
    InvalidArgumentError
        The header is empty or too long.
    """
    key = context.request.headers.get("Idempotency-Key")
    if key is None:
        return ""
    if not 0 < len(key) <= _MAX_KEY_LENGTH:
        raise InvalidArgumentError(f"An Idempotency-Key has 1 to {_MAX_KEY_LENGTH} characters.")
    return blake2b(f"{owner_id}\n{key}".encode(), digest_size=8).hexdigest()


def job_fields(job: Job, target: Target | None) -> dict[str, Any]:
    """Return the fields of a job; extent and chunk size are None if its channel was deleted."""
    fields: dict[str, Any] = {
        "id": job.id,
        "state": job.state.value,
        "reason": job.reason,
        "notes": list(job.notes),
        "user": job.owner_id,
        "token": job.token,
        "dataset": job.dataset,
        "project": job.project,
        "channel": job.channel,
        "resolution": job.resolution,
        "mode": job.mode.value,
        "on_bad": job.on_bad.value,
        "propagate": job.propagate,
        "propagated": job.propagated,
        "closed": job.closed,
        "created_at": job.created_at,
        "ended_at": job.ended_at,
        "digest": job.digest,
        "extent": None,
        "chunk_xyz": None,
    }
    if target is not None:
        start, stop = extent_of(target, job)
        fields["extent"] = {axis: [start[i], stop[i]] for i, axis in enumerate("xyzt")}
        fields["chunk_xyz"] = list(target.grid(job).cell_xyz)
    return fields


def extent_of(target: Target, job: Job) -> tuple[list[int], list[int]]:
    """Return start and stop (x, y, z, t) of a job's box in dataset coordinates."""
    box = job.box.shifted(target.level.offset_xyz)
    return [*box.start_xyz, job.times[0]], [*box.stop_xyz, job.times[1]]


def progress_fields(job: Job, progress: Progress) -> dict[str, Any]:
    """Return the progress of a job."""
    first = progress.first_missing
    named = "slice" if job.mode is Mode.SLICES else "chunk"
    return {
        "chunks": {
            "total": progress.chunks,
            "done": progress.chunks_built,
            "partial": progress.chunks_open,
        },
        "parts": {"expected": progress.parts, "seen": progress.parts_received},
        "faults": progress.faults,
        "bytes": {"stored": progress.stored_bytes},
        "first_missing": None if first is None else {"t": first[0], named: first[1]},
    }


def legacy_fields(job: Job, target: Target | None) -> dict[str, Any]:
    """Return the fields that only ndstore's jobs have (ndstore's contract, section 16).

    Clients read no queues here, so the queue names are empty.
    """
    fields: dict[str, Any] = {
        "status": _STATUS[job.state],
        "end_date": job.ended_at,
        "upload_queue": "",
        "ingest_queue": "",
        "cleanup_queue": "",
        "file_type": "",
    }
    if target is None:
        return fields
    tile = job.tile_xyzt or (*job.box.shape_xyz[:2], 1, 1)
    if job.tile_xyzt is None and job.mode is Mode.CHUNKS:
        tile = (*target.grid(job).cell_xyz, 1)
    for axis, start, stop, size in zip("xyzt", *extent_of(target, job), tile, strict=True):
        fields |= {f"{axis}_start": start, f"{axis}_stop": stop, f"tile_size_{axis}": size}
    return fields


def find_target(context: Context, job: Job) -> Target | None:
    """Return where a job writes, or None if its channel was deleted."""
    try:
        return context.runtime.ingest.jobs.target(job)
    except InvalidStateError:
        return None


def chunk_fields(chunk: Chunk, target: Target) -> dict[str, Any]:
    """Return the position of a chunk in dataset coordinates."""
    box = chunk.box.shifted(target.level.offset_xyz)
    spans = zip("xyz", box.start_xyz, box.stop_xyz, strict=True)
    return {
        "chunk": chunk.number,
        "t": chunk.time_point,
        **{axis: [start, stop] for axis, start, stop in spans},
    }


def ranges_of(numbers: list[int]) -> list[list[int]]:
    """Return ascending numbers as half-open ranges."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1][1] = number + 1
        else:
            found.append([number, number + 1])
    return found
