"""Objects made of labels that have none: page by page, beside others, and by processes that die."""

from contextlib import suppress

import numpy as np
import pytest

from ndlambda.errors import AlreadyExistsError, InvalidArgumentError, ReadOnlyChannelError
from ndlambda.model.discipline import Discipline
from ndlambda.model.ramon import ObjectQuery, RamonType, Segment, parse_query
from ndlambda.services.annotation import adoption
from ndlambda.services.annotation.adoption import LabelCursor
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.labels import index
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.service import LabelService
from ndlambda.wire.ramon.contract import RamonItem
from tests.support.annotation_world import DATASET, disk_world
from tests.support.faults import Crash, Interrupted, at_every_step, copies_of

LABELS = [1, 2, 3, 17, 33, 49, 65, 1000, 1001]
"""Of one shard and of several."""


def paint(labels: LabelService, channel, names, z=0):
    volume = LabelVolume(channel, DATASET.pyramid.level(0), 0)
    points = np.array([[x, 5, z] for x in range(len(names))])
    labels.paint_voxels(volume, points, np.array(names, "<u4"), Discipline.OVERWRITE)


def adopt_all(process, channel):
    """Return the results of all calls."""
    done = [process.adoption.adopt(channel, RamonType.SEGMENT)]
    while done[-1].following is not None:
        done.append(process.adoption.adopt(channel, RamonType.SEGMENT, done[-1].following))
    return done


@pytest.fixture
def opened(tmp_path, pools):
    """What opens a copy of a world with labels."""
    world = disk_world(tmp_path / "prepared", pools)
    world.populate()
    paint(world.own.labels, world.channel(), LABELS)
    world.close()
    return copies_of(tmp_path / "prepared", lambda folder: disk_world(folder, pools))


def test_labels_are_looked_at_in_pages_of_bounded_work(annotations_on_disk, monkeypatch):
    world, names = annotations_on_disk, [*range(1, 90), 2**32 - 1]
    channel = world.channel()
    paint(world.own.labels, channel, names)
    paint(world.own.labels, channel, names[:20], z=39)  # a second row of the index
    monkeypatch.setattr(adoption, "_MAX_LABELS", 4)
    monkeypatch.setattr(adoption, "_BATCH", 2)
    monkeypatch.setattr(index, "_PAGE", 3)
    done = adopt_all(world.own, channel)
    assert [ramon.id for ramon in world.stored(channel)] == names
    assert sum(each.adopted for each in done) == sum(each.labels for each in done) == len(names)
    assert max(each.labels for each in done) <= 6
    shares = [each.progress for each in done]
    assert shares == sorted(shares)
    assert (shares[0] < 0.1, shares[-1]) == (True, 1.0)
    assert sum(each.adopted for each in adopt_all(world.own, channel)) == 0


def test_a_label_that_was_painted_over_gets_no_object(annotations_on_disk):
    world = annotations_on_disk
    channel = world.channel()
    paint(world.own.labels, channel, [5, 21, 7])
    paint(world.own.labels, channel, [21])
    assert [each.adopted for each in adopt_all(world.own, channel)] == [2]
    assert [ramon.id for ramon in world.stored(channel)] == [7, 21]


def test_a_channel_that_takes_no_writes_keeps_its_labels_as_they_are(annotations_on_disk):
    world = annotations_on_disk
    with pytest.raises(ReadOnlyChannelError):
        world.own.adoption.adopt(world.channel(readonly=True), RamonType.SEGMENT)


@pytest.mark.parametrize("text", ["", "1", "g:1", "0:", "0:" + "f" * 17, "00:1", "0:1\n"])
def test_what_no_answer_gave_is_no_place_to_continue(text):
    with pytest.raises(InvalidArgumentError, match="next"):
        LabelCursor.parse(text)
    assert str(LabelCursor.parse("a:1f4")) == "a:1f4"


def test_an_object_that_others_make_meanwhile_is_left_as_it_is(opened):
    """Seen to fail without the condition in ``ObjectRows.add_many``, without the look for known
    ids, and with labels passed over when the condition fails."""
    theirs = Segment(17, author="theirs")
    for world, plan in at_every_step(opened, Interrupted, least=5):
        channel = world.own.catalog.get_channel("pr", "labels")

        def upload(world=world, channel=channel):
            with suppress(AlreadyExistsError):
                world.own.writer.upload(DATASET, channel, [RamonItem(theirs)], WriteMode())
                return True

        plan.interruption = upload
        adopt_all(world.process(plan), channel)
        stored = {ramon.id: ramon for ramon in world.stored(channel)}
        assert list(stored) == LABELS
        assert stored[17] == (theirs if plan.outcome else Segment(17)), plan.log
        found = world.own.ramon.query(channel, parse_query(["author", "theirs"]))
        assert found == ([17] if plan.outcome else [])


def test_what_a_process_left_that_died_is_completed_by_a_repetition(opened, monkeypatch):
    """Objects are there with their index rows, or not at all."""
    monkeypatch.setattr(adoption, "_BATCH", 2)
    segments = parse_query(["type", str(int(RamonType.SEGMENT))])
    for world, plan in at_every_step(opened, least=4):
        channel = world.own.catalog.get_channel("pr", "labels")
        with suppress(Crash):
            adopt_all(world.process(plan), channel)
        ramon = world.own.ramon
        assert ramon.query(channel, segments) == ramon.query(channel, ObjectQuery(()))
        adopt_all(world.own, channel)
        assert ramon.query(channel, segments) == LABELS
