"""Tasks are sent in windows: few are in the queue, and none is left out."""

import random
from dataclasses import replace

import pytest

from ndlambda.services.propagation import ledger as ledger_module
from ndlambda.services.propagation.builder import PyramidNode
from ndlambda.services.propagation.jobs import PropagationJob, Stage
from ndlambda.services.propagation.ledger import TaskLedger
from ndlambda.testing.counting import CountingStores
from ndlambda.testing.memory import MemoryTable

JOB = PropagationJob(
    "u", "p", "c", "d", run=1, method="mean", full=True, depth=1, started_at=0, since=0,
    called_at=0, stage=Stage.BUILDING, plan="p1",
)  # fmt: skip
SPREADS = {"dense": 1, "sparse": 512}


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(ledger_module, "WINDOW", 100)
    monkeypatch.setattr(ledger_module, "_FEW", 50)


def planned(table, count, spread=1):
    """Return a ledger with so many tasks of a plan, ``spread`` apart."""
    ledger = TaskLedger(table)
    ledger.add(JOB, JOB.plan, [PyramidNode(1, 0, n * spread, False) for n in range(count)])
    return ledger


def run(ledger, draw, dies=lambda: False):
    """Run tasks in any order; return those sent, and the most that were in the queue at a time."""
    queue = ledger.open_window(JOB)
    sent, most = list(queue), len(queue)
    while queue:
        task = queue.pop(draw(len(queue)))
        finished = ledger.finish(JOB, task)
        if finished and not dies():
            new = ledger.move_window(JOB, finished)
            sent += new
            queue += new
            most = max(most, len(queue))
    return sent, most


@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
@pytest.mark.parametrize("seed", range(3))
def test_every_task_is_sent_once_and_few_at_a_time(spread, seed):
    """Seen to fail where a window is moved unconditionally, and where it starts again."""
    ledger = planned(MemoryTable(), 3000, spread)
    sent, most = run(ledger, random.Random(seed).randrange)
    assert len(sent) == len(set(sent)) == 3000
    assert most <= 100 + 50 + 511, "the window, what is left of the one before, a bucket"
    assert ledger.is_complete(JOB)


def test_a_worker_that_dies_before_it_counts_is_made_up_for():
    ledger, draw = planned(MemoryTable(), 3000, 512), random.Random(0)
    rounds = 0
    while not ledger.is_complete(JOB):
        run(ledger, draw.randrange, lambda: draw.random() < 0.05)
        rounds += 1
    assert rounds < 100


def test_of_two_workers_one_sends_the_next_window():
    """Seen to fail with an unconditional change: every task is sent twice."""
    table = MemoryTable()
    ledger = planned(table, 300, 512)
    first = ledger.open_window(JOB)
    for task in first[:50]:
        assert ledger.finish(JOB, task) == 1
    sent = [ledger.move_window(JOB, 50), ledger.move_window(JOB, 0)]
    assert [len(tasks) for tasks in sent] == [100, 0]
    assert not set(sent[0]) & set(first)


def test_a_window_costs_the_same_however_many_tasks_there_are():
    costs = set()
    for count in (1000, 4000, 16_000):
        table = MemoryTable()
        ledger = planned(table, count, 512)
        stores = CountingStores()
        counted = TaskLedger(stores.table(table))
        for task in counted.open_window(JOB)[:50]:
            ledger.finish(JOB, task)
        assert len(counted.move_window(JOB, 50)) == 100
        costs.add(stores.requests)
    assert len(costs) == 1, costs


def test_another_plan_begins_anew():
    table = MemoryTable()
    planned(table, 10)
    assert len(TaskLedger(table).open_window(JOB)) == 10
    assert TaskLedger(table).open_window(replace(JOB, plan="p2")) == []
