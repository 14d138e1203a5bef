"""How long to wait before another attempt: exponential backoff with full jitter.

Full jitter draws the whole pause, not a part on top of a fixed one: many processes that met one
overload or one conflict do not meet again.
"""

from collections.abc import Callable
from typing import Final

_MOST_DOUBLINGS: Final = 64
"""Keeps powers of two within a float, however many attempts there are."""


def longest_pause_s(attempt: int, base_s: float, cap_s: float) -> float:
    """Return the longest pause behind an attempt (the first is 0), which doubles up to a cap."""
    return min(cap_s, base_s * 2.0 ** min(attempt, _MOST_DOUBLINGS))


def pause_s(attempt: int, base_s: float, cap_s: float, random: Callable[[], float]) -> float:
    """Return a pause behind an attempt: a random part of the longest.

    Parameters
    ----------
    attempt
        Attempts before this one; the first is 0.
    base_s, cap_s
        The longest pause behind the first attempt, and behind any.
    random
        Draws from [0, 1).
    """
    return random() * longest_pause_s(attempt, base_s, cap_s)
