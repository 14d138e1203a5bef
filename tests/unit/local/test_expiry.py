"""On files, large results and unused uploads go after a day, as a rule of a bucket lets them."""

import os
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


def put(store: DiskObjectStore, folder: Path, key: str, age_s: float) -> None:
    store.put(key, b"body", Overwrite())
    os.utime(folder / key, (NOW - age_s, NOW - age_s))


def sweep(store: DiskObjectStore, folder: Path, now: float = NOW) -> int:
    return Expiry(folder, store, lambda: now).sweep()


def keys(store: DiskObjectStore) -> list[str]:
    return [info.key for info in store.list("")]


def test_what_is_older_than_a_day_goes_and_nothing_else(store, tmp_path):
    """Seen to fail with either prefix, or the comparison of times, taken out."""
    for prefix in ("results", "uploads", "brain"):
        put(store, tmp_path, f"{prefix}/old", EXPIRES_S + 1)
        put(store, tmp_path, f"{prefix}/young", EXPIRES_S - 1)
    put(store, tmp_path, "results/em/0/old", EXPIRES_S + 1)  # no result has such a name
    assert sweep(store, tmp_path) == 2
    left = ["brain/old", "brain/young", "results/em/0/old", "results/young", "uploads/young"]
    assert keys(store) == left
    assert sweep(store, tmp_path) == 0
    assert sweep(store, tmp_path, NOW + 2) == 2


def test_one_sweep_deletes_no_more_than_so_many(store, tmp_path, monkeypatch):
    monkeypatch.setattr(expiry, "_MAX_DELETIONS", 3)
    for number in range(7):
        put(store, tmp_path, f"results/{number}", EXPIRES_S + 1)
    assert [sweep(store, tmp_path) for _ in range(4)] == [3, 3, 1, 0]


def test_nothing_there_is_nothing_to_do(store, tmp_path):
    assert sweep(store, tmp_path) == 0
