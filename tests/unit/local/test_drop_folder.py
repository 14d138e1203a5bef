"""Files that are copied into the folder are told of once they have come to rest."""

import json
from pathlib import Path

import pytest

from functions.s3_drop import keys_of
from ndlambda.local.drop_folder import DropFolder
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


def test_a_file_is_told_of_when_it_has_not_changed_for_a_second(tmp_path: Path, folder: Path):
    queue, clock = Queue(), Clock()
    watch = DropFolder(tmp_path, queue, clock)
    (folder / "0001.tif").write_bytes(b"half")
    assert watch.look() == 0
    clock.advance(0.9)
    (folder / "0001.tif").write_bytes(b"half and half")
    assert watch.look() == 0
    clock.advance(0.9)
    assert watch.look() == 0
    clock.advance(0.2)
    assert watch.look() == 1
    assert queue.take() == ["drop/tk/em/0001.tif"]
    clock.advance(5)
    assert watch.look() == 0
    (folder / "0001.tif").write_bytes(b"another")
    watch.look()
    clock.advance(1)
    assert watch.look() == 1


def test_names_come_through_and_hidden_ones_do_not(tmp_path: Path, folder: Path):
    queue, clock = Queue(), Clock()
    watch = DropFolder(tmp_path, queue, clock)
    for name in ("ä + b%20.tif", ".hidden", "0002.tif.part"):
        (folder / name).write_bytes(b"")
    watch.look()
    clock.advance(1)
    watch.look()
    assert queue.take() == ["drop/tk/em/ä + b%20.tif"]


def test_after_a_restart_all_files_are_told_of_anew(tmp_path: Path, folder: Path):
    (folder / "0001.tif").write_bytes(b"")
    for _ in range(2):
        queue, clock = Queue(), Clock()
        watch = DropFolder(tmp_path, queue, clock)
        watch.look()
        clock.advance(1)
        watch.look()
        assert queue.take() == ["drop/tk/em/0001.tif"]


def test_looks_become_rare_while_nothing_happens(tmp_path: Path, folder: Path):
    clock = Clock()
    watch = DropFolder(tmp_path, Queue(), clock)
    pauses = []
    for _ in range(8):
        watch.look()
        pauses.append(watch.pause_s)
        clock.advance(watch.pause_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10
    (folder / "0001.tif").write_bytes(b"")
    watch.look()
    assert watch.pause_s == 0.5


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path):
    assert DropFolder(tmp_path / "none", Queue(), Clock()).look() == 0
