"""Watch chains under lost, doubled and late messages, and receivers that die anywhere."""

from collections import deque
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest

from ndlambda.services.support.watch import (
    FIRST_LOOK_S,
    MAX_PAUSE_S,
    Chains,
    Look,
    WatchMessage,
)
from ndlambda.stores.disk import SqliteTable
from tests.support.catalog_world import Clock
from tests.support.faults import Crash, FaultPlan, Faulty, Interrupted

KEY = ("work#w", "watch")


class Sent:
    """A queue that keeps what is sent, with its delay."""

    def __init__(self) -> None:
        self.messages: deque[tuple[str, int]] = deque()

    def send(self, bodies: list[str], delay_s: int = 0) -> None:
        self.messages.extend((body, delay_s) for body in bodies)

    def take(self) -> WatchMessage:
        found = WatchMessage.find(self.messages.popleft()[0])
        assert found is not None
        return found


@dataclass
class World:
    table: Any
    queue: Sent = field(default_factory=Sent)
    clock: Clock = field(default_factory=Clock)
    looks: list[str] = field(default_factory=list)
    found: Look = Look.RESTS

    def chains(self, plan: FaultPlan | None = None, max_rests: int = 100) -> Chains:
        ports: list[Any] = [self.table, self.queue]
        if plan is not None:
            ports = [Faulty(port, plan) for port in ports]
        return Chains(*ports, lambda work: (f"work#{work}", "watch"), self.clock, max_rests)

    def look_after(self, work: str) -> Look:
        self.looks.append(work)
        return self.found

    def receive(self, message: WatchMessage, count: int = 1, plan: FaultPlan | None = None) -> None:
        self.chains(plan).receive(message, count, self.look_after)

    @property
    def generation(self) -> int:
        row = self.table.get(*KEY)
        return 0 if row is None else int(row.doc["gen"])

    def alive(self) -> list[WatchMessage]:
        """Return the messages in the queue whose receivers would look after the work."""
        found = [WatchMessage.find(body) for body, _ in self.queue.messages]
        return [each for each in found if each is not None and each.generation == self.generation]


@pytest.fixture
def world(tmp_path):
    made = World(SqliteTable(tmp_path / "table.sqlite", fsync=False))
    made.chains().start(["w"])
    yield made
    made.table.close()


STEPS = {
    "delivered": lambda world, message: world.receive(message),
    "delivered twice": lambda world, message: [world.receive(message) for _ in range(2)],
    "twice, acknowledged late": lambda world, message: [world.receive(message, n) for n in (1, 2)],
    "died before the change": lambda world, message: dies(world, message, 1),
    "died between change and sending": lambda world, message: dies(world, message, 2),
    "died after the sending": lambda world, message: dies(world, message, 3),
    "died at two deliveries": lambda world, message: dies(world, message, 2, again=True),
}


def dies(world: World, message: WatchMessage, requests: int, *, again: bool = False) -> None:
    """Let the receiver die after so many requests; the queue delivers the message again."""
    for count in (1, 2) if again else (1,):
        with pytest.raises(Crash):
            # (At the second delivery the chain's row is read, and its message sent again.)
            world.receive(message, count, FaultPlan(requests))
    world.receive(message, 3 if again else 2)


@pytest.mark.parametrize("steps", list(product(STEPS, repeat=2)), ids="; ".join)
def test_a_chain_neither_ends_nor_multiplies(world, steps):
    """Seen to fail with an unconditional change (it multiplies), and where a message that comes
    again is dropped (it ends)."""
    for number, step in enumerate(steps):
        looked = len(world.looks)
        message = next(m for m in iter(world.queue.take, None) if m.generation == number)
        STEPS[step](world, message)
        assert world.generation == number + 1, "each generation once"
        assert world.alive(), step
        assert len(world.looks) > looked
    for message in [world.queue.take() for _ in range(len(world.queue.messages))]:
        world.receive(message)  # of all that is left, one moves the chain
    assert world.generation == len(steps) + 1
    assert len(world.alive()) == 1


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("begun", [False, True])
def test_one_of_two_receivers_at_one_time_moves_the_chain(world, begun, at):
    """Seen to fail with an unconditional change."""
    if begun:
        world.receive(world.queue.take())
    message = world.queue.take()
    world.receive(message, plan=Interrupted(at, lambda: world.receive(message)))
    assert (world.generation, len(world.queue.messages)) == (message.generation + 1, 1)


def test_a_lost_message_is_made_up_for_by_the_sweep(world):
    chains = world.chains()
    world.receive(world.queue.take())
    late = world.queue.take()
    assert not chains.take_over("w", world.look_after), "it is not due"
    world.clock.advance(2 * FIRST_LOOK_S)
    assert chains.take_over("w", world.look_after)
    assert (world.looks, world.generation) == (["w", "w"], 2)
    world.receive(late)
    assert (world.looks, world.generation) == (["w", "w"], 2), "the lost one was only late"
    assert len(world.alive()) == 1


def test_work_whose_first_message_was_lost_is_found_by_the_sweep(world):
    world.queue.messages.clear()
    assert world.chains().take_over("w", world.look_after)
    assert (world.looks, len(world.alive())) == (["w"], 1)


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_a_restarted_chain_supersedes_the_old_one(world, sent):
    for _ in range(sent):
        world.receive(world.queue.take())
    old = world.queue.take()
    world.chains().restart("w", delay_s=0)
    new = world.queue.take()
    for message in (old, new, old, new):
        world.receive(message)
    assert world.looks == ["w"] * (sent + 1)
    assert len(world.alive()) == 1


def test_pauses_grow_while_nothing_happens_and_not_while_work_moves(world):
    def pauses(found, count):
        world.found = found
        delays = []
        for _ in range(count):
            world.receive(world.queue.take())
            delays.append(world.queue.messages[-1][1])
        return delays

    assert pauses(Look.RESTS, 5) == [120, 240, 480, MAX_PAUSE_S, MAX_PAUSE_S]
    assert pauses(Look.MOVES, 2) == [FIRST_LOOK_S, FIRST_LOOK_S]
    assert pauses(Look.RESTS, 1) == [120]


def test_a_chain_that_rests_is_woken_and_no_other(world):
    """Seen to fail where every call sends a message: three for each new ingest job."""
    world.chains().wake("w")
    assert len(world.queue.messages) == 1, "the first message is under way"
    world.receive(world.queue.take())
    for _ in range(2):
        world.chains().wake("w")
    assert [delay for _, delay in world.queue.messages] == [120, FIRST_LOOK_S]
    assert len(world.alive()) == 1


def test_a_chain_ends_with_its_work_and_begins_again_with_it(world):
    world.receive(world.queue.take())
    world.found = Look.ENDED
    last = world.queue.take()
    for count in (1, 1, 2):
        world.receive(last, count)
    assert (world.table.get(*KEY), list(world.queue.messages)) == (None, [])
    world.found = Look.RESTS
    world.chains().restart("w")
    world.receive(world.queue.take())
    assert len(world.alive()) == 1


def test_a_chain_that_is_restarted_while_it_ends_goes_on(world):
    """Seen to fail where the row is deleted unconditionally."""
    world.receive(world.queue.take())

    def restart_and_end(work):
        world.chains().restart(work)
        return Look.ENDED

    world.chains().receive(world.queue.take(), 1, restart_and_end)
    assert len(world.alive()) == 1


def test_a_chain_stops_after_very_many_rests_until_somebody_looks(world):
    chains = world.chains(max_rests=2)
    for _ in range(3):
        chains.receive(world.queue.take(), 1, world.look_after)
    assert not world.queue.messages
    world.clock.advance(MAX_PAUSE_S)
    assert chains.take_over("w", world.look_after), "once a day"
    assert not world.queue.messages
    chains.restart("w")
    assert len(world.alive()) == 1


def test_a_look_that_fails_or_kills_does_not_end_the_chain(world):
    """Seen to fail where every delivery looks: the message ends as a dead letter."""

    def fail(work):
        raise KeyError(work)

    def kill(work):
        raise Crash

    world.chains().receive(world.queue.take(), 1, fail)
    message = world.queue.take()
    for count in (1, 2):
        with pytest.raises(Crash):
            world.chains().receive(message, count, kill)
    world.chains().receive(message, 3, kill)
    assert len(world.alive()) == 1


def test_asking_for_a_look_writes_no_row_and_makes_no_second_chain(world):
    world.receive(world.queue.take())
    before = world.table.get(*KEY)
    for _ in range(3):
        world.chains().ask("w")
    assert world.table.get(*KEY) == before
    for message in [world.queue.take() for _ in range(4)]:
        world.receive(message)
    assert world.looks == ["w", "w"]
    assert len(world.alive()) == 1


@pytest.mark.parametrize(
    "body", ["", "no JSON", "[]", '{"v": 1, "job": "a"}', '{"v": 1, "watch": 3, "gen": 0}']
)
def test_other_messages_are_left_to_others(body):
    assert WatchMessage.find(body) is None
