"""RAMON objects after a process died at each of its steps, and was run again.

Seen to fail: with the index rows written in a transaction of their own behind the object's, a
creation that died between the two was never found by a query; with ``find_settled`` or
``find_all_settled`` giving rows as they are, a long update or creation that died was never
completed; with a claim refused to a repeated upload, its id stayed without an object.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest

from ndlambda.errors import AlreadyExistsError
from ndlambda.model.ramon import Annotation, Segment, Synapse, parse_query
from ndlambda.services.ramon.keys import index_rows
from ndlambda.services.ramon.rows import ObjectRows, Tombstone
from ndlambda.wire.ramon.contract import AnnotationVoxels, RamonItem
from tests.support.faults import Crash, FaultPlan, at_every_step
from tests.support.ramon_world import CHANNEL, RamonWorld, disk_world

LONG = tuple(range(1000, 1120))
QUERIES = ["", "type/4", "type/2", "status/0", "syn_segments/2", "syn_segments/1", "k/v", "k/w"]


SPOT = AnnotationVoxels(0, np.array([[1, 2, 3]], "<u4"))
Act = Callable[[RamonWorld, FaultPlan | None], object]


@dataclass(frozen=True)
class Case:
    before: tuple[Annotation, ...]
    act: Act
    after: tuple[Annotation, ...]


def upload(ramon: Annotation, voxels: AnnotationVoxels | None = None) -> Act:
    """Return the upload of an object; one with voxels claims its id before it paints them."""

    def act(world: RamonWorld, plan: FaultPlan | None) -> None:
        # What its dead predecessor may have done is found, not done again.
        with suppress(AlreadyExistsError):
            world.upload(RamonItem(ramon, voxels), plan=plan)

    return act


def update(ramon: Annotation) -> Act:
    return lambda world, plan: world.ramon(plan).update(CHANNEL, ramon)


def delete(*ids: int) -> Act:
    return lambda world, plan: world.ramon(plan).delete(CHANNEL, list(ids))


ONE, TWO = Segment(1), Segment(2, kvpairs={"k": "v"})
NEW, NEW_LONG = Segment(7, kvpairs={"k": "v"}), Synapse(7, segments=LONG)
OTHER, OTHER_LONG = Synapse(2, kvpairs={"k": "w"}), Synapse(2, segments=tuple(range(2, 110)))
SEGMENTS = (ONE, TWO, Synapse(3, segments=(1, 2)))

CASES = {
    "create": Case((), upload(NEW), (NEW,)),
    "create long": Case((), upload(NEW_LONG), (NEW_LONG,)),
    "create painted": Case((), upload(NEW, SPOT), (NEW,)),
    "create painted long": Case((), upload(NEW_LONG, SPOT), (NEW_LONG,)),
    "update": Case((TWO,), update(OTHER), (OTHER,)),
    "update long": Case((Synapse(2, segments=(1, *LONG)),), update(OTHER_LONG), (OTHER_LONG,)),
    "set field": Case(
        (TWO,),
        lambda world, plan: world.ramon(plan).set_field(CHANNEL, 2, "k", "w"),
        (Segment(2, kvpairs={"k": "w"}),),
    ),
    "delete": Case(SEGMENTS, delete(2, 99), (ONE, SEGMENTS[2])),
    "delete long": Case((ONE, Synapse(2, segments=LONG)), delete(2), (ONE,)),
    "merge": Case(
        SEGMENTS,
        lambda world, plan: world.merges(plan).merge(CHANNEL, 1, [2]),
        (ONE, Synapse(3, segments=(1,))),
    ),
}


def check_answers(world: RamonWorld) -> None:
    """No answer names an object that is not there or does not fit, and none is left out."""
    ramon = world.ramon()
    living = ramon.get_many(CHANNEL, ramon.query(CHANNEL, parse_query([])))
    for words in QUERIES:
        query = parse_query(words.split("/") if words else [])
        expected = [made.id for made in living if query.holds(made)]
        assert ramon.query(CHANNEL, query) == expected, words


@pytest.mark.parametrize("name", CASES)
def test_a_retry_ends_as_if_it_was_done_once(tmp_path, name):
    case = CASES[name]
    for world, plan in at_every_step(lambda name: disk_world(tmp_path / name), least=2):
        world.upload(*case.before)
        with suppress(Crash):
            case.act(world, plan)
        check_answers(world)
        case.act(world, None)
        check_answers(world)
        found = world.ramon().query(CHANNEL, parse_query([]))
        assert tuple(world.ramon().get_many(CHANNEL, found)) == case.after
        exact = {(row.pk, row.sk) for made in case.after for row in index_rows("uid-1", made)}
        assert world.index() == exact
        assert not [row for row in world.rows() if {"next", "last"} & row.doc.keys()]
        if name.startswith("delete"):
            assert 2 in world.eraser.erased
        if name == "merge":
            states = ObjectRows(world.table).find_many(CHANNEL.uid, [2])
            assert states == {2: Tombstone(merged_into=1)}
