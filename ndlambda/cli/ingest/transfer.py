"""A source on its way into a job: sending what did not come, and waiting until it is stored."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from ingest_queue.jobs.grid import ChunkGrid
from ndlambda.cli.data.upload import StackUpload
from ndlambda.cli.ingest.parts import Parts
from ndlambda.cli.ingest.slabs import BadPlane, Memory, Ready, Slabs
from ndlambda.client import Client
from ndlambda.client.ingest import COMPLETE, Document
from ndlambda.client.transport.parallel import bounded_map
from ndlambda.client.transport.progress import reporting
from ndlambda.client.volume import bodies
from ndlambda.errors import InvalidStateError, MalformedBodyError

Item = TypeVar("Item")

_NAME: Final = "data.blosc"
_PATIENCE: Final = 180
"""Seconds in which nothing of what a job misses appears."""


@dataclass(slots=True)
class Sent:
    """What one run has sent: chunks or files, and their bytes as voxels and on the wire.

    Attributes
    ----------
    others
        Parts that were not sent, since somebody else had sent them by then.
    """

    parts: int = 0
    others: int = 0
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
    mends
        Whether the job was named by somebody who has mended its source.
    """

    client: Client
    upload: StackUpload
    job: Document
    grid: ChunkGrid
    memory: Memory
    keep_going: bool = False
    mends: bool = False

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return str(self.job["id"])

    @property
    def threads(self) -> int:
        """How many chunks may be on their way at once."""
        x, y, z = self.grid.cell_xyz
        return self.memory.threads(x * y * z * self.upload.volume.dtype.itemsize)

    def send_boxes(self) -> Sent:
        """Send every chunk that the job misses as a compressed box of voxels.

        Raises
        ------
        MalformedBodyError
            Something cannot be read.
        InvalidStateError
            The job takes no data any more.
        """
        sent, parts = Sent(), Parts(self.client, self.job_id)
        missing = list(self.client.ingest.missing(self.job_id))
        ready = self.slabs(partial(self.note_unreadable, sent)).ready(missing)

        def send(each: Ready) -> tuple[int, int | None]:
            body = bodies.encode_array(each.load())
            is_sent = parts.send(each.chunk.number, _NAME, body)
            return each.chunk.box.voxels, len(body) if is_sent else None

        total = sum(self.grid.chunk(number).box.voxels for number in missing)
        self.send_all(send, ready, sent, total, self.threads)
        return sent

    def send_all(
        self,
        send: Callable[[Item], tuple[int, int | None]],
        items: Iterable[Item],
        sent: Sent,
        total: int,
        threads: int,
    ) -> None:
        """Send parts side by side and count them.

        Parameters
        ----------
        send
            Sends one; gives its voxels, and the bytes that were sent: None where others sent it.
        total
            Voxels of all of them.
        """
        itemsize = self.upload.volume.dtype.itemsize
        try:
            with reporting(True, total, f"send {self.upload.volume.channel}") as advance:
                for voxels, length in bounded_map(send, items, threads=threads):
                    if length:
                        sent.parts += 1
                        sent.voxel_bytes += voxels * itemsize
                        sent.upload_bytes += length
                    sent.others += length is None
                    advance(voxels)
        except InvalidStateError:
            # Another machine that runs the same command may have sent the rest.
            if self.client.ingest.get(self.job_id)["state"] not in COMPLETE:
                raise

    def note_unreadable(self, sent: Sent, planes: Sequence[BadPlane]) -> None:
        """Tell the job of planes that cannot be read, or end the run.

        Raises
        ------
        MalformedBodyError
            The job's policy is to fail.
        """
        offset = self.upload.volume.box.start_xyz[2]
        if not self.keep_going:
            raise MalformedBodyError(
                f"z {planes[0].z + offset}: {planes[0].reason} Mend it, and run the command again "
                f"with --job {self.job_id}: what was sent stays sent.",
                slice=planes[0].z + offset,
            )
        faults = [
            {"t": bad.time_point, "slice": bad.z + offset, "error": bad.reason} for bad in planes
        ]
        self.client.ingest.report(self.job_id, faults)
        sent.unreadable += [f"z {fault['slice']}: {fault['error']}" for fault in faults]

    def slabs(self, on_unreadable: Callable[[Sequence[BadPlane]], None]) -> Slabs:
        """Return the source, cut into the chunks of the job."""
        dtype = self.upload.volume.dtype
        return Slabs(self.upload.source, self.grid, dtype, self.memory, on_unreadable)

    def wait(self) -> Document:
        """Wait until the job has ended and return it.

        Raises
        ------
        InvalidStateError
            Something that was sent is not there any more: run the command again.
        """
        last: Document = self.job
        done = idle = 0
        with reporting(True, self.grid.count, f"store {self.upload.volume.channel}") as advance:
            for last in self.client.ingest.follow(self.job_id):
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
