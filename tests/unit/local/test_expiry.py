"""On files, large results and unused uploads go after a day, as a rule of a bucket lets them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ndlambda.local import expiry
from ndlambda.local.expiry import EXPIRES_S, Expiry
from ndlambda.stores.disk import DiskObjectStore
from ndlambda.stores.ports import Overwrite

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> DiskObjectStore:
    return DiskObjectStore(tmp_path, fsync=False)


@pytest.fixture
def put(store: DiskObjectStore, tmp_path: Path) -> Callable[[str, float], None]:
    def put(key: str, age_s: float) -> None:
        store.put(key, b"body", Overwrite())
        os.utime(tmp_path / key, (NOW - age_s, NOW - age_s))

    return put


def sweep(store: DiskObjectStore, folder: Path, now: float = NOW) -> int:
    return Expiry(folder, store, lambda: now).sweep()


def test_what_is_older_than_a_day_goes_and_nothing_else(store, tmp_path, put):
    """Seen to fail with either prefix, or the comparison of times, taken out."""
    assert sweep(store, tmp_path) == 0
    for prefix in ("results", "uploads", "brain"):
        put(f"{prefix}/old", EXPIRES_S + 1)
        put(f"{prefix}/young", EXPIRES_S - 1)
    put("results/em/0/old", EXPIRES_S + 1)  # no result has such a name
    assert sweep(store, tmp_path) == 2
    left = ["brain/old", "brain/young", "results/em/0/old", "results/young", "uploads/young"]
    assert [info.key for info in store.list("")] == left
    assert [sweep(store, tmp_path), sweep(store, tmp_path, NOW + 2)] == [0, 2]


def test_one_sweep_deletes_no_more_than_so_many(store, tmp_path, put, monkeypatch):
    monkeypatch.setattr(expiry, "_MAX_DELETIONS", 3)
    for number in range(7):
        put(f"results/{number}", EXPIRES_S + 1)
    assert [sweep(store, tmp_path) for _ in range(4)] == [3, 3, 1, 0]
