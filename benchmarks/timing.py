"""Measures wall and CPU time of a block of code in this process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Elapsed:
    """Wall and CPU seconds of a block of code."""

    wall_s = 0.0
    cpu_s = 0.0


@contextmanager
def stopwatch() -> Iterator[Elapsed]:
    """Yield the times of the block, which are set when it ends."""
    result, wall, cpu = Elapsed(), time.perf_counter(), time.process_time()
    yield result
    result.wall_s, result.cpu_s = time.perf_counter() - wall, time.process_time() - cpu
