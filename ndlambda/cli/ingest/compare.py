"""Compares what a job has stored with its source and with its digests."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ingest_queue.jobs.digests import voxel_digest
from ingest_queue.jobs.grid import Chunk
from ingest_queue.sources import second_reading
from ndlambda.cli.ingest.slabs import BadPlane, Ready
from ndlambda.cli.ingest.transfer import Sent, Transfer
from ndlambda.client import Client
from ndlambda.client.ingest import Document
from ndlambda.client.transport.parallel import bounded_map
from ndlambda.client.transport.progress import reporting
from ndlambda.space.box import Box
from ndlambda.space.shuffle import shuffled


def compare_source(transfer: Transfer) -> Iterator[Document]:
    """Read the source again, by another way if there is one, and iterate over the differences.

    Yields the differences that the server finds (see ``Ingests.verify``), and those between the
    stored voxels and the source, with ``link`` ``source``. If the job continues without unreadable
    planes, these count as zeros.
    """
    yield from transfer.client.ingest.verify(transfer.job_id)["differences"]
    on_unreadable = _ignore if transfer.keep_going else partial(transfer.report_unreadable, Sent())
    slabs = transfer.slabs(on_unreadable)
    again = replace(slabs, source=second_reading(slabs.source))
    ready = again.ready(range(transfer.grid.count))

    def compare(each: Ready) -> tuple[Chunk, list[Document]]:
        return each.chunk, _compare(transfer, each)

    total, channel = transfer.upload.voxels, transfer.upload.volume.channel
    with reporting(True, total, f"verify {channel}") as advance:
        for chunk, differences in bounded_map(compare, ready, threads=transfer.threads):
            yield from differences
            advance(chunk.box.voxels)


def compare_digests(client: Client, job: Document) -> Iterator[Document]:
    """Iterate over the differences between a complete job's stored voxels and its digests."""
    whole = client.ingest.verify(job["id"])
    yield from whole["differences"]
    numbers = shuffled(range(whole["chunks"]))

    def check(number: int) -> list[Document]:
        found = _strips(client, job["id"], number)
        return [difference for checked in found for difference in checked["differences"]]

    with reporting(True, len(numbers), f"verify {job['id']}") as advance:
        for differences in bounded_map(check, numbers, threads=4):
            yield from differences
            advance(1)


def _compare(transfer: Transfer, ready: Ready) -> list[Document]:
    x, y, z = transfer.upload.volume.box.start_xyz
    differences: list[Document] = []
    for checked in _strips(transfer.client, transfer.job_id, ready.chunk.number):
        differences += checked["differences"]
        named = {_box(found).start_xyz for found in checked["differences"]}
        boxes = [_box(stored).shifted((-x, -y, -z)) for stored in checked["supercuboids"]]
        if not boxes:
            continue
        strip = _around(boxes)
        voxels = ready.take(strip)
        for stored, box in zip(checked["supercuboids"], boxes, strict=True):
            expected = voxel_digest(voxels[box.slices_zyx(strip.start_xyz)])
            if stored["blake2b"] != expected and _box(stored).start_xyz not in named:
                differences.append(
                    {
                        "link": "source",
                        "chunk": ready.chunk.number,
                        "time": ready.chunk.time_point,
                        "box": stored["box"],
                        "reason": "The source has other voxels.",
                        "expected": expected,
                        "found": stored["blake2b"],
                    }
                )
    return differences


def _strips(client: Client, job_id: str, chunk: int) -> Iterator[Document]:
    """Iterate over the checks of the strips of a chunk."""
    first = client.ingest.verify(job_id, chunk)
    yield first
    for strip in range(1, first["strips"]):
        yield client.ingest.verify(job_id, chunk, strip)


def _ignore(planes: Sequence[BadPlane]) -> None:
    """Accept unreadable planes as zeros; they were reported to the job when it was sent."""


def _around(boxes: Sequence[Box]) -> Box:
    x0, y0, z0 = map(min, zip(*(box.start_xyz for box in boxes), strict=True))
    x1, y1, z1 = map(max, zip(*(box.stop_xyz for box in boxes), strict=True))
    return Box((x0, y0, z0), (x1, y1, z1))


def _box(document: dict[str, Any]) -> Box:
    (x0, x1), (y0, y1), (z0, z1) = (document["box"][axis] for axis in "xyz")
    return Box((x0, y0, z0), (x1, y1, z1))
