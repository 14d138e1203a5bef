"""Progress of a transfer in voxels."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Advance: TypeAlias = Callable[[int], None]
"""Called with the number of voxels of each finished block."""

Progress: TypeAlias = bool | Callable[[int, int], None]
"""True shows a bar on a terminal's standard error; a function is called with (done, total)."""


@contextmanager
def reporting(progress: Progress, total: int, title: str) -> Iterator[Advance]:
    """Yield the function to call with the voxels of each finished block."""
    if callable(progress):
        report, done = progress, 0

        def advance(voxels: int) -> None:
            nonlocal done
            done += voxels
            report(done, total)

        yield advance
    elif progress and sys.stderr.isatty():
        with _bar(total, title) as advance_bar:
            yield advance_bar
    else:
        yield lambda _: None


@contextmanager
def _bar(total: int, title: str) -> Iterator[Advance]:
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda voxels: bar.advance(task, voxels)
