"""The order of ``label_painter`` as a model: six writers, interleaved step by step, some dying.

Two objects of two cuboids lie in one bucket, so each label has one row, which all share. The model
knows nothing of threads or stores: a step is one request, and any order of steps can happen. Weaker
orders are run beside ours, so that the model is seen to find what they lose.
"""

import random
from dataclasses import dataclass, field

import pytest

LABELS = (1, 2)
SLOTS = 2
OBJECTS = 2

Cuboids = tuple[int, ...]
"""The label of each cuboid of an object; 0 is none."""
Members = dict[int, set[int]]
"""Label to cuboids of the bucket."""


@dataclass
class Store:
    """Objects with ETags, and a row of members with a version for each label."""

    objects: list[tuple[Cuboids, int]] = field(default_factory=list)
    rows: dict[int, tuple[frozenset[int], int]] = field(default_factory=dict)
    clock: int = 0

    def tick(self):
        self.clock += 1
        return self.clock

    def enter(self, label, members):
        had = self.rows.get(label, (frozenset(), 0))[0]
        self.rows[label] = (had | members, self.tick())

    def remove(self, label, members):
        self.rows[label] = (self.rows[label][0] - members, self.tick())

    def truth(self):
        return {
            (label, number * SLOTS + slot)
            for number, (cuboids, _) in enumerate(self.objects)
            for slot, label in enumerate(cuboids)
            if label
        }

    def indexed(self):
        return {(label, member) for label, row in self.rows.items() for member in row[0]}


@dataclass(frozen=True)
class Order:
    """What a writer does when; the default is ours."""

    enter_before_read: bool = True
    read_before_put: bool = True
    enter_before_put: bool = True
    looks_at_versions: bool = True


def enter(store, appeared):
    for label, some in appeared.items():
        store.enter(label, some)
        yield


def read(store, vanished, seen):
    for label in vanished:
        seen[label] = store.rows[label][1] if label in store.rows else 0
        yield


def remove(store, order, vanished, seen):
    for label, some in vanished.items():
        row = store.rows.get(label)
        if row is not None and (not order.looks_at_versions or row[1] == seen[label]):
            store.remove(label, some)
        yield


def writer(store, order, number, edit):
    """Change an object, one step a request."""
    while True:
        before, etag = store.objects[number]
        yield
        after = edit(before)
        if after == before:
            return
        appeared, vanished = members(number, after, before), members(number, before, after)
        seen = {}
        steps = [
            (order.enter_before_put, enter(store, appeared)),
            (order.read_before_put, read(store, vanished, seen)),
        ]
        if not order.enter_before_read:
            steps.reverse()
        for _, step in (each for each in steps if each[0]):
            yield from step
        held = store.objects[number][1] == etag
        if held:
            store.objects[number] = (after, store.tick())
        yield
        if held:
            for _, step in (each for each in steps if not each[0]):
                yield from step
            yield from remove(store, order, vanished, seen)
            return


def members(number, cuboids, other):
    """Return what is in cuboids and not in the other ones, by label."""
    found = {}
    for slot, (label, there) in enumerate(zip(cuboids, other, strict=True)):
        if label and label != there:
            found.setdefault(label, set()).add(number * SLOTS + slot)
    return found


def draw_edit(rng):
    """Return a stroke, an erasure, or a whole replacement as propagation makes it."""
    label, at = rng.choice(LABELS), rng.randrange(SLOTS)
    whole = tuple(rng.choice((0, *LABELS)) for _ in range(SLOTS))
    return rng.choice(
        [
            lambda old: tuple(label if slot == at else it for slot, it in enumerate(old)),
            lambda old: tuple(0 if it == label else it for it in old),
            lambda _: whole,
        ]
    )


def run(seed, order, writers, dying):
    """Return how many entries are lost, and how many too many, after one interleaving."""
    rng, store = random.Random(seed), Store()
    for number in range(OBJECTS):
        cuboids = tuple(rng.choice((0, *LABELS)) for _ in range(SLOTS))
        store.objects.append((cuboids, store.tick()))
        for label, some in members(number, cuboids, (0,) * SLOTS).items():
            store.enter(label, some)
    alive = [writer(store, order, rng.randrange(OBJECTS), draw_edit(rng)) for _ in range(writers)]
    while alive:
        one = rng.choice(alive)
        if rng.random() < dying or next(one, one) is one:
            alive.remove(one)
    return len(store.truth() - store.indexed()), len(store.indexed() - store.truth())


def loses(order):
    """Return whether any of 4000 interleavings loses an entry; weaker orders do within 1000."""
    return any(run(seed, order, writers=6, dying=0.03)[0] for seed in range(4000))


@pytest.mark.parametrize("enter_before_read", [True, False])
def test_no_interleaving_loses_an_entry(enter_before_read):
    assert not loses(Order(enter_before_read=enter_before_read))


@pytest.mark.parametrize(
    "weaker",
    [Order(looks_at_versions=False), Order(read_before_put=False), Order(enter_before_put=False)],
    ids=["removes whatever is there", "reads versions behind its put", "enters behind its put"],
)
def test_the_model_finds_what_weaker_orders_lose(weaker):
    assert loses(weaker)


def test_a_writer_alone_leaves_no_entry_too_many():
    def stale(order):
        return sum(run(seed, order, writers=1, dying=0)[1] for seed in range(2000))

    assert stale(Order()) == 0
    assert stale(Order(enter_before_read=False)) > 0, "which is why ours enters first"
