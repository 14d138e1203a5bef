"""Random forests, as files and through the store: nothing is lost, added or moved."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndlambda.wire.skeleton.swc import ROOT, Swc, SwcNode, read_swc, write_swc
from tests.support.ramon_world import CHANNEL
from tests.support.skeleton_world import skeleton_world

_reals = st.floats(allow_nan=False, allow_infinity=False, width=64)
_comments = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20), max_size=4
)


@st.composite
def forests(draw):
    """Return a forest whose nodes have any numbers, each behind its parent."""
    count = draw(st.integers(1, 25))
    numbers = draw(st.lists(st.integers(0, 10**17), min_size=count, max_size=count, unique=True))
    nodes = []
    for place, number in enumerate(numbers):
        parents = [ROOT, *numbers[:place]] if place else [ROOT]
        nodes.append(
            SwcNode(
                number,
                draw(st.integers(0, 2**32 - 1)),
                (draw(_reals), draw(_reals), draw(_reals)),
                draw(_reals),
                draw(st.sampled_from(parents)),
            )
        )
    return Swc(tuple(nodes), tuple(f"#{text}".strip() for text in draw(_comments)))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = skeleton_world(tmp_path_factory.mktemp("skeletons"))
    with ThreadPoolExecutor(2) as executor:
        yield world, world.skeletons(executor)


def shape(swc):
    """Return what depends on no number or order of nodes: each one's way to its root."""
    by_number = {node.number: node for node in swc.nodes}
    ways = []
    for node in swc.nodes:
        way = []
        at = node
        while True:
            way.append((at.kind, at.location_xyz, at.radius))
            if at.parent == ROOT:
                break
            at = by_number[at.parent]
        ways.append(tuple(way))
    return sorted(ways, key=repr)


@given(forests())
def test_a_file_that_is_written_reads_the_same(swc):
    assert read_swc(write_swc(swc, ("# Project a Channel b",))) == swc


@given(forests(), st.randoms(use_true_random=False))
def test_lines_of_a_file_may_come_in_any_order(swc, dice):
    lines = write_swc(Swc(swc.nodes)).decode().splitlines()
    dice.shuffle(lines)
    found = read_swc("\n".join(lines).encode())
    assert set(found.nodes) == set(swc.nodes)
    seen = {ROOT}
    for node in found.nodes:
        assert node.parent in seen
        seen.add(node.number)


@given(forests())
def test_what_is_stored_is_read_again(world, swc):
    _, skeletons = world
    ids = skeletons.upload(CHANNEL, swc)
    assert len(ids) == sum(node.parent == ROOT for node in swc.nodes)
    found = skeletons.read(CHANNEL, ids)
    assert found.comments == swc.comments
    assert shape(found) == shape(swc)
    assert read_swc(write_swc(found)) == found
