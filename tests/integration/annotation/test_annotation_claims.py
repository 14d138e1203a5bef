"""Uploads of one id at the same time: one gets it, and of the others no voxel stays."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from ndlambda.cuboids import extras
from ndlambda.errors import AlreadyExistsError, PayloadTooLargeError
from ndlambda.model.catalog import Channel
from ndlambda.model.discipline import Discipline
from ndlambda.model.ramon import Annotation, Segment
from ndlambda.services.annotation import paintings
from ndlambda.services.annotation.claims import LEASE_S
from ndlambda.services.annotation.options import WriteMode
from ndlambda.space.box import Box
from ndlambda.wire.ramon.contract import RamonItem
from tests.support.annotation_world import (
    DATASET,
    AnnotationWorld,
    Process,
    block,
    disk_world,
    points,
)
from tests.support.faults import Crash, FaultPlan, Interrupted, at_every_step

NEW = WriteMode()
FIRST, SECOND = Box((100, 100, 10), (140, 140, 20)), Box((10, 20, 0), (30, 30, 6))
MINE, THEIRS = block(Segment(5, author="a"), FIRST), block(Segment(5, author="b"), SECOND)


@pytest.fixture
def world(annotations_on_disk):
    return annotations_on_disk


@pytest.fixture
def other(tmp_path, world):
    """Another process on the same stores."""
    with ThreadPoolExecutor(4) as first, ThreadPoolExecutor(4) as second:
        yield disk_world(tmp_path, (first, second)).own


def voxels(world: AnnotationWorld, channel: Channel, label: int) -> int:
    return int((world.image(channel) == label).sum())


def upload(process: Process, channel: Channel, *items: RamonItem) -> list[int] | None:
    """Return the ids, None where one is used already."""
    try:
        return process.writer.upload(DATASET, channel, items, NEW)
    except AlreadyExistsError:
        return None


def test_a_rival_at_any_step_of_an_upload_leaves_no_voxel_or_all(world, other):
    """Seen to fail without ``held.keep()``: the loser's voxels stay."""
    winners = set()
    for channel, plan in at_every_step(world.channel, Interrupted, least=9):
        theirs: list[Any] = []
        plan.interruption = lambda to=channel, got=theirs: got.append(upload(other, to, THEIRS))
        mine = upload(world.process(plan), channel, MINE)
        if plan.fired:
            assert [mine, *theirs].count(None) == 1, plan.log
            [stored] = world.stored(channel)
            assert stored.author == ("a" if mine else "b")
            assert voxels(world, channel, 5) == (FIRST if mine else SECOND).voxels, plan.log
            winners.add(stored.author)
    assert winners == {"a", "b"}


def test_an_id_that_was_given_is_not_painted_by_one_who_chooses_it(world, other):
    theirs = block(Segment(1, author="b"), SECOND)
    for channel, plan in at_every_step(world.channel, Interrupted, least=9):
        plan.interruption = lambda to=channel: upload(other, to, theirs)
        upload(world.process(plan), channel, block(Segment(author="a"), FIRST))
        for ramon in world.stored(channel):
            box = FIRST if ramon.author == "a" else SECOND
            assert voxels(world, channel, ramon.id) == box.voxels, plan.log


def test_an_id_of_a_dead_upload_is_others_after_a_while(world):
    """A repeated upload need not wait (``test_annotation_crashes``)."""
    refused = 0
    for channel, plan in at_every_step(world.channel):
        with suppress(Crash):
            world.process(plan).writer.upload(DATASET, channel, [MINE], NEW)
        if world.stored(channel):
            assert voxels(world, channel, 5) == FIRST.voxels
            assert upload(world.own, channel, THEIRS) is None
        elif upload(world.own, channel, THEIRS) is None:
            refused += 1
            assert not world.image(channel)[SECOND.slices_zyx()].any()
            world.clock.advance(LEASE_S)
            assert upload(world.own, channel, THEIRS) == [5]
        [stored] = world.stored(channel)
        assert stored.author in {"a", "b"}
    assert refused > 2


def test_an_upload_that_takes_long_keeps_its_claims(world, other, monkeypatch):
    """Seen to fail with the claims taken once, in front of the first batch."""
    monkeypatch.setattr(paintings, "MAX_BATCH_VOXELS", 1)
    channel = world.channel()
    process, theirs = world.process(), []
    paint_voxels = process.labels.paint_voxels

    def slow(*args: Any) -> None:
        world.clock.advance(LEASE_S / 2)
        theirs.append(upload(other, channel, THEIRS))
        paint_voxels(*args)

    monkeypatch.setattr(process.labels, "paint_voxels", slow)
    spots = [[[x, 0, 0], [x, 1, 0]] for x in range(4)]
    items = [points(Annotation(number), spots[number - 5]) for number in range(5, 9)]
    assert upload(process, channel, *items) == [5, 6, 7, 8]
    assert theirs == [None] * 4
    assert np.unique(world.image(channel)).tolist() == [0, 5, 6, 7, 8]


def test_of_the_same_id_uploaded_by_many_one_is_stored(tmp_path, world):
    channel = world.channel()
    boxes = [Box((20 * n, 0, 0), (20 * n + 20, 140, 10)) for n in range(6)]
    barrier = Barrier(len(boxes))

    def run(number: int) -> list[int] | None:
        with ThreadPoolExecutor(2) as first, ThreadPoolExecutor(2) as second:
            process = disk_world(tmp_path, (first, second)).own
            barrier.wait()
            return upload(process, channel, block(Segment(5, status=number), boxes[number]))

    with ThreadPoolExecutor(len(boxes)) as pool:
        found = list(pool.map(run, range(len(boxes))))
    assert found.count(None) == len(boxes) - 1
    [stored] = world.stored(channel)
    assert found[stored.status] == [5]
    assert voxels(world, channel, 5) == boxes[stored.status].voxels


def test_many_ids_are_claimed_in_several_transactions(world):
    channel = world.channel()
    items = [points(Annotation(n), [[n % 200, n // 200, 0]]) for n in range(1, 252)]
    assert upload(world.own, channel, *items) == list(range(1, 252))
    assert len(world.stored(channel)) == 251
    assert upload(world.own, channel, *items) is None


def test_the_same_voxels_in_another_way_are_another_upload(world):
    channel = world.channel()
    with suppress(Crash):
        world.process(FaultPlan(8)).writer.upload(DATASET, channel, [MINE], NEW)
    assert not world.stored(channel)
    mode = WriteMode(Discipline.PRESERVE)
    with pytest.raises(AlreadyExistsError):
        world.own.writer.upload(DATASET, channel, [MINE], mode)
    assert upload(world.own, channel, MINE) == [5]


def test_who_is_refused_while_painting_may_send_it_corrected_at_once(world, monkeypatch):
    """Seen to fail without ``held.release()``: the id was taken for a quarter of an hour."""
    channel = world.channel()
    assert upload(world.own, channel, MINE) == [5]
    monkeypatch.setattr(extras, "MAX_PAIRS", 8)
    mode = WriteMode(Discipline.EXCEPTION)
    with pytest.raises(PayloadTooLargeError):
        world.own.writer.upload(DATASET, channel, [block(Segment(6), FIRST)], mode)
    corner = Box(FIRST.start_xyz, (102, 102, 12))
    assert world.own.writer.upload(DATASET, channel, [block(Segment(6), corner)], mode) == [6]


def test_ids_claimed_beside_one_that_others_took_first_are_free_again(world, other):
    """The 150 ids are claimed in two transactions, and the second is refused. Seen to fail without
    ``held.release()``."""
    channel = world.channel()
    items = [points(Annotation(n), [[n, 0, 0]]) for n in range(1, 151)]
    theirs = points(Segment(150), [[0, 9, 0]])
    plan = Interrupted(2, lambda: upload(other, channel, theirs), ".transact")
    assert upload(world.process(plan), channel, *items) is None
    assert np.unique(world.image(channel)).tolist() == [0, 150]
    assert upload(other, channel, points(Segment(1), [[0, 10, 0]])) == [1]


def test_a_twin_that_is_refused_takes_back_no_claim_of_the_other(world, other, monkeypatch):
    """As where a client sends again what is still being painted. Seen to fail with all claims taken
    back, not only those that were not there before."""
    channel = world.channel()
    process = world.process()
    paint, refused = process.labels.paint, []

    def between(*args: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(other.labels, "paint", refuse)
            with pytest.raises(PayloadTooLargeError):
                upload(other, channel, MINE)
        refused.append(upload(other, channel, THEIRS))
        paint(*args)

    def refuse(*_: object) -> None:
        raise PayloadTooLargeError("too much")

    monkeypatch.setattr(process.labels, "paint", between)
    assert upload(process, channel, MINE) == [5]
    assert set(refused) == {None}


def test_an_id_deleted_at_any_step_of_its_upload_has_all_its_voxels_or_no_object(world, other):
    """Seen to fail where a deletion passes claims over: an object without voxels."""
    outcomes = set()
    for channel, plan in at_every_step(world.channel, Interrupted, least=9):
        plan.interruption = lambda to=channel: other.writer.delete(to, [5])
        mine = upload(world.process(plan), channel, MINE)
        if not plan.fired:
            continue
        outcomes.add(mine is None)
        if mine is None:
            assert not world.stored(channel), plan.log
        else:
            assert voxels(world, channel, 5) == FIRST.voxels, plan.log
        assert other.writer.delete(channel, [5]) == []
        assert voxels(world, channel, 5) == 0, plan.log
    assert outcomes == {True, False}


def test_an_id_that_another_upload_claims_first_is_refused(world, other, monkeypatch):
    """The other upload has its claim and no object yet when it is this one's turn. Seen to fail
    where ``Claims`` takes over any claim: both paint."""
    refused: list[bool] = []

    def die(*_: object) -> None:
        raise Crash

    monkeypatch.setattr(other.labels, "paint", die)
    for channel, plan in at_every_step(world.channel, Interrupted):
        claimed: list[bool] = []

        def claim(to=channel, got=claimed):
            got.append(True)
            with suppress(Crash):
                upload(other, to, THEIRS)
                got[:] = [False]

        plan.interruption = claim
        mine = upload(world.process(plan), channel, MINE)
        if plan.fired:
            assert claimed == [mine is None], plan.log
            whole = 0 if mine is None else FIRST.voxels
            assert voxels(world, channel, 5) == whole, plan.log
            refused.append(mine is None)
    assert refused.count(True) > 1
    assert refused.count(False) > 1
