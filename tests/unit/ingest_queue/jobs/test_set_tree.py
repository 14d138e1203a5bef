"""Counting by sets: twice is once, and what a process left half-done is carried on."""

import random

import pytest

from ingest_queue.jobs import set_tree
from ingest_queue.jobs.set_tree import SetTree
from ndlambda.testing.counting import CountingStores
from tests.support.faults import Crash, Faulty


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make trees of few numbers high."""
    monkeypatch.setattr(set_tree, "WAYS", 4)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 16, 17, 65])
def test_the_last_number_in_any_order_fills_the_tree(narrow, table, count):
    numbers = [*range(count), *range(0, count, 3)]
    random.Random(count).shuffle(numbers)
    tree = SetTree(table, "p", count)
    seen: set[int] = set()
    for number in numbers:
        seen.add(number)
        assert tree.enter(number) == (len(seen) == count)
        assert tree.is_full() == (len(seen) == count)
        assert set(tree.missing()) == set(range(count)) - seen
    assert list(tree.entered()) == list(range(count))


@pytest.mark.parametrize("step", range(1, 7))
def test_a_tree_that_a_process_left_between_two_levels_is_settled(narrow, table, step):
    """Seen to fail where ``settle`` only looks at the root."""
    tree = SetTree(table, "p", 17)
    for number in range(1, 17):
        tree.enter(number)
    with pytest.raises(Crash):
        SetTree(Faulty(table, step), "p", 17).enter(0)
    assert tree.settle()
    assert tree.is_full()


def test_settling_enters_nothing_again(narrow, table):
    """Seen to fail where every full group is entered again."""
    tree = SetTree(table, "p", 65)
    for number in range(1, 65):
        tree.enter(number)
    stores = CountingStores()
    with stores.no_writes():
        assert not SetTree(stores.table(table), "p", 65).settle()
    assert tree.size() == 64


def test_settling_invents_nothing(narrow, table):
    tree = SetTree(table, "p", 17)
    for number in range(16):
        tree.enter(number)
    assert not tree.settle()
    assert tree.has(15)
    assert not tree.has(16)
    assert list(tree.missing()) == [16]
    assert list(tree.missing(after=16)) == []
