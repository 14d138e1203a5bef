"""How often and at what pace a change is attempted."""

from collections.abc import Iterable
from functools import partial
from itertools import islice, repeat

import pytest

from ndlambda.services.support.retry import ATTEMPTS, optimistic
from tests.support.catalog_world import Clock


class Time(Clock):
    """A clock that only sleeping and working move."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.pauses: list[float] = []

    def sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        self.advance(pause_s)


@pytest.fixture
def time() -> Time:
    return Time()


def attempts(time: Time, *args: int, draws: Iterable[float] = repeat(1.0), **options: float):
    draw = partial(next, iter(draws))
    return optimistic(*args, clock=time, sleep=time.sleep, random=draw, **options)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_attempts_are_counted_and_none_is_followed_by_a_pause_at_the_end(time, most):
    assert list(attempts(time, most)) == list(range(most))
    assert len(time.pauses) == most - 1


def test_there_is_a_usual_number_of_attempts(time):
    assert len(list(attempts(time))) == ATTEMPTS == 8


def test_an_attempt_that_succeeds_is_not_followed_by_a_pause(time):
    assert list(islice(attempts(time, 8), 3)) == [0, 1, 2]
    assert len(time.pauses) == 2


def test_pauses_double_up_to_a_quarter_of_a_second(time):
    list(attempts(time, 32))
    assert time.pauses[:9] == [0.001 * 2**n for n in range(8)] + [0.25]
    assert set(time.pauses[8:]) == {0.25}


def test_each_pause_is_drawn_by_itself_from_zero_on(time):
    list(attempts(time, 4, draws=[0.0, 0.5, 0.25]))
    assert time.pauses == [0.0, 0.001, 0.001]


def test_attempts_go_on_while_the_time_lasts(time):
    made = list(attempts(time, 4, lasting_s=10.0))
    assert 40 < len(made) < 60
    assert 10.0 <= time.now < 10.25


def test_attempts_that_outlast_the_time_are_made_all_the_same(time):
    made = []
    for attempt in attempts(time, 4, lasting_s=10.0):
        made.append(attempt)
        time.now += 100
    assert made == [0, 1, 2, 3]


def test_nothing_is_drawn_or_slept_before_the_first_attempt(time):
    assert list(islice(attempts(time, draws=[]), 1)) == [0]
    assert time.pauses == []
