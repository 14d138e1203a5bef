"""Files that people copy in: doubled, closed to the server, or still being written."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingest_queue.jobs.job import Policy, State
from ingest_queue.jobs.keys import DONE, UPLOADS
from ndlambda.errors import MalformedBodyError, UpstreamError
from ndlambda.stores.disk import DroppedFiles, content, objects
from ndlambda.stores.ports import Overwrite
from tests.integration.test_ingest_faults import thin_world
from tests.support.catalog_world import Clock
from tests.support.ingest_world import FOLDER, OFFSET, IngestWorld, png, stack

BAD = OFFSET + 2
NAME = f"{BAD:04d}.png"
OTHER = f"{BAD}.png"


@pytest.fixture
def world(tmp_path: Path):
    made = thin_world(tmp_path)
    yield made
    made.close()


def drop_all(world: IngestWorld, policy: Policy = Policy.FAIL, without: str = "") -> np.ndarray:
    world.drop("_ingest.json", f'{{"on_bad": "{policy}"}}'.encode())
    voxels = stack(1, z=6)[0]
    for z, plane in enumerate(voxels, OFFSET):
        if f"{z:04d}.png" != without:
            world.drop(f"{z:04d}.png", png(plane))
    return voxels


def faults(world: IngestWorld) -> list[str]:
    return [fault.key for fault in world.process().ingest.faults(world.job())]


# two files for one slice


def test_of_two_files_for_a_slice_the_first_is_stored_and_the_other_told_of(world: IngestWorld):
    """Seen to fail when the last won: each sweep found the other, and had the chunk built anew."""
    voxels = drop_all(world, without=f"{OFFSET:04d}.png")
    world.drop(OTHER, png(stack(9)[0, 0]))
    for _ in range(2):
        world.process().ingest.sweeper.sweep_all()
    world.drop(f"{OFFSET:04d}.png", png(voxels[0]))
    world.pump()
    assert world.job().state is State.COMPLETE_WITH_ERRORS
    (fault,) = world.process().ingest.faults(world.job())
    assert (fault.key, fault.count) == (FOLDER + OTHER, 1)
    assert f"{FOLDER}{NAME}, which came first" in fault.error
    np.testing.assert_array_equal(world.stored(), voxels)


def test_the_second_file_counts_once_the_first_is_deleted(world: IngestWorld):
    voxels = drop_all(world, without=f"{OFFSET:04d}.png")
    voxels[BAD - OFFSET] = stack(9)[0, 0]
    world.drop(OTHER, png(voxels[BAD - OFFSET]))
    world.drop_store.delete(FOLDER + NAME)
    world.process().ingest.sweeper.sweep_all()
    assert not faults(world)
    world.drop(f"{OFFSET:04d}.png", png(voxels[0]))
    world.pump()
    assert world.job().state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), voxels)


@pytest.mark.parametrize("again", ["copied", "retried"])
def test_the_second_file_is_stored_over_the_first_when_that_was_wrong(
    world: IngestWorld, again: str
):
    """Seen to fail when the chunk was not opened again: the wrong slice stayed, and no fault."""
    voxels = drop_all(world)
    voxels[BAD - OFFSET] = stack(9)[0, 0]
    world.drop(OTHER, png(voxels[BAD - OFFSET]))
    world.pump()
    assert world.job().state is State.COMPLETE_WITH_ERRORS
    world.drop_store.delete(FOLDER + NAME)
    if again == "copied":
        world.notice([FOLDER + OTHER])
    else:
        world.process().ingest.registry.retry(world.job())
    world.pump()
    assert (world.job().state, faults(world)) == (State.COMPLETE, [])
    np.testing.assert_array_equal(world.stored(), voxels)


def test_a_slice_that_is_no_use_is_mended_by_a_file_of_another_name(world: IngestWorld):
    voxels = drop_all(world, without=NAME)
    world.drop(NAME, b"no image")
    world.pump()
    assert world.job().state is State.FAILED
    world.drop(OTHER, png(voxels[BAD - OFFSET]))
    world.pump()
    assert world.job().state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), voxels)


def test_the_same_content_under_two_names_is_no_fault(world: IngestWorld):
    voxels = drop_all(world)
    world.drop(OTHER, png(voxels[BAD - OFFSET]))
    world.pump()
    assert world.job().state is State.COMPLETE


# files that cannot be read


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of files that the system refuses to open, whoever asks."""
    names: set[str] = set()
    plainly = content.open_file

    def open_file(path: Path) -> int | None:
        if path.name in names:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return plainly(path)

    monkeypatch.setattr(content, "open_file", open_file)
    return names


@pytest.mark.parametrize("policy", Policy)
def test_a_file_that_cannot_be_read_is_a_bad_slice_until_it_can(
    world: IngestWorld, tmp_path: Path, closed: set[str], policy: Policy
):
    """Seen to fail when it was a fault of the store: asked for five times, and told to nobody."""
    world.drop_store = DroppedFiles(tmp_path, UPLOADS, DONE, fsync=False)
    closed.add(NAME)
    voxels = drop_all(world, policy)
    world.pump()
    (fault,) = world.process().ingest.faults(world.job())
    assert fault.key == FOLDER + NAME
    assert fault.error == f"{NAME} cannot be read (Permission denied)."
    expected = State.FAILED if policy is Policy.FAIL else State.COMPLETE_WITH_ERRORS
    assert world.job().state is expected
    closed.clear()
    world.notice([FOLDER + NAME])
    world.pump()
    assert world.job().state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), voxels)


def test_a_manifest_that_cannot_be_read_is_told_of(
    world: IngestWorld, tmp_path: Path, closed: set[str]
):
    world.drop_store = DroppedFiles(tmp_path, UPLOADS, DONE, fsync=False)
    closed.add("_ingest.json")
    world.drop("_ingest.json", b"{}")
    (waiting,) = world.process().drop.waiting.all()
    assert waiting.why == "_ingest.json cannot be read (Permission denied)."


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EIO, MalformedBodyError), (errno.EMFILE, UpstreamError)]
)
def test_only_what_waiting_does_not_mend_is_a_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
):
    def fail(path: Path, *, mapped: bool) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(objects, "read_content", fail)
    with pytest.raises(error):
        DroppedFiles(tmp_path, UPLOADS, DONE).get("drop/tk/em/1.png")


# files that are being written


def aged(tmp_path: Path) -> Callable[[float], list[str]]:
    """Return what lists keys so many seconds after the file was written."""
    now = (tmp_path / "drop" / "tk" / "em" / "1.png").stat().st_ctime

    def listed(age_s: float) -> list[str]:
        clock = Clock(now + age_s)
        store = DroppedFiles(tmp_path, UPLOADS, DONE, clock=clock)
        return [info.key for info in store.list("drop/")]

    return listed


def test_what_is_being_written_is_not_listed_but_what_we_put_is(tmp_path: Path):
    """Seen to fail without: a sweep took the half of a slice, and the job failed of it."""
    store = DroppedFiles(tmp_path, UPLOADS, DONE, fsync=False)
    for key in ("drop/j/upload", "drop/tk/em/1.png"):
        store.put(key, b"", Overwrite())
    os.utime(tmp_path / "drop" / "tk" / "em" / "1.png", (1, 1))  # as copying programs do
    listed = aged(tmp_path)
    assert listed(0.9) == ["drop/j/upload"]
    assert listed(1.1) == ["drop/j/upload", "drop/tk/em/1.png"]
    assert listed(-100) == ["drop/j/upload", "drop/tk/em/1.png"]  # the clock was set back
