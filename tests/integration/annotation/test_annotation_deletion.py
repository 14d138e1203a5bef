"""Objects deleted with their voxels, at once and by the worker, on files and on the AWS stores."""

from typing import Any

import numpy as np
import pytest

from ndlambda.errors import WriteContentionError
from ndlambda.model.catalog import Channel
from ndlambda.model.discipline import Discipline
from ndlambda.model.propagation import PropagateState
from ndlambda.model.ramon import Annotation, ObjectQuery, Segment
from ndlambda.services.annotation import erasing as object_erasure
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.catalog.deletion_job import EraseState
from ndlambda.services.labels.ids import counter_key
from ndlambda.services.labels.index import SHARDS, partition
from ndlambda.services.ramon.keys import partitions
from ndlambda.services.ramon.rows import ObjectRows, Tombstone
from ndlambda.services.support.tries import MAX_TRIES
from ndlambda.services.support.watch import WatchMessage
from ndlambda.space.box import Box
from ndlambda.stores.ports import Overwrite
from tests.support.annotation_world import DATASET, AnnotationWorld, block, points
from tests.support.catalog_world import GRACE_S

NEW = WriteMode()
LARGE = Box((0, 0, 0), (200, 150, 40))
"""In two supercuboids."""


@pytest.fixture(autouse=True)
def one_supercuboid_is_small(monkeypatch):
    monkeypatch.setattr(object_erasure, "LARGE_SUPERCUBOIDS", 1)


@pytest.fixture
def disk(annotations_on_disk):
    return annotations_on_disk


@pytest.fixture(params=["disk", "moto"])
def world(request):
    return request.getfixturevalue(f"annotations_on_{request.param}")


def filled(world: AnnotationWorld, name: str = "labels") -> Channel:
    """Return a channel with a large object 5 and, over it, a small one 6."""
    channel = world.channel(name)
    items = [block(Segment(5), LARGE), points(Annotation(6), [[1, 1, 1]])]
    world.own.writer.upload(DATASET, channel, items, NEW)
    return channel


def labels_of(world: AnnotationWorld, channel: Channel) -> set[int]:
    return set(np.unique(world.image(channel)).tolist()) - {0}


def state(world: AnnotationWorld, channel: Channel, number: int) -> Any:
    return ObjectRows(world.table).find_many(channel.uid, [number]).get(number)


def test_a_large_object_is_gone_at_once_and_its_voxels_by_the_worker(world):
    channel = filled(world)
    assert world.own.writer.delete(channel, [5, 6]) == [5]
    assert world.own.ramon.query(channel, ObjectQuery(())) == []
    assert labels_of(world, channel) == {5}
    assert state(world, channel, 5) == Tombstone()
    assert state(world, channel, 6) == Tombstone()  # a small one goes at once
    assert world.jobs == [f"{channel.uid}#5"]
    assert world.pump() == 1
    assert labels_of(world, channel) == set()
    assert state(world, channel, 5) == Tombstone()
    assert not world.jobs


def test_deleting_again_or_what_never_was_is_success(disk):
    channel = filled(disk)
    writer = disk.own.writer
    assert writer.delete(channel, [5]) == [5]
    assert writer.delete(channel, [5, 5, 0, 99, 1 << 40]) == [5]  # still erasing, still one job
    assert disk.jobs == [f"{channel.uid}#5"]
    disk.pump()
    assert writer.delete(channel, [5]) == []
    assert labels_of(disk, channel) == {6}
    painted = [points(Annotation(9), [[0, 0, 0]])]
    writer.upload(DATASET, channel, painted, WriteMode(data_only=True))
    assert writer.delete(channel, [9]) == []  # a label without an object
    assert labels_of(disk, channel) == {6}


def test_all_resolutions_and_extra_labels_go(disk):
    channel = filled(disk)
    items = [points(Annotation(7), [[1, 1, 1]])]
    disk.own.writer.upload(DATASET, channel, items, WriteMode(Discipline.EXCEPTION))
    items = [points(Annotation(7), [[1, 1, 1]], 1)]
    disk.own.writer.upload(DATASET, channel, items, WriteMode(data_only=True))
    disk.own.writer.delete(channel, [7])
    disk.let_all_work_end()
    for resolution in (0, 1):
        assert 7 not in np.unique(disk.image(channel, resolution))
    assert state(disk, channel, 7) == Tombstone()


def test_what_others_keep_painting_is_left_to_the_worker(disk, monkeypatch):
    def contended(*_: object) -> None:
        raise WriteContentionError("busy")

    channel = filled(disk)
    with monkeypatch.context() as patched:
        patched.setattr(disk.own.labels, "erase_labels", contended)
        assert disk.own.writer.delete(channel, [6]) == [6]
        disk.pump()  # in vain
    assert disk.jobs == [f"{channel.uid}#6"]
    disk.clock.advance(60)
    assert disk.pump() == 1
    assert labels_of(disk, channel) == {5}
    assert not disk.jobs


@pytest.mark.parametrize(
    "change", [{"propagate": PropagateState.UNDER_PROPAGATION}, {"readonly": True}]
)
def test_the_worker_waits_until_the_channel_takes_writes(disk, change):
    """Seen to fail with the refusal let through, as nobody is called then."""
    channel = filled(disk)
    disk.own.writer.delete(channel, [5])
    disk.own.catalog.update_channel("pr", "labels", **change)
    for _ in range(3):
        disk.pump()
        disk.clock.advance(60)
    assert disk.jobs
    assert labels_of(disk, channel) == {5, 6}
    disk.own.catalog.update_channel("pr", "labels", propagate=0, readonly=False)
    assert disk.pump() == 1
    assert labels_of(disk, channel) == {6}
    assert not disk.jobs


def test_a_lost_message_is_sent_again(disk):
    channel = filled(disk)
    disk.own.writer.delete(channel, [5])
    disk.lose_messages()
    disk.clock.advance(61)
    disk.own.erasure.sweep()
    assert disk.pump() == 1
    assert labels_of(disk, channel) == {6}


@pytest.mark.parametrize("work", ["deletion", "merge"])
def test_a_damaged_supercuboid_fails_the_job_until_it_is_mended(disk, work):
    """Seen to fail where the error is only logged: the job is called for without end."""
    channel = filled(disk)
    key = next(iter(disk.objects.list(f"pr/labels/{channel.uid}/"))).key
    sound = bytes(disk.objects.get(key).data)
    if work == "deletion":
        disk.own.writer.delete(channel, [5])
    else:
        disk.own.annotations.merge(DATASET, channel, [6, 5])
    [job_id] = disk.jobs
    disk.objects.put(key, b"no supercuboid", Overwrite())
    runs = 0
    for _ in range(40):
        runs += disk.pump()
        disk.clock.advance(60)
    job = disk.erase_jobs.find(job_id)
    assert (job.state, runs) == (EraseState.FAILED, MAX_TRIES)
    assert "supercuboid" in job.reason
    disk.objects.put(key, sound, Overwrite())
    disk.erase_jobs.retry(job_id)
    disk.let_all_work_end()
    assert labels_of(disk, channel) == {6}
    assert not disk.jobs


def test_no_second_worker_is_called_while_one_may_be_at_work(disk):
    """Seen to fail where ``take`` leaves the job due: with each look another worker would join."""
    channel = filled(disk)
    disk.own.writer.delete(channel, [5])
    [job_id] = disk.jobs
    disk.lose_messages()
    erase, called = disk.own.labels.erase_labels, []

    def slow(*args: Any) -> None:
        disk.clock.advance(600)
        disk.own.erasure.sweep()
        bodies = [message.body for message in disk.queue.receive()]
        called.append(sum(WatchMessage.find(body) is None for body in bodies))
        erase(*args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(disk.own.labels, "erase_labels", slow)
        disk.own.erasure.run(job_id)
    assert called == [0]
    assert not disk.jobs


def test_a_channel_of_the_same_name_made_meanwhile_keeps_its_labels(disk):
    """Seen to fail without the comparison of uids."""
    old = filled(disk)
    disk.own.writer.delete(old, [5])
    disk.own.catalog.delete_channel("pr", "labels")
    new = filled(disk)
    assert f"{old.uid}#5" in disk.jobs
    disk.let_all_work_end()
    assert not disk.jobs
    assert labels_of(disk, new) == {5, 6}
    assert [ramon.id for ramon in disk.stored(new)] == [5, 6]


@pytest.mark.parametrize("what", ["channel", "project", "dataset"])
def test_a_job_ends_with_its_channel(disk, what):
    channel = filled(disk)
    disk.own.writer.delete(channel, [5])
    names = {"channel": ("pr", "labels"), "project": ("pr",), "dataset": ("brain",)}[what]
    getattr(disk.own.catalog, f"delete_{what}")(*names)
    disk.let_all_work_end()
    assert not disk.jobs
    assert not list(disk.objects.list(""))


def test_a_deleted_channel_leaves_no_row_of_its_objects(disk):
    """Seen to fail without ``delete_objects`` in ``Erasure``."""
    channel, kept = filled(disk), filled(disk, "kept")
    disk.own.catalog.delete_channel("pr", "labels")
    disk.clock.advance(GRACE_S)
    disk.let_all_work_end()
    labels = [partition(channel.uid, shard) for shard in range(SHARDS)]
    for pk in [*partitions(channel.uid), *labels]:
        assert not disk.table.query(pk).rows
    assert disk.table.get(*counter_key(channel.uid)) is None
    assert [ramon.id for ramon in disk.stored(kept)] == [5, 6]
