"""A source on its way into a job: sending what did not come, and comparing what is stored."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any, Final

from ingest_queue.digests import voxel_digest
from ingest_queue.grid import Chunk, ChunkGrid
from ndlambda.cli.ingest_slabs import Memory, Ready, Slabs
from ndlambda.cli.upload import Upload
from ndlambda.client import Client, bodies
from ndlambda.client.ingest import Document
from ndlambda.client.parallel import bounded_map
from ndlambda.client.progress import reporting
from ndlambda.errors import InvalidStateError, MalformedBodyError, PermissionDeniedError
from ndlambda.space.box import Box

_SUFFIX: Final = "blosc"
_PATIENCE: Final = 180
"""Seconds in which nothing of what a job misses appears."""


@dataclass(slots=True)
class Sent:
    """What one run has sent."""

    chunks: int = 0
    voxel_bytes: int = 0
    upload_bytes: int = 0
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A source and the job that takes it.

    Attributes
    ----------
    keep_going
        Whether what cannot be read is left to the job's policy; else it ends the run.
    """

    client: Client
    upload: Upload
    job: Document
    grid: ChunkGrid
    memory: Memory
    keep_going: bool = False
    _addresses: dict[int, Document] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def send(self) -> Sent:
        """Send every chunk that the job misses, and tell the job where it cannot be read.

        Raises
        ------
        MalformedBodyError
            Something cannot be read.
        InvalidStateError
            The job takes no data any more.
        """
        sent = Sent()
        missing = list(self.client.ingest.missing(self.job["id"]))
        slabs = self._slabs(sent)
        total = sum(self.grid.chunk(number).box.voxels for number in missing)
        itemsize = self.upload.volume.dtype.itemsize
        with reporting(True, total, f"send {self.upload.volume.channel}") as advance:
            for voxels, length in bounded_map(
                self._send, slabs.ready(missing), threads=self._threads
            ):
                sent.chunks += 1
                sent.voxel_bytes += voxels * itemsize
                sent.upload_bytes += length
                advance(voxels)
        if sent.unreadable:
            self.client.ingest.complete(self.job["id"])
        return sent

    def wait(self) -> Document:
        """Wait until the job has ended and give it.

        Raises
        ------
        InvalidStateError
            Something that was sent is not there any more: run the command again.
        """
        last: Document = self.job
        done = idle = 0
        with reporting(True, self.grid.count, f"store {self.upload.volume.channel}") as advance:
            for last in self.client.ingest.follow(self.job["id"]):
                built = last["chunks"]["done"]
                advance(built - done)
                idle = 0 if built > done else idle + 1
                done = built
                # Notifications may be lost; then a sweep finds what came, within a minute.
                if idle > _PATIENCE and last["first_missing"] is not None and not last["closed"]:
                    raise InvalidStateError(
                        f"Ingest job {last['id']} lost what was sent; run the command again."
                    )
        return last

    def compare(self) -> Iterator[Document]:
        """Read the source again and iterate over what the server has differently.

        Yields the differences that the server finds (see ``Ingests.verify``), and those between
        its voxels and the source's, with ``link`` ``source``.
        """
        ingest = self.client.ingest
        yield from ingest.verify(self.job["id"])["differences"]
        ready = self._slabs(Sent()).ready(range(self.grid.count))
        total = self.upload.voxels
        with reporting(True, total, f"verify {self.upload.volume.channel}") as advance:
            for chunk, differences in bounded_map(self._compare, ready, threads=self._threads):
                yield from differences
                advance(chunk.box.voxels)

    @property
    def _threads(self) -> int:
        x, y, z = self.grid.cell_xyz
        return self.memory.threads(x * y * z * self.upload.volume.dtype.itemsize)

    def _slabs(self, sent: Sent) -> Slabs:
        on_unreadable = partial(self._note_unreadable, sent)
        source, dtype = self.upload.source, self.upload.volume.dtype
        return Slabs(source, self.grid, dtype, self.memory, on_unreadable)

    def _note_unreadable(self, sent: Sent, chunks: list[Chunk], error: MalformedBodyError) -> None:
        if not self.keep_going:
            raise MalformedBodyError(
                f"{error.message} Mend it, and run the command again with --job {self.job['id']}: "
                "what was sent stays sent.",
                **error.details,
            ) from error
        _, _, start = chunks[0].box.start_xyz
        _, _, stop = chunks[0].box.stop_xyz
        offset = self.upload.volume.box.start_xyz[2]
        sent.unreadable.append(f"z {start + offset}:{stop + offset}: {error.message}")

    def _send(self, ready: Ready) -> tuple[int, int]:
        body = bodies.encode_array(ready.load())
        number, limit = ready.chunk.number, self.client.server["limits"]["body_bytes"]
        if limit is None or len(body) <= limit:
            self.client.ingest.upload_part(self.job["id"], number, f"data.{_SUFFIX}", body)
        else:
            self._send_past(number, body)
        return ready.chunk.box.voxels, len(body)

    def _send_past(self, number: int, body: bytes) -> None:
        """Send what is too large for the server to the store behind it."""
        address = self._address(number)
        try:
            self.client.ingest.upload_to(address, body)
        except PermissionDeniedError:  # it has expired
            with self._lock:
                self._addresses.clear()
            self.client.ingest.upload_to(self._address(number), body)

    def _address(self, number: int) -> Document:
        """Give where a chunk can be sent; the server is asked for many at once."""
        with self._lock:
            if number not in self._addresses:
                found = self.client.ingest.addresses(self.job["id"], number - 1, _SUFFIX)
                self._addresses.update({each["chunk"]: each for each in found["uploads"]})
            try:
                return self._addresses.pop(number)
            except KeyError:
                raise InvalidStateError(
                    f"Ingest job {self.job['id']} gave no address for chunk {number}; was it sent "
                    "by somebody else? Run the command again."
                ) from None

    def _compare(self, ready: Ready) -> tuple[Chunk, list[Document]]:
        voxels = ready.load()
        origin = self.upload.volume.box.start_xyz
        differences: list[Document] = []
        for checked in strips(self.client, self.job["id"], ready.chunk.number):
            differences += checked["differences"]
            named = {_box(found).start_xyz for found in checked["differences"]}
            for stored in checked["supercuboids"]:
                box = _box(stored)
                local = box.shifted((-origin[0], -origin[1], -origin[2]))
                expected = voxel_digest(voxels[local.slices_zyx(ready.chunk.box.start_xyz)])
                if stored["blake2b"] != expected and box.start_xyz not in named:
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
        return ready.chunk, differences


def compare_digests(client: Client, job: Document) -> Iterator[Document]:
    """Iterate over what a complete job has stored differently from its digests."""
    whole = client.ingest.verify(job["id"])
    yield from whole["differences"]
    numbers = range(whole["chunks"])

    def check(number: int) -> list[Document]:
        found = strips(client, job["id"], number)
        return [difference for checked in found for difference in checked["differences"]]

    with reporting(True, len(numbers), f"verify {job['id']}") as advance:
        for differences in bounded_map(check, numbers, threads=4):
            yield from differences
            advance(1)


def strips(client: Client, job_id: str, chunk: int) -> Iterator[Document]:
    """Iterate over the checks of the strips of a chunk."""
    first = client.ingest.verify(job_id, chunk)
    yield first
    for strip in range(1, first["strips"]):
        yield client.ingest.verify(job_id, chunk, strip)


def _box(document: dict[str, Any]) -> Box:
    (x0, x1), (y0, y1), (z0, z1) = (document["box"][axis] for axis in "xyz")
    return Box((x0, y0, z0), (x1, y1, z1))
