"""How far a job is and what it lacks, without reading a row for each of its chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ingest_queue.jobs.chunk_sets import Marks, Window
from ingest_queue.jobs.grid import Chunk, ChunkGrid
from ingest_queue.jobs.job import Job, Mode
from ingest_queue.jobs.ledger import Ledger

MOST_FAULTS = 10_000
"""Faults are counted up to here."""

_ROWS = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is; exact, not estimated.

    Attributes
    ----------
    chunks, chunks_built, chunks_open
        All; those stored; those of which a part came and which are not stored.
    parts, parts_seen
        Slices (or boxes) in all, and those that came.
    faults
        Parts that cannot be used, and stray objects; counted up to ``MOST_FAULTS``.
    stored_bytes
        Voxels that were written.
    first_missing
        The first part that did not come, as (time point, slice) or (time point, chunk).
    """

    chunks: int
    chunks_built: int
    chunks_open: int
    parts: int
    parts_seen: int
    faults: int
    stored_bytes: int
    first_missing: tuple[int, int] | None


@dataclass(slots=True)
class _Sums:
    built: int = 0
    waiting: int = 0
    seen: int = 0
    stored_voxels: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts one job.

    Attributes
    ----------
    ledger, job, grid
        The job, its chunks, and what is known of them.
    """

    ledger: Ledger
    job: Job
    grid: ChunkGrid

    def progress(self, itemsize: int) -> Progress:
        """Count what the job has done.

        Parameters
        ----------
        itemsize
            Bytes of a voxel.
        """
        everything, sums = range(self.grid.count), _Sums()
        for window in self._windows(everything):
            if isinstance(window, Window):
                self._add(sums, window)
        missing = None
        for chunk, parts in self.lacking(everything):
            missing = chunk.time_point, parts[0] if self._is_slices else chunk.number
            break
        return Progress(
            chunks=self.grid.count,
            chunks_built=sums.built,
            chunks_open=sums.waiting,
            parts=self.grid.parts,
            parts_seen=sums.seen,
            faults=sum(1 for _ in islice(self.ledger.faults(self.job), MOST_FAULTS)),
            stored_bytes=sums.stored_bytes + sums.stored_voxels * itemsize,
            first_missing=missing,
        )

    def lacking(self, span: range) -> Iterator[tuple[Chunk, list[int]]]:
        """Iterate over the chunks of a span to which parts did not come, with these, in order."""
        for window in self._windows(span):
            if isinstance(window, range):
                yield from ((chunk, list(chunk.parts)) for chunk in map(self.grid.chunk, window))
                continue
            asked = self._asked(window)
            whole = (window.built if self._is_slices else window.came) & ~window.odd
            rest = window.numbers(~whole)
            for start in range(0, len(rest), _ROWS):
                some = rest[start : start + _ROWS]
                known = some[asked[some - window.first]]
                states = self.ledger.states_of(self.job, known.tolist())
                for chunk in map(self.grid.chunk, some.tolist()):
                    seen = states[chunk.number].seen if chunk.number in states else frozenset()
                    parts = [part for part in chunk.parts if part not in seen]
                    if parts:
                        yield chunk, parts

    @property
    def _is_slices(self) -> bool:
        return self.job.mode is Mode.SLICES

    def _windows(self, span: range) -> Iterator[Window | range]:
        return self.ledger.sets(self.job).windows(span, built_came=not self.job.closed)

    def _asked(self, window: Window) -> Marks:
        """Mark the chunks of which the sets alone do not tell which parts came."""
        if self._is_slices:
            return window.odd | (window.came & ~window.built)
        return window.odd

    def _add(self, sums: _Sums, window: Window) -> None:
        asked = self._asked(window)
        plain = ~asked
        built = window.numbers(window.built & plain)
        voxels, planes = self._sizes(built)
        sums.built += len(built)
        sums.waiting += int(np.count_nonzero(window.came & ~window.built & plain))
        sums.seen += planes if self._is_slices else int(np.count_nonzero(window.came & plain))
        sums.stored_voxels += voxels
        states = self.ledger.states_of(self.job, window.numbers(asked).tolist())
        for state in states.values():
            sums.built += state.built
            sums.waiting += bool(state.seen) and not state.built
            sums.seen += len(state.seen)
            sums.stored_bytes += state.stored_bytes

    def _sizes(self, numbers: NDArray[np.int64]) -> tuple[int, int]:
        """Return how many voxels and how many planes (of x and y) these chunks have in all."""
        across, down, deep = (np.array(edges) for edges in self.grid.edges_xyz)
        times = self.grid.times[1] - self.grid.times[0]
        _, z, y, x = np.unravel_index(numbers, (times, len(deep), len(down), len(across)))
        return int((across[x] * down[y] * deep[z]).sum()), int(deep[z].sum())
