"""RAMON objects when another process does something whole between any two steps of one."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from ndlambda.errors import AlreadyExistsError, NotFoundError
from ndlambda.model.ramon import Annotation, Segment, Synapse, parse_query
from ndlambda.services.ramon import many
from ndlambda.services.ramon.keys import index_rows
from tests.support.faults import Interrupted, at_every_step
from tests.support.ramon_world import CHANNEL, RamonWorld, disk_world


@pytest.fixture
def opened(tmp_path):
    return lambda name: disk_world(tmp_path / name)


def long(first: int) -> Synapse:
    """Return a synapse of more index rows than a transaction takes."""
    return Synapse(1, segments=tuple(range(first, first + 130)))


def _exact(world: RamonWorld, ramon: Annotation) -> bool:
    return world.index() == {(row.pk, row.sk) for row in index_rows(CHANNEL.uid, ramon)}


def test_an_upload_that_is_overtaken_by_one_of_its_id_is_refused(opened):
    """Seen to fail with "any" instead of "absent" in ``ObjectRows.add_many``."""
    for world, plan in at_every_step(opened, Interrupted, least=3):
        plan.interruption = lambda world=world: world.upload(Segment(1, author="theirs"))
        with suppress(AlreadyExistsError):
            world.upload(Segment(1, author="mine"), plan=plan)
        if plan.fired:
            stored = world.ramon().get(CHANNEL, 1).ramon
            assert stored == Segment(1, author="theirs")
            assert _exact(world, stored)


def test_who_is_overtaken_in_a_long_update_takes_nothing_out_of_the_index(opened):
    """Seen to fail with the check of the version taken out of ``ObjectRows._in_batches``."""
    for world, plan in at_every_step(opened, Interrupted, least=9):
        world.upload(long(100))
        plan.interruption = lambda world=world: world.ramon().update(CHANNEL, long(150))
        world.ramon(plan).update(CHANNEL, long(400))
        stored = world.ramon().get(CHANNEL, 1).ramon
        assert stored in {long(150), long(400)}
        assert _exact(world, stored), plan.log


def test_a_set_field_that_is_overtaken_is_not_lost(opened):
    """Seen to fail with "any" instead of the row's version in ``ObjectRows.change``."""
    for world, plan in at_every_step(opened, Interrupted, least=3):
        world.upload(Segment(1))
        plan.interruption = lambda world=world: world.ramon().set_field(CHANNEL, 1, "a", "1")
        world.ramon(plan).set_field(CHANNEL, 1, "b", "2")
        if plan.fired:
            stored = world.ramon().get(CHANNEL, 1).ramon
            assert stored.kvpairs == {"a": "1", "b": "2"}
            assert _exact(world, stored)


def at_transactions(*more: str) -> Callable[[int], Interrupted]:
    """Return what makes plans of few steps: reads of the index are the most, and change nothing."""
    return lambda at: Interrupted(at, lambda: None, ".transact", *more)


@pytest.mark.parametrize("theirs", ["changed", "deleted"])
def test_many_objects_of_which_others_change_one_meanwhile_are_all_deleted(
    opened, monkeypatch, theirs
):
    """Two in each transaction. Seen to fail with the ids of a lost transaction not tried again, and
    with "any" instead of the versions of rows: rows of the index stay."""
    monkeypatch.setattr(many, "_MAX_TOGETHER", 2)
    for world, plan in at_every_step(opened, at_transactions(".get", ".batch_get"), least=3):
        world.upload(*(Segment(number) for number in (1, 2, 3, 4)))

        def change(world=world):
            if theirs == "deleted":
                world.ramon().delete(CHANNEL, [3])
            else:
                with suppress(NotFoundError):
                    world.ramon().set_field(CHANNEL, 3, "author", "theirs")

        plan.interruption = change
        world.ramon(plan).delete(CHANNEL, [1, 2, 3, 4])
        assert world.ramon().query(CHANNEL, parse_query([])) == []
        assert world.index() == set(), plan.log


def test_two_merges_of_the_same_objects_keep_one(opened):
    """Seen to fail with the check of the survivor taken out of ``RamonMerge._retire``."""
    for world, plan in at_every_step(opened, at_transactions(), least=2):
        world.upload(Segment(1), Segment(2))
        outcomes: list[bool] = []

        def merge(survivor, loser, plan=None, world=world, outcomes=outcomes):
            try:
                world.merges(plan).merge(CHANNEL, survivor, [loser])
                outcomes.append(True)
            except NotFoundError:
                outcomes.append(False)

        plan.interruption = lambda merge=merge: merge(2, 1)
        merge(1, 2, plan)
        if plan.fired:
            assert sorted(outcomes) == [False, True]
            assert len(world.ramon().query(CHANNEL, parse_query([]))) == 1


@pytest.mark.parametrize("fate", ["into the loser", "into a third", "deleted"])
def test_a_merge_whose_survivor_goes_meanwhile_loses_no_reference(opened, fate):
    """Seen to fail with references moved before it is sure that the survivor stays: a refused merge
    had moved them to what was gone."""
    for world, plan in at_every_step(opened, at_transactions(".get", ".batch_get"), least=6):
        world.upload(Segment(1), Segment(2), Segment(3), Synapse(8, segments=(1, 2)))

        def change(world=world):
            with suppress(NotFoundError):
                if fate == "deleted":
                    world.ramon().delete(CHANNEL, [1])
                else:
                    world.merges().merge(CHANNEL, 2 if fate == "into the loser" else 3, [1])

        plan.interruption = change
        with suppress(NotFoundError):
            world.merges(plan).merge(CHANNEL, 1, [2])
        if plan.fired:
            found = [world.merges().descent(CHANNEL, number) for number in (1, 2)]
            heirs = {heir for _, heir in found if heir is not None}
            deleted = {number for gone, heir in found if heir is None for number in gone}
            named = world.ramon().get(CHANNEL, 8).ramon.segments
            assert heirs <= {*named} <= heirs | deleted, plan.log
