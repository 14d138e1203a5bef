"""Ingest jobs: ndstore's ``/ingest/…`` and ``/v1/ingest/…`` over the same functions.

Under ``/ingest`` jobs also have ndstore's fields, and every client error is 400.
"""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any

from werkzeug.wrappers import Response

from ingest_queue.images.decoder import SUFFIXES
from ingest_queue.jobs.chunk_state import STRAYS, Fault
from ingest_queue.jobs.grid import DATA, PLANES, Chunk
from ingest_queue.jobs.job import Job, Mode, State
from ingest_queue.jobs.keys import part_key
from ingest_queue.jobs.target import Target
from ingest_queue.jobs.user_jobs import FAULT_POSITION, JOB_POSITION
from ingest_queue.requests.job_config import JobConfig
from ndlambda.errors import InvalidArgumentError, InvalidStateError, OutOfBoundsError
from ndlambda.stores.ports import Overwrite
from ndlambda.web.ingest.job import (
    chunk_fields,
    find_job,
    find_target,
    idempotent_job_id,
    job_fields,
    legacy_fields,
    progress_fields,
    ranges_of,
)
from ndlambda.web.problem import Dialect
from ndlambda.web.request.body import open_voxels
from ndlambda.web.request.json_body import json_object
from ndlambda.web.request.page import MAX_PAGE, PAGE, read_after, read_limit
from ndlambda.web.request.query import check_parameters, read_integer
from ndlambda.web.response.delivery import deliver, deliver_json
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, QueryParameter, Route, View

_EXPIRES_S = 3600
_MAX_CHUNKS = 10_000
_MAX_UPLOADS = 1000
_LEGACY_JOBS = 100
"""Jobs listed under ``/ingest`` if no limit is given."""
_MAX_SHARDS = 10_000
_SHARD = re.compile(r"(\d{1,5})/(\d{1,5})", re.ASCII)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Characters that start a formula in a spreadsheet, unless an apostrophe precedes them."""
_FAULT_FORMATS = ("text/csv", "application/json")
_SLICE = re.compile(r"(\d{1,12})(\.[a-z0-9]+)", re.ASCII)
_BOXES = (".blosc", ".npy")
_MENDABLE = frozenset({State.FAILED, State.COMPLETE_WITH_ERRORS})
"""States in which a job accepts no new input, but still accepts parts that repair its faults."""

_SPAN = (
    QueryParameter("after", "the chunk after which to start: `next` of the previous response"),
    QueryParameter(
        "shard", "`i/n`: only the i-th (from 0) of n equal parts of the job, one per uploader"
    ),
)
_CHUNKS = (*_SPAN, QueryParameter("limit", f"chunks in one response; {_MAX_CHUNKS} at most"))
_UPLOADS = (
    *_SPAN,
    QueryParameter(
        "limit", f"uploads in one response, about; 100 if left out, {_MAX_UPLOADS} at most"
    ),
    QueryParameter(
        "suffix", "format of the parts: png, tif, … for slices; blosc or npy for chunks"
    ),
)


def create_job(context: Context) -> Response:
    """Create a job; requests with the same ``Idempotency-Key`` create only one."""
    config = JobConfig.read(json_object(context.request))
    access, principal = context.runtime.access, context.principal
    if config.token:
        view = access.open(config.token, principal, write=True)
    else:
        view = access.open_project(config.dataset, config.project, principal)
    # An anonymously writable token opens without a key, but a job needs an owner.
    owner_id = access.owner_id_of(principal)
    spec = config.spec(view, idempotent_job_id(context, owner_id))
    return _answer(context, context.runtime.ingest.jobs.create(view, owner_id, spec), 201)


def list_jobs(context: Context) -> Response:
    """List the caller's jobs, newest first, page by page."""
    check_parameters(context.request, PAGE)
    owner_id = context.runtime.access.owner_id_of(context.principal)
    query, is_v1 = context.request.args, _is_v1(context)
    limit = read_limit(query, default=MAX_PAGE if is_v1 else _LEGACY_JOBS)
    ingest = context.runtime.ingest.jobs
    found = ingest.ledger.of_user.newest(owner_id, read_after(query, JOB_POSITION), limit)
    targets = Target.of_all(found.items, context.runtime.catalog)
    entries = [_list_entry(context, job, targets.get(job.id)) for job in found.items]
    body = {"jobs": entries, "next": found.next} if is_v1 else {"ingest_jobs": entries}
    return deliver_json(context, body)


def get_job(context: Context, job: str) -> Response:
    """Return a job and its progress."""
    return _answer(context, find_job(context, job))


def cancel_job(context: Context, job: str) -> Response:
    """Cancel a job; repeating it is harmless."""
    context.runtime.ingest.jobs.cancel(find_job(context, job))
    return Response(status=204)


def retry_job(context: Context, job: str) -> Response:
    """Resume a job that failed or has faults."""
    return _answer(context, context.runtime.ingest.fetcher.retry(find_job(context, job)), 202)


def complete_job(context: Context, job: str) -> Response:
    """Record that no more input will come."""
    found = find_job(context, job)
    _check_not_cancelled(found)
    context.runtime.ingest.jobs.target(found)  # refuses a job whose channel is gone
    context.runtime.ingest.jobs.registry.close(found)
    return _answer(context, context.runtime.ingest.jobs.ledger.get(found.id), 202)


def list_missing(context: Context, job: str) -> Response:
    """Return the missing parts, as one list and by chunk."""
    check_parameters(context.request, _CHUNKS)
    found = find_job(context, job)
    limit = _limit(context, _MAX_CHUNKS, _MAX_CHUNKS)
    target = context.runtime.ingest.jobs.target(found)
    page = list(islice(_lacking(context, found), limit))
    is_slices = found.mode is Mode.SLICES
    chunks = [
        chunk_fields(chunk, target) | ({"slices": ranges_of(parts)} if is_slices else {})
        for chunk, parts in page
    ]
    flat = [n for chunk, parts in page for n in (parts if is_slices else [chunk.number])]
    following = page[-1][0].number if len(page) == limit else None
    return deliver_json(context, {"missing": flat, "chunks": chunks, "next": following})


def issue_upload_urls(context: Context, job: str) -> Response:
    """Return URLs for the parts that are missing or unusable."""
    check_parameters(context.request, _UPLOADS)
    found = find_job(context, job)
    _check_not_cancelled(found)
    suffix = _suffix(found, context.request.args.get("suffix"))
    limit = _limit(context, 100, _MAX_UPLOADS)
    uploads: list[dict[str, Any]] = []
    following = None
    for chunk, parts in context.runtime.ingest.jobs.needed_parts(found, *_span(context)):
        if len(uploads) >= limit:
            break
        uploads += [_upload(context, found, chunk, part, suffix) for part in parts]
        following = chunk.number
    else:
        following = None
    body = {"uploads": uploads, "expires_s": _EXPIRES_S, "next": following}
    answer = deliver_json(context, body)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def put_part(context: Context, job: str, chunk: int, name: str) -> Response:
    """Store a slice, or a box of voxels."""
    found = find_job(context, job)
    _check_takes_parts(found)
    ingest = context.runtime.ingest.jobs
    target = ingest.target(found)
    place = target.grid(found).chunk(chunk)
    key = part_key(found.id, chunk, _part_name(found, place, name))
    depth, height, width = place.box.shape_zyx
    planes = 1 if found.mode is Mode.SLICES else depth
    voxel_bytes = planes * height * width * target.channel.dtype.itemsize
    request_body = open_voxels(context, target.channel, voxel_bytes)
    with context.runtime.volume.budget.hold(request_body.size_bytes):
        etag = ingest.stores.drop.put(key, request_body.read(), Overwrite())
    context.runtime.ingest.drop.on_object_created(key)
    return json_response({"key": key, "etag": etag}, 201)


def list_errors(context: Context, job: str) -> Response:
    """List the faults of a job's input: all as CSV, or a page as JSON if the client prefers it."""
    check_parameters(context.request, PAGE)
    found = find_job(context, job)
    target = find_target(context, found)
    ingest, query = context.runtime.ingest.jobs, context.request.args
    after, limit = read_after(query, FAULT_POSITION), read_limit(query)
    accepted = context.request.accept_mimetypes
    as_json = accepted.best_match(_FAULT_FORMATS, _FAULT_FORMATS[0]) == "application/json"
    if as_json and _is_v1(context):
        page = ingest.ledger.of_user.faults(found, after, limit)
        errors = [_fault_fields(fault, found, target) for fault in page.items]
        return deliver_json(context, {"errors": errors, "next": page.next})
    faults = [_fault_fields(fault, found, target) for fault in ingest.faults(found)]
    if as_json:
        return deliver_json(context, {"errors": faults})
    out = io.StringIO()
    columns = ("chunk", "t", "part", "key", "error", "first_seen", "count")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        fault | {name: _as_text(fault[name]) for name in ("key", "error")} for fault in faults
    )
    headers = {"Content-Disposition": f'attachment; filename="{found.id}-errors.csv"'}
    body = out.getvalue().encode()
    return deliver(context, body, "text/csv; charset=utf-8", headers, ExitStack())


def _is_v1(context: Context) -> bool:
    return context.path.startswith("/v1/")


def _answer(context: Context, job: Job, status: int = 200) -> Response:
    ingest, target = context.runtime.ingest.jobs, find_target(context, job)
    if target is not None and job.state.takes_input and ingest.is_built(job, target):
        ingest.chains.ask(job.id)  # a dead worker left it open: do not wait for the next look
    fields = job_fields(job, target)
    if target is not None:
        fields |= progress_fields(job, ingest.progress(job))
    if not _is_v1(context):
        fields |= legacy_fields(job, target)
    return json_response(fields, status)


def _list_entry(context: Context, job: Job, target: Target | None) -> dict[str, Any]:
    """Return a job's entry in a list; chunks are counted, parts are not."""
    fields = job_fields(job, target)
    if target is not None:
        total = target.grid(job).count
        is_whole = job.state.is_complete
        done = total if is_whole else context.runtime.ingest.jobs.ledger.built(job, total).size()
        fields["chunks"] = {"total": total, "done": done}
    if not _is_v1(context):
        fields |= legacy_fields(job, target)
    return fields


def _limit(context: Context, default: int, maximum: int) -> int:
    limit = read_integer(context.request.args, "limit", default)
    if not 0 < limit <= maximum:
        raise InvalidArgumentError(f"limit={limit} is not from 1 to {maximum}.", parameter="limit")
    return limit


def _lacking(context: Context, job: Job) -> Iterator[tuple[Chunk, list[int]]]:
    return context.runtime.ingest.jobs.missing_parts(job, *_span(context))


def _span(context: Context) -> tuple[int, tuple[int, int]]:
    query = context.request.args
    after = -1 if query.get("after") == "-1" else read_integer(query, "after", -1)
    return after, _shard(query.get("shard", "0/1"))


def _shard(text: str) -> tuple[int, int]:
    match = _SHARD.fullmatch(text)
    if match is None or not int(match[1]) < int(match[2]) <= _MAX_SHARDS:
        raise InvalidArgumentError(
            f"shard={text[:20]!r} is not i/n with i from 0 to n - 1, n at most {_MAX_SHARDS}.",
            parameter="shard",
        )
    return int(match[1]), int(match[2])


def _check_not_cancelled(job: Job) -> None:
    if job.state is State.CANCELLED:
        raise InvalidStateError(f"Ingest job {job.id} was cancelled.", job=job.id)


def _check_takes_parts(job: Job) -> None:
    if job.state not in _MENDABLE:
        job.check_takes_input()


def _suffix(job: Job, requested: str | None) -> str:
    known = SUFFIXES if job.mode is Mode.SLICES else _BOXES
    suffix = known[0] if requested is None else f".{requested.lower().removeprefix('.')}"
    if suffix not in known:
        raise InvalidArgumentError(
            f"suffix={suffix[:20]!r} is none of {', '.join(known)}.", parameter="suffix"
        )
    return suffix


def _part_name(job: Job, chunk: Chunk, name: str) -> str:
    """Return the name that a part is stored under, the same for all of a client's spellings.

    Raises
    ------
    InvalidArgumentError
        It names no part of the chunk.
    """
    if job.mode is Mode.CHUNKS:
        if name not in {f"data{suffix}" for suffix in _BOXES}:
            raise InvalidArgumentError(f"{name[:80]!r} is not data.blosc or data.npy.")
        return name
    match = _SLICE.fullmatch(name.lower())
    if match is None or match[2] not in SUFFIXES:
        raise InvalidArgumentError(
            f"{name[:80]!r} is no slice like 0001.png; images are {', '.join(SUFFIXES)}."
        )
    z = int(match[1])
    if z not in chunk.parts:
        raise OutOfBoundsError(
            f"Slice {z} is not of chunk {chunk.number}, which has {chunk.parts.start} to "
            f"{chunk.parts.stop - 1}."
        )
    return f"{z:06d}{match[2]}"


def _upload(context: Context, job: Job, chunk: Chunk, part: int, suffix: str) -> dict[str, Any]:
    """Return the URL of a part: the store's own, or this server's if the store has none."""
    is_slice = job.mode is Mode.SLICES
    name = f"{part:06d}{suffix}" if is_slice else f"data{suffix}"
    key = part_key(job.id, chunk.number, name)
    url = context.runtime.ingest.jobs.stores.drop.presign("put", key, _EXPIRES_S)
    own = f"{context.request.root_path}/v1/ingest/{job.id}/parts/{chunk.number}/{name}"
    fields: dict[str, Any] = {"chunk": chunk.number, "t": chunk.time_point}
    if is_slice:
        fields["slice"] = part
    return fields | {"method": "PUT", "url": url or own, "with_key": url is None}


def _fault_fields(fault: Fault, job: Job, target: Target | None) -> dict[str, Any]:
    """Return the fields of a fault; a stray file has no chunk, and a whole box has no part."""
    is_stray = fault.chunk == STRAYS
    time_point = part = None
    if target is not None and not is_stray:
        time_point = target.grid(job).chunk(fault.chunk).time_point
        part = fault.part
        if job.mode is Mode.CHUNKS:
            plane = fault.part - PLANES + target.level.offset_xyz[2]
            part = None if fault.part == DATA else plane
    return {
        "chunk": None if is_stray else fault.chunk,
        "t": time_point,
        "part": part,
        "key": fault.key,
        "error": fault.error,
        "first_seen": fault.first_seen,
        "count": fault.count,
    }


def _as_text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


_Row = tuple[str, str, View, str, tuple[QueryParameter, ...], str]
_CONFIG = (
    '{"token", "channel", "resolution", "extent", "mode", "on_bad", "labels", "propagate"}, '
    "or a configuration of the ingest-client: see GET /v1/ingest/schema/job"
)
_ACTIONS: tuple[_Row, ...] = (
    ("POST", "", create_job, "Create an ingest job", (), _CONFIG),
    ("GET", "", list_jobs, "The caller's ingest jobs", PAGE, ""),
    ("GET", "/<segment:job>", get_job, "An ingest job and its progress", (), ""),
    ("DELETE", "/<segment:job>", cancel_job, "Cancel an ingest job; what is stored stays", (), ""),
    ("GET", "/<segment:job>/missing", list_missing, "Missing parts", _CHUNKS, ""),
    (
        "GET",
        "/<segment:job>/credentials",
        issue_upload_urls,
        "URLs, valid for an hour, for parts that are missing or unusable",
        _UPLOADS,
        "",
    ),
    (
        "PUT",
        "/<segment:job>/parts/<number:chunk>/<segment:name>",
        put_part,
        "Send a part of a chunk",
        (),
        "An image file (ZZZZ.png, ZZZZ.tif, …) or a box z, y, x of voxels (data.npy, data.blosc)",
    ),
    ("POST", "/<segment:job>/retry", retry_job, "Resume a job that failed or has faults", (), ""),
    ("POST", "/<segment:job>/complete", complete_job, "Declare the input complete", (), ""),
    ("GET", "/<segment:job>/errors", list_errors, "Faults of the input (CSV)", PAGE, ""),
)

ROUTES = tuple(
    Route(
        method,
        f"{root}{rule}",
        view,
        summary,
        dialect=dialect,
        query=query,
        body=body,
        carries_uploads=view is put_part,
    )
    for root, dialect in (("/ingest", Dialect.INGEST), ("/v1/ingest", Dialect.V1))
    for method, rule, view, summary, query, body in _ACTIONS
)
