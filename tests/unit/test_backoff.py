"""Pauses between attempts."""

import pytest

from ndlambda.backoff import longest_pause_s, pause_s

ALMOST_ONE = 0.999999


def test_the_longest_pause_doubles_up_to_the_cap():
    assert [longest_pause_s(n, 0.5, 3.0) for n in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize("attempt", [0, 1, 3, 9])
def test_a_pause_is_drawn_from_nothing_to_the_longest(attempt):
    longest = longest_pause_s(attempt, 0.5, 3.0)
    assert pause_s(attempt, 0.5, 3.0, lambda: 0.0) == 0.0
    assert pause_s(attempt, 0.5, 3.0, lambda: 0.25) == longest / 4
    assert pause_s(attempt, 0.5, 3.0, lambda: ALMOST_ONE) == pytest.approx(longest, rel=1e-5)


def test_any_number_of_attempts_has_a_pause():
    assert longest_pause_s(100_000, 0.001, 0.25) == 0.25
