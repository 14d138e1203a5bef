"""How often work that fails is tried, how long the pauses are, and what is said at the end.

Work is tried ``MAX_TRIES`` times whose pauses add up to under two minutes; then a person has to
look at it. (Workers that die without a report are counted where the work is recorded.)
"""

from typing import Final

from ndlambda.backoff import longest_pause_s
from ndlambda.errors import NDLambdaError

MAX_TRIES: Final = 5

_FIRST_PAUSE_S: Final = 5.0
_MAX_PAUSE_S: Final = 60.0


def pause_s(failures: int) -> float:
    """Return the seconds until the next try after a number of failures, from 1."""
    return longest_pause_s(failures - 1, _FIRST_PAUSE_S, _MAX_PAUSE_S)


def reason_of(error: Exception) -> str:
    """Return what a person is told of an error; the class of one that is not ours says more."""
    return error.message if isinstance(error, NDLambdaError) else f"{type(error).__name__}: {error}"


def why_unfinished(what: str, times: int) -> str:
    """Return the reason for giving up work whose workers died without a report."""
    return (
        f"Workers began {what} {times} times and did not finish; they may need more memory or time."
    )
