"""Counts a job's progress and missing parts without reading a row for each chunk."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ingest_queue.jobs.chunk_sets import Marks, Window
from ingest_queue.jobs.grid import Chunk, ChunkGrid
from ingest_queue.jobs.job import Job, Mode
from ingest_queue.jobs.ledger import Ledger

MAX_FAULTS = 10_000
"""Faults counted at most."""

_ROWS = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a job; exact, not estimated.

    Attributes
    ----------
    chunks, chunks_built, chunks_open
        All chunks; stored ones; those with received parts that are not stored.
    parts, parts_received
        All slices (or boxes), and the received ones.
    faults
        Parts that cannot be used, and stray objects; counted up to ``MAX_FAULTS``.
    stored_bytes
        Bytes of voxels written.
    first_missing
        The first missing part, as (time point, slice) or (time point, chunk).
    """

    chunks: int
    chunks_built: int
    chunks_open: int
    parts: int
    parts_received: int
    faults: int
    stored_bytes: int
    first_missing: tuple[int, int] | None


@dataclass(slots=True)
class _Sums:
    built: int = 0
    waiting: int = 0
    received: int = 0
    stored_voxels: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts the chunks and parts of one job."""

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
        for chunk, parts in self.missing_parts(everything):
            missing = chunk.time_point, parts[0] if self._is_slices else chunk.number
            break
        return Progress(
            chunks=self.grid.count,
            chunks_built=sums.built,
            chunks_open=sums.waiting,
            parts=self.grid.parts,
            parts_received=sums.received,
            faults=sum(1 for _ in islice(self.ledger.faults(self.job), MAX_FAULTS)),
            stored_bytes=sums.stored_bytes + sums.stored_voxels * itemsize,
            first_missing=missing,
        )

    def missing_parts(self, span: range) -> Iterator[tuple[Chunk, list[int]]]:
        """Iterate over the chunks of a span that miss parts, with these parts, in order."""
        for window in self._windows(span):
            if isinstance(window, range):
                yield from ((chunk, list(chunk.parts)) for chunk in map(self.grid.chunk, window))
                continue
            needs_rows = self._needs_rows(window)
            whole = (window.built if self._is_slices else window.received) & ~window.needs_row
            rest = window.numbers(~whole)
            for start in range(0, len(rest), _ROWS):
                some = rest[start : start + _ROWS]
                known = some[needs_rows[some - window.first]]
                states = self.ledger.states_of(self.job, known.tolist())
                for chunk in map(self.grid.chunk, some.tolist()):
                    received = (
                        states[chunk.number].received if chunk.number in states else frozenset()
                    )
                    parts = [part for part in chunk.parts if part not in received]
                    if parts:
                        yield chunk, parts

    @property
    def _is_slices(self) -> bool:
        return self.job.mode is Mode.SLICES

    def _windows(self, span: range) -> Iterator[Window | range]:
        return self.ledger.sets(self.job).windows(span, built_are_received=not self.job.closed)

    def _needs_rows(self, window: Window) -> Marks:
        """Mark the chunks whose received parts are known from their own rows only."""
        if self._is_slices:
            return window.needs_row | (window.received & ~window.built)
        return window.needs_row

    def _add(self, sums: _Sums, window: Window) -> None:
        needs_rows = self._needs_rows(window)
        plain = ~needs_rows
        built = window.numbers(window.built & plain)
        voxels, planes = self._sizes(built)
        sums.built += len(built)
        sums.waiting += int(np.count_nonzero(window.received & ~window.built & plain))
        sums.received += (
            planes if self._is_slices else int(np.count_nonzero(window.received & plain))
        )
        sums.stored_voxels += voxels
        states = self.ledger.states_of(self.job, window.numbers(needs_rows).tolist())
        for state in states.values():
            sums.built += state.built
            sums.waiting += bool(state.received) and not state.built
            sums.received += len(state.received)
            sums.stored_bytes += state.stored_bytes

    def _sizes(self, numbers: NDArray[np.int64]) -> tuple[int, int]:
        """Return the total numbers of voxels and of (y, x) planes of these chunks."""
        across, down, deep = (np.array(edges) for edges in self.grid.edges_xyz)
        times = self.grid.times[1] - self.grid.times[0]
        _, z, y, x = np.unravel_index(numbers, (times, len(deep), len(down), len(across)))
        return int((across[x] * down[y] * deep[z]).sum()), int(deep[z].sum())
