"""Pauses between attempts: exponential back-off with full jitter.

Full jitter draws the whole pause at random, not a part on top of a fixed one, so that processes
that met in one overload or conflict do not meet again.
"""

from collections.abc import Callable
from typing import Final

_MAX_DOUBLINGS: Final = 64
"""Keeps powers of two within a float for any number of attempts."""


def longest_pause_s(attempt: int, base_s: float, cap_s: float) -> float:
    """Return the longest pause after an attempt (the first is 0), which doubles up to a cap."""
    return min(cap_s, base_s * 2.0 ** min(attempt, _MAX_DOUBLINGS))


def pause_s(attempt: int, base_s: float, cap_s: float, random: Callable[[], float]) -> float:
    """Return a pause after an attempt: a random part of the longest one.

    Parameters
    ----------
    attempt
        Attempts before this one; the first is 0.
    base_s, cap_s
        The longest pause after the first attempt, and after any.
    random
        Draws from [0, 1).
    """
    return random() * longest_pause_s(attempt, base_s, cap_s)
