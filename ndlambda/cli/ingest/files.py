"""Sends slices to a job as files; the server decodes them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from ingest_queue.jobs.grid import Chunk
from ingest_queue.sources.slices import SliceSource
from ndlambda.cli.ingest.parts import Parts
from ndlambda.cli.ingest.slabs import MAX_THREADS, BadPlane, Memory
from ndlambda.cli.ingest.transfer import Sent, Transfer
from ndlambda.client.ingest import UNDER_WAY
from ndlambda.errors import PayloadTooLargeError

_ENDED: Final = frozenset({"FAILED", "CANCELLED"})
_COPIES: Final = 2
"""Copies of a file in memory while it is sent."""


@dataclass(frozen=True, slots=True)
class _Slice:
    chunk: Chunk
    number: int
    file: Path | None


def send_files(transfer: Transfer, source: SliceSource) -> Sent:
    """Send every slice that the job lacks (and those with faults, if it is to be repaired).

    Raises
    ------
    MalformedBodyError
        A file cannot be read.
    InvalidStateError
        The job accepts no more data.
    """
    sent, parts = Sent(), Parts(transfer.client, transfer.job_id)
    zeros = source.zero_file() if None in source.files else b""

    def send(each: _Slice) -> tuple[int, int | None]:
        x, y, _ = each.chunk.box.shape_xyz
        name = f"{each.number:06d}{'.tif' if each.file is None else each.file.suffix.lower()}"
        try:
            body = zeros if each.file is None else each.file.read_bytes()
            is_sent = parts.send(each.chunk.number, name, body)
        except (OSError, PayloadTooLargeError) as error:
            z = each.number - transfer.upload.volume.box.start_xyz[2]
            bad = BadPlane(each.chunk.time_point, z, f"{each.file} cannot be sent ({error}).")
            transfer.report_unreadable(sent, [bad])
            return x * y, 0
        return x * y, len(body) if is_sent else None

    ingest = transfer.client.ingest
    numbers = set(ingest.missing(transfer.job_id))
    if transfer.repairs:
        faults = ingest.errors(transfer.job_id)
        numbers.update(fault["part"] for fault in faults if fault["part"] is not None)
    width, height, _ = transfer.grid.box.shape_xyz
    slices = _slices(transfer, source, sorted(numbers))
    threads = _threads(transfer.memory, source)
    transfer.send_all(send, slices, sent, len(numbers) * width * height, threads)
    if sent.unreadable:
        ingest.complete(transfer.job_id)
    if transfer.repairs and ingest.get(transfer.job_id)["state"] not in UNDER_WAY:
        # The notifications are still under way, or the same unusable files were sent again.
        ingest.retry(transfer.job_id)
    return sent


def _slices(transfer: Transfer, source: SliceSource, numbers: Iterable[int]) -> Iterator[_Slice]:
    """Iterate over slices, slab by slab, until the job has failed or was cancelled."""
    time_point = transfer.grid.times[0]
    first = transfer.upload.corner_xyz[2]
    slabs = groupby(numbers, lambda z: transfer.grid.of_slice(time_point, z))
    for chunk, slab in slabs:
        ended = transfer.client.ingest.get(transfer.job_id)["state"] in _ENDED
        if ended and not transfer.repairs:
            return
        for z in slab:
            yield _Slice(chunk, z, source.files[z - first])


def _threads(memory: Memory, source: SliceSource) -> int:
    largest = max(1, *source.file_sizes)
    return max(1, min(MAX_THREADS, memory.max_bytes // 2 // (_COPIES * largest)))
