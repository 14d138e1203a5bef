"""Every route ends in its time, however slow the stores are, and can be asked again.

One whose first, late attempt did all that was asked may say so: it is being propagated already.
"""

from http import HTTPStatus

import pytest

from ndlambda.deadline import Deadline
from ndlambda.web.problem import Dialect
from tests.support.app import server_fixture
from tests.support.route_examples import RouteWorld, serving_routes

REQUEST_S = 2.0
AT_ONCE = 4
"""Threads of the world, whose requests are counted one after the other."""
LIMITS_S = (3 * REQUEST_S, 28.0)

world = server_fixture(serving_routes)


def slow(world: RouteWorld, limit_s: float) -> Deadline:
    """Return a deadline for stores that need 2 s for every request."""
    stores, begun = world.server.stores, world.server.stores.requests
    return Deadline.after(limit_s, lambda: REQUEST_S * (stores.requests - begun))


@pytest.mark.parametrize("limit_s", LIMITS_S)
def test_every_read_ends_in_its_time(world, limit_s):
    late = 0
    for example in world.examples:
        if example.writes or example.route.dialect is Dialect.NDAUTH:
            continue
        deadline = slow(world, limit_s)
        with deadline.running():
            outcome = world.outcome(example, example.owner)
        assert deadline.clock() <= limit_s + AT_ONCE * REQUEST_S, example.key
        if outcome.status != HTTPStatus.OK:
            assert (outcome.status, outcome.error) == (503, "DeadlineExceededError"), example.key
            late += 1
    assert late or limit_s > LIMITS_S[0]


@pytest.mark.parametrize("limit_s", LIMITS_S)
def test_every_write_ends_in_its_time_and_may_be_sent_again(world, tmp_path, limit_s):
    late = 0
    for number, example in enumerate(world.examples):
        if not example.writes or example.route.dialect is Dialect.NDAUTH:
            continue
        with world.copied(tmp_path / str(number)) as copied:
            deadline = slow(copied, limit_s)
            with deadline.running():
                outcome = copied.outcome(example, example.owner)
            assert deadline.clock() <= limit_s + AT_ONCE * REQUEST_S, example.key
            if 200 <= outcome.status < 300:
                continue
            assert (outcome.status, outcome.error) == (503, "DeadlineExceededError"), example.key
            late += 1
            again = copied.outcome(example, example.owner)
            assert 200 <= again.status < 300 or again.error == "InvalidStateError", (
                example.key,
                again.body,
            )
    assert late or limit_s > LIMITS_S[0]
