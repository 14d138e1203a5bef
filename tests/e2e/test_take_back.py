"""SIGKILL to a server whose worker has a message in hand: the next server goes on at once."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ndlambda.local.synthetic import em_stack
from tests.support.dropped_stack import until
from tests.support.server import serving

pytestmark = pytest.mark.e2e


def in_hand(data: Path) -> int:
    """Count the messages that were received and not acknowledged."""
    with closing(sqlite3.connect(data / "queue.sqlite")) as connection:
        ((count,),) = connection.execute(
            "SELECT count(*) FROM messages WHERE receipt IS NOT NULL AND visible_at > ?",
            (time.time() + 60,),
        )
    return int(count)


def test_a_killed_server_leaves_nothing_to_wait_for(tmp_path):
    """Seen to fail without ``presence``: the message is hidden for a quarter of an hour, and the
    propagation goes on after two minutes."""
    stack = em_stack((64, 520, 520), seed=6)
    np.save(tmp_path / "em.npy", stack)
    data = tmp_path / "nd"
    with serving(data, NDLAMBDA_FSYNC="0") as server:
        done = server.command(
            "put", tmp_path / "em.npy", "--token", "em", "--channel", "em", "--create"
        )
        assert done.code == 0, done.err
        assert server.command("propagate", "em", "em").code == 0
        for _ in until("a message that a worker has in hand"):
            if in_hand(data):
                break
        server.kill()
    assert in_hand(data)
    with serving(data, NDLAMBDA_FSYNC="0") as server:
        # Waits less than the two minutes after which workers are called without a message.
        done = server.command("propagate", "em", "em", "--watch")
        assert done.code == 0, done.err
    assert not in_hand(data)
