"""Measures wall and CPU time of a block of code."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Taken:
    """Wall and CPU seconds of a block of code."""

    wall_s = 0.0
    cpu_s = 0.0


@contextmanager
def taken() -> Iterator[Taken]:
    result, wall, cpu = Taken(), time.perf_counter(), time.process_time()
    yield result
    result.wall_s, result.cpu_s = time.perf_counter() - wall, time.process_time() - cpu
