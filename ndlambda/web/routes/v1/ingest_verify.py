"""Verifies the digests of an ingest again: ``/v1/ingest/{id}/verify``."""

from typing import Any

from werkzeug.wrappers import Response

from ingest_queue.build.verify import STRIP_VOXELS, Difference
from ndlambda.errors import InvalidArgumentError
from ndlambda.space.box import Box
from ndlambda.web.ingest.job import find_job
from ndlambda.web.request.query import check_parameters
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, QueryParameter, Route

_MAX_DIGITS = 16
_QUERY = (
    QueryParameter("chunk", "The chunk to read again; without it, the digests up to the job root"),
    QueryParameter("strip", "The strip of the chunk, from 0"),
)


def get_verify(context: Context, job: str) -> Response:
    """Check the chain of digests, or read one strip of a chunk again: a bounded amount of work."""
    check_parameters(context.request, _QUERY)
    found = find_job(context, job)
    chunk, strip = _number(context, "chunk"), _number(context, "strip")
    verifier = context.runtime.ingest.jobs.verifier
    if "chunk" not in context.request.args:
        differences = verifier.check_root(found)
        chunks = context.runtime.ingest.jobs.target(found).grid(found).count
        answer: dict[str, Any] = {"chunks": chunks, "digest": found.digest}
        return json_response(answer | {"differences": [_difference(each) for each in differences]})
    itemsize = context.runtime.ingest.jobs.target(found).channel.dtype.itemsize
    with context.runtime.volume.budget.hold(STRIP_VOXELS * itemsize):
        checked = verifier.check_strip(found, chunk, strip)
    return json_response(
        {
            "chunk": chunk,
            "strips": checked.strips,
            "supercuboids": [
                {"box": _ranges(box), "blake2b": digest}
                for box, digest in checked.supercuboids.items()
            ],
            "differences": [_difference(each) for each in checked.differences],
        }
    )


def _number(context: Context, name: str) -> int:
    text = context.request.args.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise InvalidArgumentError(f"{name}= is a number of a {name}, from 0.")
    return int(text)


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "link": difference.link.value,
        "chunk": difference.chunk,
        "time": difference.time_point,
        "box": _ranges(difference.box),
        "reason": difference.reason,
        "expected": difference.expected,
        "found": difference.found,
    }


def _ranges(box: Box) -> dict[str, list[int]]:
    axes = zip("xyz", box.start_xyz, box.stop_xyz, strict=True)
    return {axis: [start, stop] for axis, start, stop in axes}


ROUTES = (
    Route(
        "GET",
        "/v1/ingest/<segment:job>/verify",
        get_verify,
        "Compare the stored voxels of a complete ingest job with its digests",
        query=_QUERY,
    ),
)
