"""Attempts at a change that others may come between."""

import time
from collections.abc import Callable, Iterator
from itertools import count
from random import random as draw
from typing import Final

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
    """Count attempts (from 0) at an optimistic change, with a growing jittered pause between.

    An attempt reads, changes what it read and writes that if it is unchanged. One that succeeds
    leaves the loop; what follows the loop is for the case that none does::

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
        How many there are at least, and at most unless ``lasting_s`` is longer.
    lasting_s
        Further attempts are made until this time has passed.
    clock
        Seconds from any start.
    sleep, random
        Waits, and draws from [0, 1).
    """
    deadline_s = clock() + lasting_s
    for attempt in count():
        yield attempt
        if attempt + 1 >= attempts and clock() >= deadline_s:
            return
        sleep(pause_s(attempt, _BASE_S, _CAP_S, random))
