"""Transfers blocks of voxels by parallel requests, and counts them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ndlambda.client.transport.blocks import Block, BlockPlan, box_ranges
from ndlambda.client.transport.http import Answer
from ndlambda.client.transport.parallel import bounded_map
from ndlambda.client.transport.progress import Advance
from ndlambda.client.volume import bodies
from ndlambda.client.volume.sending import Sender

THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a volume to write.

    Attributes
    ----------
    block
        Its place: dataset coordinates and times.
    array
        (t, z, y, x) of the block's shape and the channel's dtype; not copied.
    """

    block: Block
    array: NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class WriteReport:
    """Counts of blocks and voxels of a write: sent, already stored, all zero."""

    blocks_sent: int = 0
    blocks_stored: int = 0
    blocks_zero: int = 0
    voxels_sent: int = 0
    voxels_stored: int = 0
    voxels_zero: int = 0

    @property
    def voxels(self) -> int:
        """Total number of voxels."""
        return self.voxels_sent + self.voxels_stored + self.voxels_zero

    def __add__(self, other: "WriteReport") -> "WriteReport":
        """Return the sum of two reports."""
        return WriteReport(
            self.blocks_sent + other.blocks_sent,
            self.blocks_stored + other.blocks_stored,
            self.blocks_zero + other.blocks_zero,
            self.voxels_sent + other.voxels_sent,
            self.voxels_stored + other.voxels_stored,
            self.voxels_zero + other.voxels_zero,
        )


class BlockTransfer:
    """Transfers blocks of one channel and resolution.

    Parameters
    ----------
    sender
        Sends requests to the channel.
    plan
        How boxes are cut into requests.
    threads
        Number of parallel requests.
    """

    def __init__(
        self, sender: Sender, resolution: int, plan: BlockPlan, threads: int = THREADS
    ) -> None:
        self._sender = sender
        self._resolution = resolution
        self._plan = plan
        self._threads = threads

    def read(self, block: Block, dtype: np.dtype, advance: Advance) -> NDArray[np.generic]:
        """Return the voxels of any box and times: (t, z, y, x), owned by the caller."""
        parts = list(self._plan.split(block.box, block.times))
        if len(parts) == 1:
            array = self._fetch(block, dtype)
            advance(block.voxels)
            return array
        array = np.empty(block.shape_tzyx, dtype)

        def fetch(part: Block) -> int:
            array[_place(part, block)] = self._fetch(part, dtype)
            return part.voxels

        for voxels in bounded_map(fetch, parts, threads=self._threads):
            advance(voxels)
        return array

    def write(self, pieces: Iterable[Piece], advance: Advance, *, skip_stored: bool) -> WriteReport:
        """Write pieces; the next one is taken only when a request is free."""
        send = self._send_unless_stored if skip_stored else self._send
        report = WriteReport()
        tasks = self._tasks(pieces, send)
        for part in bounded_map(lambda task: task(), tasks, threads=self._threads):
            report += part
            advance(part.voxels)
        return report

    def _tasks(
        self,
        pieces: Iterable[Piece],
        send: Callable[[Block, NDArray[np.generic]], WriteReport],
    ) -> Iterator[Callable[[], WriteReport]]:
        for piece in pieces:
            for part in self._plan.split(piece.block.box, piece.block.times):
                array = piece.array[_place(part, piece.block)]
                yield partial(send, part, array) if array.any() else partial(_zero, part)

    def _fetch(self, block: Block, dtype: np.dtype) -> NDArray[np.generic]:
        query = self._query(block) | {"format": bodies.FORMAT}
        return bodies.decode_array(self._get("cutout", query), block.shape_tzyx, dtype)

    def _send(self, block: Block, array: NDArray[np.generic]) -> WriteReport:
        query = self._query(block) | {"format": bodies.FORMAT}
        self._sender.post("cutout", query, bodies.encode_array(array), bodies.CONTENT_TYPE)
        return WriteReport(blocks_sent=1, voxels_sent=block.voxels)

    def _send_unless_stored(self, block: Block, array: NDArray[np.generic]) -> WriteReport:
        if bodies.read_digest(self._get("digest", self._query(block))) == bodies.digest(array):
            return WriteReport(blocks_stored=1, voxels_stored=block.voxels)
        return self._send(block, array)

    def _get(self, resource: str, query: Mapping[str, str]) -> Answer:
        return self._sender.session.request("GET", self._sender.path(resource), query=query)

    def _query(self, block: Block) -> dict[str, str]:
        t0, t1 = block.times
        return {"resolution": str(self._resolution), **box_ranges(block.box), "t": f"{t0}:{t1}"}


def _place(part: Block, whole: Block) -> tuple[slice, slice, slice, slice]:
    first = whole.times[0]
    times = slice(part.times[0] - first, part.times[1] - first)
    return (times, *part.box.slices_zyx(whole.box.start_xyz))


def _zero(block: Block) -> WriteReport:
    return WriteReport(blocks_zero=1, voxels_zero=block.voxels)
