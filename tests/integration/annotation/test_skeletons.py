"""Skeletons in the table: what is stored of a file, what others did to it, deaths half-way."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import pytest

from ndlambda.errors import (
    AlreadyExistsError,
    InvalidStateError,
    PayloadTooLargeError,
    UpstreamError,
    ValidationError,
)
from ndlambda.model.ramon import Node, Segment, Skeleton, parse_query
from ndlambda.services.annotation import skeletons as module
from ndlambda.wire.skeleton.swc import Swc, SwcNode, read_swc
from tests.support.faults import Crash, at_every_step
from tests.support.ramon_world import CHANNEL
from tests.support.skeleton_world import skeleton_world

FOREST = read_swc(
    b"# two cells\n#by hand\n"
    b"10 1 1 2 3 4 -1\n11 3 1.5 2 3 .5 10\n20 1 7 8 9 1 -1\n12 2 0 0 0 0 11\n21 4 7 8 10 1 20\n"
)


@pytest.fixture
def world(tmp_path):
    return skeleton_world(tmp_path)


@pytest.fixture
def skeletons(world):
    with ThreadPoolExecutor(2) as executor:
        yield world.skeletons(executor)


def chains(*lengths: int, comments: int = 0) -> Swc:
    """Return trees that are chains of nodes."""
    nodes = []
    number = count()
    for length in lengths:
        parent = -1
        for _ in range(length):
            parent, before = next(number), parent
            nodes.append(SwcNode(parent, 3, (float(parent), 0.0, 0.0), 1.0, before))
    return Swc(tuple(nodes), tuple(f"# comment {place}" for place in range(comments)))


def test_every_root_is_a_skeleton_and_ids_are_one_block(world, skeletons):
    ramon = world.ramon.ramon()
    assert skeletons.upload(CHANNEL, FOREST) == [1, 2]
    pairs = {"0": "# two cells", "1": "#by hand"}
    assert ramon.get_many(CHANNEL, range(1, 8)) == [
        Skeleton(1, rootnode=3, kvpairs=pairs),
        Skeleton(2, rootnode=5, kvpairs=pairs),
        Node(3, nodetype=1, parent=-1, skeleton=1, radius=4.0, location=(1.0, 2.0, 3.0)),
        Node(4, nodetype=3, parent=3, skeleton=1, radius=0.5, location=(1.5, 2.0, 3.0)),
        Node(5, nodetype=1, parent=-1, skeleton=2, radius=1.0, location=(7.0, 8.0, 9.0)),
        Node(6, nodetype=2, parent=4, skeleton=1, radius=0.0, location=(0.0, 0.0, 0.0)),
        Node(7, nodetype=4, parent=5, skeleton=2, radius=1.0, location=(7.0, 8.0, 10.0)),
    ]
    assert ramon.get_field(CHANNEL, 1, "nodes") == "3,4,6"
    assert ramon.get_field(CHANNEL, 3, "children") == "4"


def test_skeletons_are_read_by_their_ids_or_all(world, skeletons):
    assert skeletons.read(CHANNEL) == Swc(())
    skeletons.upload(CHANNEL, FOREST)
    (third,) = skeletons.upload(CHANNEL, chains(2, comments=1))

    def numbers(ids: list[int] | None) -> list[int]:
        return [node.number for node in skeletons.read(CHANNEL, ids).nodes]

    assert numbers([1]) == [3, 4, 6]
    assert numbers([2, 1, 2]) == [5, 7, 3, 4, 6]
    assert numbers(None) == [3, 4, 6, 5, 7, third + 1, third + 2]
    assert skeletons.read(CHANNEL, [third, 1]).comments == ("# comment 0",)
    assert skeletons.read(CHANNEL).comments == FOREST.comments


def test_pairs_that_are_no_comments_are_comments_of_key_and_value(world, skeletons):
    ramon = world.ramon.ramon()
    skeletons.upload(CHANNEL, chains(1, comments=11))
    ramon.set_field(CHANNEL, 1, "tracer", "one\nor 1 1 0 0 0 1 -1\r\ntwo")
    comments = skeletons.read(CHANNEL, [1]).comments
    assert comments == (
        *(f"# comment {place}" for place in range(11)),
        "# tracer one or 1 1 0 0 0 1 -1  two",
    )


def test_nodes_whose_parent_is_gone_or_elsewhere_are_roots(world, skeletons):
    ramon = world.ramon.ramon()
    skeletons.upload(CHANNEL, chains(4, 1))  # skeletons 1 and 2, nodes 3 to 6, and 7
    ramon.delete(CHANNEL, [4])
    ramon.set_field(CHANNEL, 6, "skeleton", "2")
    parents = {node.number: node.parent for node in skeletons.read(CHANNEL).nodes}
    assert parents == {3: -1, 5: -1, 7: -1, 6: -1}


def test_nodes_that_somebody_tied_to_a_cycle_are_an_error_and_not_left_out(world, skeletons):
    ramon = world.ramon.ramon()
    skeletons.upload(CHANNEL, chains(4))
    ramon.set_field(CHANNEL, 3, "parent", "5")
    with pytest.raises(InvalidStateError):
        skeletons.read(CHANNEL, [1])


def test_a_node_without_a_place_is_an_error_and_not_at_the_origin(world, skeletons):
    world.ramon.upload(Skeleton(1), Node(2, skeleton=1))
    with pytest.raises(InvalidStateError):
        skeletons.read(CHANNEL)


def test_refusals_take_no_ids(world, skeletons):
    with pytest.raises(PayloadTooLargeError):
        skeletons.upload(CHANNEL, chains(*[1] * 200, comments=1000))
    with pytest.raises(ValidationError):
        skeletons.upload(CHANNEL, Swc(FOREST.nodes, ("#" * 20_001,)))
    assert skeletons.upload(CHANNEL, chains(1)) == [1]


def test_more_nodes_than_one_answer_has_are_refused(world, skeletons, monkeypatch):
    monkeypatch.setattr(module, "MAX_NODES", 5)
    skeletons.upload(CHANNEL, chains(3, 3))
    assert len(skeletons.read(CHANNEL, [1]).nodes) == 3
    for ids in (None, [1, 2]):
        with pytest.raises(PayloadTooLargeError):
            skeletons.read(CHANNEL, ids)


def test_a_tree_deeper_than_the_stack_is_read_without_recursion(world, skeletons):
    skeletons.upload(CHANNEL, chains(1200))
    assert [node.number for node in skeletons.read(CHANNEL, [1]).nodes] == list(range(2, 1202))


def test_an_upload_that_dies_shows_no_skeleton_that_is_not_whole(tmp_path):
    """Seen to fail with the skeletons stored in front of the nodes."""
    forest = chains(20, 15, comments=60)
    for world, plan in at_every_step(lambda name: skeleton_world(tmp_path / name), least=6):
        with ThreadPoolExecutor(1) as executor:
            with suppress(Crash):
                world.skeletons(executor, plan).upload(CHANNEL, forest)
            alive = world.skeletons(executor)
            seen = world.ramon.ramon().query(CHANNEL, parse_query(["type", "8"]))
            sizes = [len(alive.read(CHANNEL, [number]).nodes) for number in seen]
            assert sizes in ([], [20], [20, 15]), plan.log
            again = alive.upload(CHANNEL, forest)
            assert [len(alive.read(CHANNEL, [number]).nodes) for number in again] == [20, 15]


def test_an_error_half_way_says_which_ids_may_be_left(world, skeletons, monkeypatch):
    ramon = skeletons._ramon
    store = ramon.create_reserved

    def fail(channel: object, ramons: list[object]) -> None:
        if isinstance(ramons[0], Skeleton):
            raise UpstreamError("The table is away.")
        store(channel, ramons)

    monkeypatch.setattr(ramon, "create_reserved", fail)
    with pytest.raises(UpstreamError) as caught:
        skeletons.upload(CHANNEL, FOREST)
    assert caught.value.details["unfinished"] == [1, 7]
    assert world.ramon.ramon().query(CHANNEL, parse_query(["type", "7"])) == [3, 4, 5, 6, 7]


def test_nodes_that_meet_a_used_id_are_no_skeleton(world, skeletons):
    """An id may be taken by somebody who writes around the counter; nothing is overwritten."""
    world.ramon.ramon().create_reserved(CHANNEL, [Segment(4)])
    with pytest.raises(AlreadyExistsError):
        skeletons.upload(CHANNEL, FOREST)
    assert skeletons.read(CHANNEL) == Swc(())
