"""Retries optimistic changes with back-off."""

import time
from collections.abc import Callable, Iterator
from itertools import count
from random import random as draw
from typing import Final

from ndlambda import deadline
from ndlambda.backoff import pause_s

ATTEMPTS: Final = 8
"""Attempts at changing a row that few processes change."""

HOT_ROW_ATTEMPTS: Final = 32
"""Attempts at changing a row that many processes change at once."""

_BASE_S: Final = 0.001
_CAP_S: Final = 0.25


def optimistic(
    attempts: int = ATTEMPTS,
    *,
    lasting_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = draw,
) -> Iterator[int]:
    """Count attempts (from 0) at an optimistic change, with a growing jittered pause in between.

    An attempt reads a value, changes it, and writes it conditionally on the version read. A
    successful one leaves the loop; the code after the loop handles the failure of all::

        for _ in optimistic():
            row = table.get(*key)
            try:
                table.put(changed(row), expect=row.version)
            except PreconditionFailedError:
                continue
            return
        raise WriteContentionError(...)

    Parameters
    ----------
    attempts
        Minimum number, and the maximum unless ``lasting_s`` takes longer.
    lasting_s
        Further attempts are made until this time has passed.
    clock
        Seconds since an arbitrary start.
    sleep, random
        Wait, and draw from [0, 1).

    Raises
    ------
    DeadlineExceededError
        The time of the running call is up.
    """
    deadline_s = clock() + lasting_s
    for attempt in count():
        yield attempt
        if attempt + 1 >= attempts and clock() >= deadline_s:
            return
        sleep(deadline.at_most(pause_s(attempt, _BASE_S, _CAP_S, random)))
        deadline.check()
