"""Transfers a source to a job: sends the missing parts, and waits until they are stored."""

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
_MAX_IDLE_POLLS: Final = 180
"""Polls, a second apart, without progress before missing parts count as lost."""


@dataclass(slots=True)
class Sent:
    """Counts of what one run has sent: chunks or files, voxel bytes and uploaded bytes.

    Attributes
    ----------
    sent_by_others
        Parts that other clients had sent by then.
    """

    parts: int = 0
    sent_by_others: int = 0
    voxel_bytes: int = 0
    upload_bytes: int = 0
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A source and the job that ingests it.

    Attributes
    ----------
    keep_going
        Whether unreadable parts are left to the job's policy; else they end the run.
    repairs
        Whether the job was named by a user who has repaired its source.
    """

    client: Client
    upload: StackUpload
    job: Document
    grid: ChunkGrid
    memory: Memory
    keep_going: bool = False
    repairs: bool = False

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return str(self.job["id"])

    @property
    def threads(self) -> int:
        """How many chunks may be in flight at once."""
        x, y, z = self.grid.cell_xyz
        return self.memory.threads(x * y * z * self.upload.volume.dtype.itemsize)

    def send_boxes(self) -> Sent:
        """Send every chunk that the job lacks as a compressed box of voxels.

        Raises
        ------
        MalformedBodyError
            Part of the source cannot be read.
        InvalidStateError
            The job accepts no more data.
        """
        sent, parts = Sent(), Parts(self.client, self.job_id)
        missing = list(self.client.ingest.missing(self.job_id))
        ready = self.slabs(partial(self.report_unreadable, sent)).ready(missing)

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
        """Send parts in parallel and count them.

        Parameters
        ----------
        send
            Sends one part; returns its voxels and the bytes sent, None if others sent it.
        total
            Voxels of all parts.
        """
        itemsize = self.upload.volume.dtype.itemsize
        try:
            with reporting(True, total, f"send {self.upload.volume.channel}") as advance:
                for voxels, length in bounded_map(send, items, threads=threads):
                    if length:
                        sent.parts += 1
                        sent.voxel_bytes += voxels * itemsize
                        sent.upload_bytes += length
                    sent.sent_by_others += length is None
                    advance(voxels)
        except InvalidStateError:
            # Another machine running the same command may have sent the rest.
            if self.client.ingest.get(self.job_id)["state"] not in COMPLETE:
                raise

    def report_unreadable(self, sent: Sent, planes: Sequence[BadPlane]) -> None:
        """Report unreadable planes to the job, or end the run.

        Raises
        ------
        MalformedBodyError
            The job's policy is to fail.
        """
        offset = self.upload.volume.box.start_xyz[2]
        if not self.keep_going:
            raise MalformedBodyError(
                f"z {planes[0].z + offset}: {planes[0].reason} Fix it, and run the command again "
                f"with --job {self.job_id}: what was sent is kept.",
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
        """Wait until the job has ended, and return it.

        Raises
        ------
        InvalidStateError
            A sent part has disappeared: run the command again.
        """
        last: Document = self.job
        done = idle = 0
        with reporting(True, self.grid.count, f"store {self.upload.volume.channel}") as advance:
            for last in self.client.ingest.follow(self.job_id):
                built = last["chunks"]["done"]
                advance(built - done)
                idle = 0 if built > done else idle + 1
                done = built
                # If notifications are lost, a look after the job finds the parts.
                is_stuck = idle > _MAX_IDLE_POLLS and last["first_missing"] is not None
                if is_stuck and not last["closed"]:
                    raise InvalidStateError(
                        f"Ingest job {last['id']} lost what was sent; run the command again."
                    )
        return last
