"""Files that people copy in: doubled, closed to the server, or still being written."""

import errno
import os

import numpy as np
import pytest

from ingest_queue.jobs.job import Policy, State
from ingest_queue.jobs.keys import DONE, UPLOADS
from ndlambda.errors import MalformedBodyError, UpstreamError
from ndlambda.stores.disk import DroppedFiles, content, objects
from ndlambda.stores.ports import Overwrite
from tests.support.catalog_world import Clock
from tests.support.ingest_world import FOLDER, OFFSET, look_after_all, png, stack

BAD = OFFSET + 2
DEPTH = 6  # slices of a volume of one chunk
NAME = f"{BAD:04d}.png"
OTHER = f"{BAD}.png"
VOXELS = stack(1, z=DEPTH)[0]
OTHER_VOXELS = VOXELS.copy()
OTHER_VOXELS[BAD - OFFSET] = stack(9)[0, 0]


def drop_all(world, policy=Policy.FAIL, without=-1):
    world.drop("_ingest.json", f'{{"on_bad": "{policy}"}}'.encode())
    for z, plane in enumerate(VOXELS, OFFSET):
        if z != without:
            world.drop_slice(z, plane)


def drop_other(world, voxels=OTHER_VOXELS):
    world.drop(OTHER, png(voxels[BAD - OFFSET]))


def test_of_two_files_for_a_slice_the_first_is_stored_and_the_other_reported(world):
    """Seen to fail when the last won: each sweep found the other, and had the chunk built again."""
    drop_all(world, without=OFFSET)
    drop_other(world)
    for _ in range(2):
        look_after_all(world.process().ingest)
    world.drop_slice(OFFSET, VOXELS[0])
    world.pump()
    assert world.state is State.COMPLETE_WITH_ERRORS
    (fault,) = world.faults()
    assert (fault.key, fault.count) == (FOLDER + OTHER, 1)
    assert f"{FOLDER}{NAME}, which came first" in fault.error
    np.testing.assert_array_equal(world.stored(), VOXELS)


def test_the_second_file_counts_once_the_first_is_deleted(world):
    drop_all(world, without=OFFSET)
    drop_other(world)
    world.drop_store.delete(FOLDER + NAME)
    look_after_all(world.process().ingest)
    assert not world.faults()
    world.drop_slice(OFFSET, VOXELS[0])
    world.pump()
    world.check_whole(OTHER_VOXELS)


@pytest.mark.parametrize("again", ["copied", "retried"])
def test_the_second_file_is_stored_over_the_first_when_that_was_wrong(world, again):
    """Seen to fail when the chunk was not opened again: the wrong slice stayed, and no fault."""
    drop_all(world)
    drop_other(world)
    world.pump()
    assert world.state is State.COMPLETE_WITH_ERRORS
    world.drop_store.delete(FOLDER + NAME)
    if again == "copied":
        world.notice([FOLDER + OTHER])
    else:
        world.retry()
    world.pump()
    world.check_whole(OTHER_VOXELS)


def test_an_unusable_slice_is_mended_by_a_file_of_another_name(world):
    drop_all(world, without=BAD)
    world.drop(NAME, b"no image")
    world.pump()
    assert world.state is State.FAILED
    drop_other(world)
    world.pump()
    world.check_whole(OTHER_VOXELS)


def test_the_same_content_under_two_names_is_no_fault(world):
    drop_all(world)
    drop_other(world, VOXELS)
    world.pump()
    assert world.state is State.COMPLETE


@pytest.fixture
def closed(monkeypatch, world, tmp_path):
    """Names of files that the system refuses to open, for every process."""
    names = set()
    world.drop_store = DroppedFiles(tmp_path, UPLOADS, DONE, fsync=False)
    plainly = content.open_file

    def open_file(path):
        if path.name in names:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return plainly(path)

    monkeypatch.setattr(content, "open_file", open_file)
    return names


@pytest.mark.parametrize("policy", Policy)
def test_a_file_that_cannot_be_read_is_a_bad_slice_until_it_can(world, closed, policy):
    """Seen to fail when it was a fault of the store: asked for five times, and reported nowhere."""
    closed.add(NAME)
    drop_all(world, policy)
    world.pump()
    (fault,) = world.faults()
    assert fault.key == FOLDER + NAME
    assert fault.error == f"{NAME} cannot be read (Permission denied)."
    expected = State.FAILED if policy is Policy.FAIL else State.COMPLETE_WITH_ERRORS
    assert world.state is expected
    closed.clear()
    world.notice([FOLDER + NAME])
    world.pump()
    world.check_whole(VOXELS)


def test_a_manifest_that_cannot_be_read_is_reported(world, closed):
    closed.add("_ingest.json")
    world.drop("_ingest.json", b"{}")
    assert world.waiting() == {FOLDER: "_ingest.json cannot be read (Permission denied)."}


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EIO, MalformedBodyError), (errno.EMFILE, UpstreamError)]
)
def test_only_what_waiting_does_not_mend_is_a_fault_of_the_file(
    tmp_path, monkeypatch, number, error
):
    def fail(path, key, *, whole):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(objects, "open_content", fail)
    with pytest.raises(error):
        DroppedFiles(tmp_path, UPLOADS, DONE).get("drop/tk/em/1.png")


def test_what_is_being_written_is_not_listed_but_what_we_put_is(tmp_path):
    """Seen to fail without: a sweep took the half of a slice, and the job failed of it."""
    store = DroppedFiles(tmp_path, UPLOADS, DONE, fsync=False)
    for key in ("drop/j/upload", "drop/tk/em/1.png"):
        store.put(key, b"", Overwrite())
    path = tmp_path / "drop" / "tk" / "em" / "1.png"
    os.utime(path, (1, 1))  # as copying programs do
    for age_s, slices in ((0.9, []), (1.1, [path]), (-100, [path])):  # the clock was set back
        clock = Clock(path.stat().st_ctime + age_s)
        listed = DroppedFiles(tmp_path, UPLOADS, DONE, clock=clock).list("drop/")
        uploads = [tmp_path / "drop" / "j" / "upload"]
        assert [tmp_path / info.key for info in listed] == uploads + slices
