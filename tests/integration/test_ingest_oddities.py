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
from tests.support.ingest_world import FOLDER, OFFSET, png, stack

NOT_UNICODE = os.fsdecode(b"caf\xe9.png")


def dropped_files(folder):
    """Return the store as it is a while after everything was written."""
    return DroppedFiles(folder, UPLOADS, DONE, fsync=False, clock=lambda: time.time() + 10)


@pytest.fixture
def world(make_world, tmp_path):
    """A channel of one chunk; files are dropped into ``tmp_path``."""
    made = make_world({}, depth=6)
    made.drop_store = dropped_files(tmp_path)
    return made


@pytest.fixture
def empty(make_world, tmp_path):
    """No dataset; files are dropped into ``tmp_path``."""
    made = make_world()
    made.drop_store = dropped_files(tmp_path)
    return made


def listed(folder):
    return [info.key for info in dropped_files(folder).list("drop/")]


@pytest.mark.parametrize("oddity", ["ring", "link to itself", "no Unicode", "long", "pipe"])
def test_what_is_no_file_of_ours_keeps_no_job_from_its_end(world, tmp_path, oddity):
    """Seen to fail where listings raise what scandir and check_key raise (links, names)."""
    voxels = stack(1, z=6)[0]
    world.put_stack(voxels[None])
    folder = tmp_path / FOLDER
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
    world.notice([f"{FOLDER}{OFFSET:04d}.png"])
    world.sweep()
    assert world.state in {State.COMPLETE, State.COMPLETE_WITH_ERRORS}
    np.testing.assert_array_equal(world.stored(), voxels)


def test_a_pipe_is_no_object_and_is_not_waited_for(tmp_path):
    """Seen to fail where files are opened plainly: the sweep waits for ever for a writer."""
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    pipe = folder / "0001.png"
    os.mkfifo(pipe)
    store = dropped_files(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        asked = [pool.submit(store.get, f"{FOLDER}0001.png", Range(0, 1))]
        asked.append(pool.submit(store.get, f"{FOLDER}0001.png"))
        try:
            assert [each.result(5) for each in asked] == [None, None]
        finally:
            with suppress(OSError):
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    assert listed(tmp_path) == []


def test_names_that_are_no_keys_are_not_announced_and_keep_nothing_back(tmp_path):
    """Seen to fail without: one such name, and no file of any folder was told of any more."""
    folder = tmp_path / FOLDER
    long = folder.joinpath(*["ü" * 120] * 5)
    long.mkdir(parents=True)
    for path in (folder / NOT_UNICODE, folder / "0001.png", long / "0001.png"):
        path.write_bytes(b"")
    (folder.parent / NOT_UNICODE).mkdir()
    (folder.parent / NOT_UNICODE / "0001.png").write_bytes(b"")
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
    assert listed(tmp_path) == [f"{FOLDER}0001.png"]


def test_to_look_at_a_large_file_takes_no_memory(tmp_path):
    """Seen to fail where the file is read for its ETag: 60 GB ended the server."""
    store = dropped_files(tmp_path)
    key = f"{FOLDER}0001.tif"
    store.put(key, b"II*\0", Overwrite())
    os.truncate(tmp_path / key, 200 << 20)
    tracemalloc.start()
    try:
        found = store.get(key, Range(0, 4))
        assert (bytes(found.data), found.size) == (b"II*\0", 200 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
    whole = store.get(key)
    assert whole.etag == found.etag


def test_a_very_large_file_is_known_by_its_times_and_not_read_through(tmp_path, monkeypatch):
    monkeypatch.delattr(content, "_read_through")  # a terabyte
    store = dropped_files(tmp_path)
    key = f"{FOLDER}0001.tif"
    store.put(key, b"II*\0", Overwrite())
    os.truncate(tmp_path / key, 1 << 40)
    first = store.get(key, Range(0, 4))
    assert first is not None
    again = store.get(key, Range(0, 1))
    assert (again.etag, again.size) == (first.etag, 1 << 40)
    with (tmp_path / key).open("r+b") as file:
        file.seek(1 << 30)
        file.write(b"more")
    os.utime(tmp_path / key, (1, 1))
    other = store.get(key, Range(0, 1))
    assert other.etag != first.etag


def test_a_volume_that_is_called_like_a_slice_is_not_read_for_its_size(empty, tmp_path):
    """Seen to fail without the bound: the server runs out of memory, every minute."""
    key = empty.put("0001.tif", b"II*\0")
    os.truncate(tmp_path / key, 1 << 40)
    empty.put(DONE, b"")
    empty.notice([key])
    assert empty.waiting() == {FOLDER: f"{key} has {1 << 40} bytes, too many for a slice."}


def unrested(tmp_path, name):
    """Return the store a second after all was written but a slice, which comes now."""
    path = tmp_path / FOLDER / name
    before = (tmp_path / FOLDER / DONE).stat().st_ctime_ns
    path.write_bytes(b"half a slice")
    while path.stat().st_ctime_ns <= before:
        path.write_bytes(b"half a slice")
    now = (before + path.stat().st_ctime_ns) / 2e9 + 1
    return DroppedFiles(tmp_path, UPLOADS, DONE, fsync=False, clock=lambda: now)


LAST = f"{OFFSET + 5:04d}.png"
VOXELS = stack(1, z=6)


@pytest.mark.parametrize("announced", [True, False], ids=["a slice was announced", "swept"])
def test_nothing_is_made_of_a_folder_with_done_while_slices_are_copied(empty, tmp_path, announced):
    """Seen to fail where only the watch asks for rest: the dataset was made of what was there."""
    keys = empty.put_stack(VOXELS[:, :5])
    empty.put(DONE, b"")
    empty.drop_store = unrested(tmp_path, LAST)
    drop = empty.process().drop
    drop.on_object_created(keys[0]) if announced else drop.sweep()
    assert not list(empty.process().ingest.ledger.running())
    empty.put(LAST, png(VOXELS[0, 5]))
    empty.drop_store = dropped_files(tmp_path)
    empty.process().drop.sweep()
    empty.pump()
    assert empty.state is State.COMPLETE
    assert empty.process().catalog.get_dataset("tk").imagesize_xyz[2] == 6


def test_a_sweep_closes_no_job_while_slices_are_copied(world, tmp_path):
    """Seen to fail where only the watch asks for rest: FAILED, for slices on their way."""
    world.drop_stack(VOXELS[:, :5])
    world.put(DONE, b"")
    world.drop_store = unrested(tmp_path, LAST)
    world.process().ingest.sweeper.sweep_all()
    assert not world.job().closed
    world.put(LAST, png(VOXELS[0, 5]))
    world.drop_store = dropped_files(tmp_path)
    world.sweep()
    assert (world.state, world.job().closed) == (State.COMPLETE, True)
