import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from ndlambda.errors import InvalidArgumentError, StoreFullError, UpstreamError
from ndlambda.stores.disk import DiskObjectStore, content, objects
from ndlambda.stores.disk.locks import LockFolder
from ndlambda.stores.ports import Create, Overwrite, Replace
from ndlambda.testing.threads import run_together


@pytest.fixture
def store(tmp_path: Path) -> DiskObjectStore:
    return DiskObjectStore(tmp_path / "objects", fsync=False)


ODD_KEYS = [
    *("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\0b", "a\ud800"),
    *(".locks/000", ".temp/x", ".temp", "x" * 256, "a/" * 600 + "a"),
]


def test_keys_that_escape_or_collide_are_refused(store):
    asks = [
        lambda key: store.put(key, b"x", Overwrite()),
        *(store.get, store.delete, lambda key: store.delete_many([key])),
    ]
    for key, ask in product(ODD_KEYS, asks):
        with pytest.raises(InvalidArgumentError):
            ask(key)
    assert not list(store.list(""))


@pytest.mark.parametrize("key", ["...", "a/.locks", "a/.temp/b", "x" * 255, "back\\slash"])
def test_keys_that_only_look_odd_are_kept(store, key):
    store.put(key, b"x", Create())
    assert [info.key for info in store.list("")] == [key]


@pytest.mark.parametrize(
    "prefix", ["/", "../", "a/../", "./", "a//", ".temp/", ".locks/", ".t", "\0", "a\0/", "x/y/z"]
)
def test_a_listing_never_leaves_the_folder(store, tmp_path, prefix):
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "objects" / ".temp" / "x").write_bytes(b"")
    store.put("a/b", b"x", Overwrite())
    assert not list(store.list(prefix))


@pytest.mark.parametrize("mode", [Overwrite(), Create()])
def test_a_key_that_is_a_folder_of_another_is_refused(store, mode):
    store.put("a/b", b"x", Create())
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(InvalidArgumentError):
            store.put(key, b"y", mode)
        store.delete(key)
    assert [info.key for info in store.list("")] == ["a/b"]
    store.delete("a/b")
    store.put("a", b"y", mode)
    assert [info.key for info in store.list("")] == ["a"]


def test_a_deleted_object_leaves_no_empty_folders(store, tmp_path):
    store.put("a/b/c/d", b"x", Create())
    store.put("a/e", b"x", Create())
    store.delete("a/b/c/d")
    assert [path.name for path in (tmp_path / "objects" / "a").iterdir()] == ["e"]


def test_a_folder_is_synced_once_for_all_that_is_deleted_in_it(tmp_path, monkeypatch):
    root = tmp_path / "objects"
    store = DiskObjectStore(root)
    gone = [f"a/{folder}/{number}" for folder in "bcd" for number in range(20)]
    for key in [*gone, "a/d/stays", "e/stays"]:
        store.put(key, b"x", Create())
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    store.delete_many([*gone, "e/absent"])
    assert sorted(synced) == sorted((root / name).stat().st_ino for name in ("a", "a/d"))
    assert [info.key for info in store.list("")] == ["a/d/stays", "e/stays"]


def test_files_that_cannot_be_deleted_keep_no_others(store, monkeypatch):
    for name in "abcd":
        store.put(f"x/{name}", b"x", Create())
    unlink = Path.unlink

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path.name in "bc":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(UpstreamError) as failure:
        store.delete_many(["x/a", "x/b", "x/c", "x/d"])
    assert failure.value.details["key"] == "x/b"
    assert [info.key for info in store.list("")] == ["x/b", "x/c"]


def test_a_folder_that_a_delete_takes_away_is_made_again(store):
    """Two threads put and delete in the same, else empty folder."""

    def put_and_delete(name: int) -> None:
        for _ in range(200):
            store.put(f"a/b/{name}", b"x", Create())
            store.delete(f"a/b/{name}")

    run_together(2, put_and_delete)
    assert not list(store.list(""))


@pytest.mark.parametrize(("interfere", "left"), [
    (lambda store: store.put("key", b"overwritten", Overwrite()), b"overwritten"),
    (lambda store: store.delete("key"), None),
], ids=["overwrite", "delete"])  # fmt: skip
def test_no_writer_slips_between_comparison_and_rename_of_a_replacement(
    store, monkeypatch, interfere, left
):
    """While a replacement compares, another thread overwrites or deletes: it must come second. Seen
    to fail when ``put`` took the lock for ``Replace`` only and when ``delete`` took none: the
    replacement then silently undid the other's acknowledged change."""
    etag = store.put("key", b"first", Create())
    hold, waits_or_is_done = LockFolder.hold, threading.Event()
    thread = threading.Thread(target=lambda: (interfere(store), waits_or_is_done.set()))

    @contextmanager
    def announce_and_hold(locks: LockFolder, name: str) -> Iterator[None]:
        if threading.current_thread() is thread:
            waits_or_is_done.set()
        with hold(locks, name):
            yield

    def compare_slowly(data: memoryview) -> str:
        monkeypatch.setattr(objects, "content_etag", content.content_etag)
        found = content.content_etag(data)
        thread.start()
        waits_or_is_done.wait()
        return found

    monkeypatch.setattr(LockFolder, "hold", announce_and_hold)
    monkeypatch.setattr(objects, "content_etag", compare_slowly)
    store.put("key", b"replaced", Replace(etag))
    thread.join()
    found = store.get("key")
    assert (found and bytes(found.data)) == left


def test_what_a_dead_process_left_is_hidden_and_removed_after_an_hour(tmp_path):
    root = tmp_path / "objects"
    DiskObjectStore(root)
    left = root / ".temp" / "left-behind"
    left.write_bytes(b"torn")
    os.utime(left, (1_000_000, 1_000_000))
    young = DiskObjectStore(root, clock=lambda: 1_000_000 + 3599)
    assert left.exists()
    assert not list(young.list(""))
    DiskObjectStore(root, clock=lambda: 1_000_000 + 3601)
    assert not left.exists()


def test_a_failed_write_leaves_no_temporary_file(store, tmp_path):
    store.put("a", b"x", Create())
    with pytest.raises(InvalidArgumentError):
        store.put("a/b", b"x", Create())
    assert not list((tmp_path / "objects" / ".temp").iterdir())


@pytest.mark.parametrize(("fsync", "expected"), [(True, ["file", "a/b", "a", "."]), (False, [])])
def test_content_is_synced_before_its_name_and_new_folders_after(
    tmp_path, monkeypatch, fsync, expected
):
    root = tmp_path / "objects"
    store = DiskObjectStore(root, fsync=fsync)
    synced: list[str] = []

    def record(descriptor: int) -> None:
        number = os.fstat(descriptor).st_ino
        folders = {(root / name).stat().st_ino: name for name in ("a/b", "a", ".") if named()}
        synced.append(folders.get(number, "unknown") if named() else "file")

    def named() -> bool:
        return (root / "a/b/c").exists()

    monkeypatch.setattr(os, "fsync", record)
    store.put("a/b/c", b"x", Create())
    assert synced == expected


def test_lock_files_are_bounded(store, tmp_path):
    names = {f"{stripe:03x}" for stripe in range(4096)}
    for number in range(50):
        store.put(f"key-{number}", b"x", Create())
    assert {path.name for path in (tmp_path / "objects" / ".locks").iterdir()} <= names


def test_a_read_that_never_looks_at_the_etag_does_not_compute_it(store, monkeypatch):
    etag = store.put("key", b"x" * 200_000, Create())
    computed: list[int] = []
    compute = lambda data: computed.append(len(data)) or etag  # noqa: E731
    monkeypatch.setattr(content, "content_etag", compute)
    found = store.get("key")
    assert found.data[0] == ord("x")
    assert not computed
    assert (found.etag, found.etag) == (etag, etag)
    assert computed == [200_000]


def test_a_failing_disk_is_an_upstream_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / ".locks").write_bytes(b"")
    with pytest.raises(UpstreamError):
        DiskObjectStore(tmp_path / "objects")


def test_a_full_disk_is_told_from_a_failing_one(store, monkeypatch):
    def place(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(objects, "_place", place)
    with pytest.raises(StoreFullError):
        store.put("key", b"x", Create())
    assert store.get("key") is None
