"""What people's folders hold beside slices: links in rings, pipes, odd names, very large files."""

import os
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from ingest_queue.jobs.job import State
from ingest_queue.jobs.keys import DONE, UPLOADS
from ndlambda.local.drop_folder import DropFolder
from ndlambda.stores.disk import DroppedFiles, content
from ndlambda.stores.ports import Overwrite, Range
from tests.support.catalog_world import Clock
from tests.support.ingest_world import (
    FOLDER,
    OFFSET,
    look_after_all,
    look_after_folders,
    png,
    stack,
)

NOT_UNICODE = os.fsdecode(b"caf\xe9.png")
LAST = f"{OFFSET + 5:04d}.png"
VOXELS = stack(1, z=6)
KEY = f"{FOLDER}0001.tif"


@pytest.fixture
def folder(tmp_path):
    """Where files of the channel are copied to."""
    made = tmp_path / FOLDER
    made.mkdir(parents=True)
    return made


@pytest.fixture
def store(tmp_path):
    return dropped_files(tmp_path)


def dropped_files(folder, clock=lambda: time.time() + 10):
    """Return the store as it is a while after everything was written."""
    return DroppedFiles(folder, UPLOADS, DONE, fsync=False, clock=clock)


@pytest.fixture
def world(make_world, store):
    """A channel of one chunk."""
    made = make_world({}, depth=6)
    made.drop_store = store
    return made


@pytest.fixture
def empty(make_world, store):
    """No dataset."""
    made = make_world()
    made.drop_store = store
    return made


def listed(store):
    return [info.key for info in store.list("drop/")]


def put_long(store, tmp_path, size):
    store.put(KEY, b"II*\0", Overwrite())
    os.truncate(tmp_path / KEY, size)


@pytest.mark.parametrize("oddity", ["ring", "link to itself", "no Unicode", "long", "pipe"])
def test_what_is_no_file_of_ours_keeps_no_job_from_its_end(world, tmp_path, folder, oddity):
    """Seen to fail where listings raise what scandir and check_key raise (links, names)."""
    world.put_stack(VOXELS)
    match oddity:
        case "ring":
            (folder / "a").symlink_to(tmp_path / "drop")
            (folder / "b").symlink_to(tmp_path / "drop")
        case "link to itself":
            (folder / "0001.png").symlink_to(folder / "0001.png")
        case "no Unicode":
            (folder / NOT_UNICODE).write_bytes(b"")
        case "long":
            deep = folder.joinpath(*["n" * 250] * 4)
            deep.mkdir(parents=True)
            (deep / "0001.png").write_bytes(b"")
        case "pipe":
            os.mkfifo(folder / "0001.png")
    world.notice([f"{FOLDER}{OFFSET:04d}.png"])  # only the listing finds the others
    world.sweep()
    assert world.state in {State.COMPLETE, State.COMPLETE_WITH_ERRORS}
    np.testing.assert_array_equal(world.stored(), VOXELS[0])


def test_a_pipe_is_no_object_and_is_not_waited_for(store, folder):
    """Seen to fail where files are opened plainly: the sweep waits for ever for a writer."""
    pipe, key = folder / "0001.png", f"{FOLDER}0001.png"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        asked = [pool.submit(store.get, key, Range(0, 1)), pool.submit(store.get, key)]
        try:
            assert [each.result(5) for each in asked] == [None, None]
        finally:
            with suppress(OSError):
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    assert listed(store) == []


def test_names_that_are_no_keys_are_not_announced_and_keep_nothing_back(tmp_path, store, folder):
    """Seen to fail without: one such name, and no file of any folder was told of any more."""
    long = folder.joinpath(*["ü" * 120] * 5)
    for parent, name in (
        (folder, NOT_UNICODE), (folder, "0001.png"), (long, "0001.png"),
        (folder.parent / NOT_UNICODE, "0001.png"),
    ):  # fmt: skip
        parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_bytes(b"")
    sent = []

    class Queue:
        def send(self, bodies, delay_s=0):
            assert all(len(body) <= 4096 for body in bodies)
            sent.extend(bodies)

    clock = Clock()
    watch = DropFolder(tmp_path, Queue(), clock)
    watch.poll()
    clock.advance(2)
    assert watch.poll() == 1
    assert "0001.png" in sent[0]
    assert listed(store) == [f"{FOLDER}0001.png"]


def test_to_look_at_a_large_file_takes_no_memory(tmp_path, store):
    """Seen to fail where the file is read for its ETag: 60 GB ended the server."""
    put_long(store, tmp_path, 200 << 20)
    tracemalloc.start()
    try:
        found = store.get(KEY, Range(0, 4))
        assert (bytes(found.data), found.size) == (b"II*\0", 200 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
    assert store.get(KEY).etag == found.etag


def test_a_very_large_file_is_known_by_its_times_and_not_read_through(tmp_path, store, monkeypatch):
    monkeypatch.delattr(content, "_read_through")  # a terabyte
    put_long(store, tmp_path, 1 << 40)
    first, again = store.get(KEY, Range(0, 4)), store.get(KEY, Range(0, 1))
    assert (again.etag, again.size) == (first.etag, 1 << 40)
    with (tmp_path / KEY).open("r+b") as file:
        file.seek(1 << 30)
        file.write(b"more")
    os.utime(tmp_path / KEY, (1, 1))
    assert store.get(KEY, Range(0, 1)).etag != first.etag


def test_a_volume_that_is_called_like_a_slice_is_not_read_for_its_size(empty, tmp_path):
    """Seen to fail without the bound: the server runs out of memory, every minute."""
    put_long(empty.drop_store, tmp_path, 1 << 40)
    empty.put(DONE, b"")
    empty.notice([KEY])
    assert empty.waiting() == {FOLDER: f"{KEY} has {1 << 40} bytes, too many for a slice."}


def copy_half(world, tmp_path):
    """Let the last slice come now, a second after all others; ``cp -r`` copies ``_DONE`` first."""
    path = tmp_path / FOLDER / LAST
    world.put(DONE, b"")
    before = (tmp_path / FOLDER / DONE).stat().st_ctime_ns
    path.write_bytes(b"half a slice")
    while path.stat().st_ctime_ns <= before:
        path.write_bytes(b"half a slice")
    now = (before + path.stat().st_ctime_ns) / 2e9 + 1
    world.drop_store = dropped_files(tmp_path, lambda: now)


def copy_rest(world, tmp_path):
    world.put(LAST, png(VOXELS[0, 5]))
    world.drop_store = dropped_files(tmp_path)


@pytest.mark.parametrize("announced", [True, False], ids=["a slice was announced", "swept"])
def test_nothing_is_made_of_a_folder_with_done_while_slices_are_copied(empty, tmp_path, announced):
    """Seen to fail where only the watch asks for rest: the dataset was made of what was there."""
    keys = empty.put_stack(VOXELS[:, :5])
    copy_half(empty, tmp_path)
    drop = empty.process().drop
    drop.on_object_created(keys[0]) if announced else look_after_folders(drop)
    assert not list(empty.process().ingest.ledger.running())
    copy_rest(empty, tmp_path)
    look_after_folders(empty.process().drop)
    empty.pump()
    assert empty.state is State.COMPLETE
    assert empty.process().catalog.get_dataset("tk").imagesize_xyz[2] == 6


def test_a_sweep_closes_no_job_while_slices_are_copied(world, tmp_path):
    """Seen to fail where only the watch asks for rest: FAILED, for slices on their way."""
    world.drop_stack(VOXELS[:, :5])
    copy_half(world, tmp_path)
    look_after_all(world.process().ingest)
    assert not world.job().closed
    copy_rest(world, tmp_path)
    world.sweep()
    assert (world.state, world.job().closed) == (State.COMPLETE, True)
