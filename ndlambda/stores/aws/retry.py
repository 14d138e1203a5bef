"""Repeating requests that AWS was too busy for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import random as draw
from typing import TypeVar

from ndlambda.backoff import pause_s
from ndlambda.stores.aws.errors import AWS_ERRORS, translate
from ndlambda.trace import span

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreRetryPolicy:
    """Exponential backoff with full jitter, the same for every service.

    botocore's own waits start at up to a second and cannot be set, so its retries are off and
    these are used.

    Parameters
    ----------
    attempts
        How often a request is sent at most.
    base_s, cap_s
        The n-th pause is drawn from 0 to ``base_s * 2**n``, at most ``cap_s``.
    sleep, random
        Waits, and draws from [0, 1).
    """

    attempts: int = 8
    base_s: float = 0.05
    cap_s: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = draw

    def run(self, operation: str, request: Callable[[], T]) -> T:
        """Return what the request gives, repeating it while that can help.

        Raises
        ------
        NDLambdaError
            The translation of the last error, by the table in ``errors``.
        """
        attempt = 0
        while True:
            try:
                with span("aws", operation=operation):
                    return request()
            except AWS_ERRORS as error:
                failure = translate(error, operation)
                attempt += 1
                if not failure.is_transient or attempt >= self.attempts:
                    raise failure.error from error
            self.pause(attempt)

    def pause(self, attempt: int) -> None:
        """Wait before sending a request again that failed ``attempt`` times."""
        self.sleep(pause_s(attempt, self.base_s, self.cap_s, self.random))
