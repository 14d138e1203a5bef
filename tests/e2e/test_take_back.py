"""SIGKILL to a server whose worker has a message in hand: the next server goes on at once."""

import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest

from ndlambda.local.synthetic import em_stack
from tests.support.dropped_stack import until
from tests.support.server import serving

pytestmark = pytest.mark.e2e


def in_hand(data):
    """Return the receipts of messages that workers have; a released one keeps its last receipt."""
    with closing(sqlite3.connect(data / "queue.sqlite")) as connection:
        hidden = "SELECT receipt FROM messages WHERE receipt IS NOT NULL AND visible_at > ?"
        rows = connection.execute(hidden, (time.time() + 60,))  # for a quarter of an hour
        return {receipt for (receipt,) in rows}


def test_a_killed_server_leaves_nothing_to_wait_for(tmp_path):
    """Seen to fail without ``server_lock``: the message is hidden for a quarter of an hour."""
    np.save(tmp_path / "em.npy", em_stack((64, 520, 520), seed=6))
    data, target = tmp_path / "nd", ("--token", "em", "--channel", "em")
    with serving(data, NDLAMBDA_FSYNC="0") as server:
        server.ok("put", tmp_path / "em.npy", *target, "--create")
        server.ok("propagate", "em", "em")
        for _ in until("a message in hand"):
            if in_hand(data):
                break
        server.kill()
    held = in_hand(data)
    assert held
    with serving(data, NDLAMBDA_FSYNC="0") as server:
        assert held.isdisjoint(in_hand(data)), "taken back before the server is ready"
        server.ok("propagate", "em", "em", "--watch")
    assert not in_hand(data)
