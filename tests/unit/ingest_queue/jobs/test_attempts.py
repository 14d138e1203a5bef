"""Which tries at a chunk count: those of workers that died, not those that were merely many."""

from contextlib import ExitStack

import pytest

from ingest_queue.jobs.attempts import (
    MAX_ATTEMPTS,
    MAX_FAILURES,
    SPAN_S,
    Attempts,
    AttemptsExhaustedError,
)
from tests.support.faults import Crash

CHUNK = 300


@pytest.fixture
def tries(table, clock) -> Attempts:
    return Attempts(table, "ingest#a", 1, clock)


def be_killed(tries: Attempts) -> None:
    with pytest.raises(Crash), tries.track(CHUNK, 2):
        raise Crash


def test_many_workers_with_one_message_are_no_sign_of_a_bad_chunk(tries, clock):
    """A queue that stood still hands out all the calls of half an hour at once. Seen to fail where
    tries are counted one by one: the eleventh worker set a sound chunk aside."""
    with ExitStack() as stack:
        for _ in range(3 * MAX_ATTEMPTS):
            stack.enter_context(tries.track(CHUNK, 2))
            clock.advance(SPAN_S / 20)
    with tries.track(CHUNK, 2):
        pass


def test_a_chunk_that_kills_its_workers_for_so_long_is_given_up(tries, clock):
    for _ in range(MAX_ATTEMPTS):
        be_killed(tries)
        clock.advance(SPAN_S)
    with pytest.raises(AttemptsExhaustedError, match="did not finish"), tries.track(CHUNK, 2):
        raise AssertionError
    with tries.track(CHUNK, 1), tries.track(CHUNK + 1, 2):
        pass


def test_what_was_given_up_may_start_again_once_it_is_cleared(tries, clock):
    for _ in range(MAX_ATTEMPTS):
        be_killed(tries)
        clock.advance(SPAN_S)
    tries.reset(CHUNK)
    with tries.track(CHUNK, 2):
        pass


def test_faults_are_counted_one_by_one(tries):
    for _ in range(MAX_FAILURES - 1):
        with pytest.raises(RecursionError), tries.track(CHUNK, 2):
            raise RecursionError
    with pytest.raises(AttemptsExhaustedError, match="RecursionError"), tries.track(CHUNK, 2):
        raise RecursionError
