"""What many unit tests stand on: a clock, a table, threads and dice of their own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ndlambda.stores.disk import SqliteTable
from tests.support.catalog_world import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(tmp_path: Path, clock: Clock) -> Iterator[SqliteTable]:
    """A table whose rows expire by ``clock``."""
    made = SqliteTable(tmp_path / "table.sqlite", clock, fsync=False)
    yield made
    made.close()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
