"""What the name of a dropped file says."""

import pytest

from ingest_queue.jobs.keys import (
    Dropped,
    DroppedKind,
    is_folder,
    job_folder,
    parse,
    part_key,
    token_folder,
)

JOB = "0123456789abcdef"
FOLDER = token_folder("tk", "em")


@pytest.mark.parametrize(("name", "expected"), [
    ("0042.tif", {"kind": DroppedKind.SLICE, "z": 42}),
    ("7.png", {"kind": DroppedKind.SLICE, "z": 7}),
    ("time0003/0042.tif", {"kind": DroppedKind.SLICE, "z": 42, "time_point": 3}),
    ("_ingest.json", {"kind": DroppedKind.MANIFEST}),
    ("_DONE", {"kind": DroppedKind.DONE}),
    ("README.txt", {"kind": DroppedKind.STRAY}),
    ("0042", {"kind": DroppedKind.STRAY}),
    ("-1.png", {"kind": DroppedKind.STRAY}),
    ("section/0042.tif", {"kind": DroppedKind.STRAY}),
    ("time0001/more/0042.tif", {"kind": DroppedKind.STRAY}),
    ("time0001/_DONE", {"kind": DroppedKind.STRAY}),
])  # fmt: skip
def test_files_of_a_folder(name, expected):
    assert parse(FOLDER + name) == Dropped(FOLDER + name, folder=FOLDER, **expected)


@pytest.mark.parametrize(("key", "folder"), [("0042.tif", "drop/"), ("tk/0042.tif", "drop/tk/")])
def test_files_beside_the_folders_of_channels_are_strays(key, folder):
    assert parse(f"drop/{key}") == Dropped(f"drop/{key}", DroppedKind.STRAY, folder)
    assert not is_folder(folder)


def test_uploads_of_a_job():
    key = part_key(JOB, 10, "000042.tif")
    assert key == f"drop/j/{JOB}/00000000000a/000042.tif"
    assert parse(key) == Dropped(key, DroppedKind.SLICE, job_folder(JOB), JOB, 10, z=42)
    box = part_key(JOB, 10, "data.npy")
    assert parse(box) == Dropped(box, DroppedKind.BOX, job_folder(JOB), JOB, 10)


@pytest.mark.parametrize("key", [
    "em/0042.tif", "drop/.0042.tif", "drop/tk/em/a/.b/0042.tif", "drop/tk/em/Thumbs.db",
    "drop/tk/desktop.ini", "drop/tk/em/.0042.tif", "drop/tk/.em/0042.tif",
    "drop/tk/em/0042.tif.part", "drop/tk/em/0042.TMP", "drop/tk/em/0042.tif~", "drop/tk//0042.tif",
    "drop/j/em/0042.tif", f"drop/j/{JOB}/a/0042.tif",
])  # fmt: skip
def test_other_keys_mean_nothing(key):
    assert parse(key) is None
