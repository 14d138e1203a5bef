"""Files that are copied into the folder are told of once they have come to rest."""

import json
import os
import time
from pathlib import Path

import pytest

from functions.s3_drop import keys_of
from ingest_queue.jobs.keys import DONE, UPLOADS
from ndlambda.local import drop_folder
from ndlambda.local.drop_folder import DropFolder
from ndlambda.stores.disk import DroppedFiles
from ndlambda.stores.ports import Range
from tests.support.catalog_world import Clock


class Queue:
    def __init__(self) -> None:
        self.keys: list[str] = []

    def send(self, bodies, delay_s=0):
        self.keys += [key for body in bodies for key in keys_of(json.loads(body))]

    def take(self) -> list[str]:
        taken, self.keys = sorted(self.keys), []
        return taken


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drop" / "tk" / "em"
    made.mkdir(parents=True)
    return made


class Watch:
    """A watched folder, with a clock that only ``after`` moves."""

    def __init__(self, folder: Path) -> None:
        self.queue, self.clock = Queue(), Clock()
        self.drop = DropFolder(folder, self.queue, self.clock)

    def after(self, *seconds: float) -> list[int]:
        """Return how many files were told of after each of these times."""
        return [self.clock.advance(each) or self.drop.poll() for each in seconds]

    def told(self) -> list[str]:
        self.after(0, 1)
        return self.queue.take()


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def test_a_file_is_told_of_when_it_has_not_changed_for_a_second(watch, folder):
    (folder / "0001.tif").write_bytes(b"half")
    assert watch.after(0) == [0]
    (folder / "0001.tif").write_bytes(b"half and half")
    assert watch.after(0.9, 0.9, 0.2) == [0, 0, 1]
    assert watch.queue.take() == ["drop/tk/em/0001.tif"]
    assert watch.after(5) == [0]
    (folder / "0001.tif").write_bytes(b"another")
    # What is written over in place does not change its folder.
    assert watch.after(5, 1) == [0, 1]


def test_names_come_through_and_hidden_ones_do_not(watch, folder):
    for name in ("ä + b%20.tif", ".hidden", "0002.tif.part"):
        (folder / name).write_bytes(b"")
    assert watch.told() == ["drop/tk/em/ä + b%20.tif"]


def test_after_a_restart_all_files_are_announced_again(tmp_path, folder):
    (folder / "0001.tif").write_bytes(b"")
    for _ in range(2):
        assert Watch(tmp_path).told() == ["drop/tk/em/0001.tif"]


def test_a_file_whose_time_was_set_back_is_told_of_again(watch, folder):
    """As copying programs do: seen to fail with times of modification."""
    for body in (b"one", b"two"):
        (folder / "0001.tif").write_bytes(body)
        os.utime(folder / "0001.tif", ns=(1, 1))
        assert watch.after(10, 1) == [0, 1]


def test_done_is_told_of_when_all_of_its_folder_is_at_rest(watch, folder):
    """Seen to fail without: dragging a folder copies ``_DONE`` before the last slices."""
    other = folder.parent / "labels"
    other.mkdir()
    for path in (folder / "_DONE", folder / "1.png", other / "_DONE"):
        path.write_bytes(b"")
    watch.after(0)
    watch.clock.advance(0.9)
    (folder / "time0001").mkdir()
    (folder / "time0001" / "1.png").write_bytes(b"half")
    assert watch.after(0, 0.2) == [0, 2]
    assert watch.queue.take() == ["drop/tk/em/1.png", "drop/tk/labels/_DONE"]
    assert watch.after(0.9) == [2]
    assert watch.queue.keys == ["drop/tk/em/time0001/1.png", "drop/tk/em/_DONE"]


def test_linked_folders_are_looked_into_and_rings_of_them_end(tmp_path, watch, folder):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "0001.tif").write_bytes(b"")
    (folder.parent / "linked").symlink_to(elsewhere)
    (folder / "ring").symlink_to(tmp_path / "drop")
    (folder / "0002.tif").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "0003.tif")
    assert "drop/tk/linked/0001.tif" in watch.told()


def test_links_out_of_the_data_folder_are_not_followed(tmp_path: Path):
    """Seen to fail where they are: a link to / is looked through, and all ingest waits for it."""
    data, outside = tmp_path / "data", tmp_path / "outside"
    inner = data / "drop" / "tk" / "em"
    for folder in (inner, outside / "em"):
        folder.mkdir(parents=True)
        (folder / "0001.tif").write_bytes(b"")
    (data / "drop" / "root").symlink_to("/")
    (data / "drop" / "link").symlink_to(outside)
    (inner / "0002.tif").symlink_to(outside / "em" / "0001.tif")
    (inner / "0003.tif").symlink_to(inner / "0001.tif")
    queue, clock = Queue(), Clock()
    watch = DropFolder(data, queue, clock)
    watch.poll()
    clock.advance(1)
    watch.poll()
    assert queue.take() == ["drop/tk/em/0001.tif", "drop/tk/em/0003.tif"]
    store = DroppedFiles(data, UPLOADS, DONE, fsync=False, clock=lambda: time.time() + 10)
    assert [info.key for info in store.list("drop/")] == [
        "drop/tk/em/0001.tif",
        "drop/tk/em/0003.tif",
    ]
    assert not list(store.list("drop/link/em/"))
    for key in ("drop/link/em/0001.tif", "drop/tk/em/0002.tif"):
        assert store.get(key) is None
        assert store.get(key, Range(0, 1)) is None


def test_a_drop_folder_that_is_a_link_itself_is_looked_into(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere" / "tk" / "em"
    elsewhere.mkdir(parents=True)
    (elsewhere / "0001.tif").write_bytes(b"")
    (elsewhere / "0002.tif").symlink_to(elsewhere / "0001.tif")
    data = tmp_path / "data"
    data.mkdir()
    (data / "drop").symlink_to(tmp_path / "elsewhere")
    queue, clock = Queue(), Clock()
    watch = DropFolder(data, queue, clock)
    watch.poll()
    clock.advance(1)
    watch.poll()
    assert queue.take() == ["drop/tk/em/0001.tif", "drop/tk/em/0002.tif"]


def test_a_look_ends_when_the_server_is_told_to(tmp_path: Path, folder: Path):
    """Seen to fail where only the pauses between looks end: SIGTERM waited for a large folder."""
    (folder / "0001.tif").write_bytes(b"")
    queue, clock, stopping = Queue(), Clock(), []
    watch = DropFolder(tmp_path, queue, clock, lambda: bool(stopping))
    watch.poll()
    clock.advance(1)
    stopping.append(True)
    assert watch.poll() == 0
    assert not queue.take()


def test_nothing_but_folders_is_looked_at_while_nothing_comes(watch, folder, monkeypatch):
    looked_at = []
    read = drop_folder._entries
    noting = lambda path, name: looked_at.append(name) or read(path, name)  # noqa: E731
    monkeypatch.setattr(drop_folder, "_entries", noting)
    watch.after(0)
    looked_at.clear()
    for _ in range(9):
        watch.after(1)
        assert watch.drop.pause_s == 1
    assert looked_at == []
    (folder / "0001.tif").write_bytes(b"")
    watch.after(0)
    assert looked_at == ["drop", "drop/tk", "drop/tk/em"]
    assert watch.drop.pause_s == 0.25


def test_a_long_look_is_followed_by_a_long_pause(tmp_path, folder):
    clock = Clock()
    watch = DropFolder(tmp_path, Queue(), lambda: clock.advance(0.5) or clock())
    watch.poll()
    assert watch.pause_s == 10


def test_a_folder_that_is_not_there_is_empty(tmp_path):
    assert Watch(tmp_path / "none").after(0) == [0]
