"""What is remembered, and for how long."""

from ndlambda.services.support.cache import TimedCache
from tests.support.catalog_world import Clock


class Source:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self.asked


def test_a_value_is_remembered_for_the_time_given_and_no_longer():
    clock, source = Clock(), Source()
    cache: TimedCache[str, int] = TimedCache(5, 10, clock)
    assert [cache.get("a", source) for _ in range(3)] == [1, 1, 1]
    clock.advance(4.9)
    assert cache.get("a", source) == 1
    clock.advance(0.1)
    assert cache.get("a", source) == 2


def test_the_time_counts_from_the_beginning_of_a_load():
    clock, source = Clock(), Source()
    cache: TimedCache[str, int] = TimedCache(5, 10, clock)

    def slow() -> int:
        clock.advance(4)
        return 0

    cache.get("a", slow)
    clock.advance(1)
    assert cache.get("a", source) == 1


def test_a_clock_set_back_keeps_nothing_alive():
    clock, source = Clock(), Source()
    cache: TimedCache[str, int] = TimedCache(5, 10, clock)
    cache.get("a", source)
    clock.advance(-100)
    assert cache.get("a", source) == 2


def test_what_is_forgotten_during_a_load_is_not_remembered():
    """Seen to fail without the generation: what was before the change is given for 5 seconds."""
    source = Source()
    cache: TimedCache[str, int] = TimedCache(5, 10, Clock())

    def overtaken() -> int:
        cache.forget()
        return -1

    assert cache.get("a", overtaken) == -1
    assert cache.get("a", source) == 1


def test_the_least_recently_used_leaves_first():
    source = Source()
    cache: TimedCache[str, int] = TimedCache(5, 2, Clock())
    for key in ("a", "b", "a", "c"):
        cache.get(key, source)
    assert cache.get("a", source) == 1
    assert cache.get("b", source) == 4


def test_what_is_asked_for_fresh_is_loaded_and_remembered():
    source = Source()
    cache: TimedCache[str, int] = TimedCache(5, 10, Clock())
    assert [cache.get("a", source, fresh=fresh) for fresh in (False, True, False)] == [1, 2, 2]
