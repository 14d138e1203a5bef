"""What is remembered, and for how long."""

from collections.abc import Callable
from functools import partial
from itertools import count

import pytest

from ndlambda.services.support.cache import TimedCache
from tests.support.catalog_world import Clock


@pytest.fixture
def cache(clock: Clock) -> TimedCache[str, int]:
    return TimedCache(5, 2, clock)


@pytest.fixture
def source() -> Callable[[], int]:
    """Counts how often it is asked."""
    return partial(next, count(1))


def test_a_value_is_remembered_for_the_time_given_and_no_longer(cache, clock, source):
    assert [cache.get("a", source) for _ in range(3)] == [1, 1, 1]
    clock.advance(4.9)
    assert cache.get("a", source) == 1
    clock.advance(0.1)
    assert cache.get("a", source) == 2


def test_the_time_counts_from_the_beginning_of_a_load(cache, clock, source):
    cache.get("a", lambda: clock.advance(4) or 0)
    clock.advance(1)
    assert cache.get("a", source) == 1


def test_a_clock_set_back_keeps_nothing_alive(cache, clock, source):
    cache.get("a", source)
    clock.advance(-100)
    assert cache.get("a", source) == 2


def test_what_is_forgotten_during_a_load_is_not_remembered(cache, source):
    """Seen to fail without the generation: what was before the change is given for 5 seconds."""
    assert cache.get("a", lambda: cache.clear() or -1) == -1
    assert cache.get("a", source) == 1


def test_the_least_recently_used_leaves_first(cache, source):
    for key in ("a", "b", "a", "c"):
        cache.get(key, source)
    assert (cache.get("a", source), cache.get("b", source)) == (1, 4)


def test_what_is_asked_for_fresh_is_loaded_and_remembered(cache, source):
    assert [cache.get("a", source, fresh=fresh) for fresh in (False, True, False)] == [1, 2, 2]
