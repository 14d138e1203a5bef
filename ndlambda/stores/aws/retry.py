"""Retries requests to AWS after transient errors."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import random as draw
from typing import TypeVar

from ndlambda import deadline
from ndlambda.backoff import pause_s
from ndlambda.errors import UpstreamThrottledError
from ndlambda.stores.aws.errors import AWS_ERRORS, translate
from ndlambda.trace import span

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreRetryPolicy:
    """Exponential backoff with full jitter, the same for every service.

    botocore's own pauses start at up to a second and cannot be set, so its retries are disabled.

    Parameters
    ----------
    attempts
        Maximum number of attempts of a request.
    base_s, cap_s
        The n-th pause is drawn from 0 to ``base_s * 2**n``, at most ``cap_s``.
    sleep, random
        Sleeps; returns a number in [0, 1).
    """

    attempts: int = 8
    base_s: float = 0.05
    cap_s: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = draw

    def run(self, operation: str, request: Callable[[], T]) -> T:
        """Return the result of a request, with retries while they can help.

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

    def run_batches(
        self,
        operation: str,
        items: Sequence[S],
        size: int,
        send: Callable[[Sequence[S]], Sequence[S]],
    ) -> None:
        """Send items in batches; those that ``send`` returns failed for now and are sent again.

        Raises
        ------
        UpstreamThrottledError
            None of a batch was accepted, at any attempt.
        """
        left, attempt = list(items), 0
        while left:
            batch, rest = left[:size], left[size:]
            failed = send(batch)
            attempt = attempt + 1 if len(failed) == len(batch) else 0
            if attempt >= self.attempts:
                raise UpstreamThrottledError(
                    f"{operation}: AWS accepted none of {len(batch)}, the first of which is "
                    f"{batch[0]!r}.",
                    operation=operation,
                )
            left = [*failed, *rest]
            if failed:
                self.pause(attempt)

    def pause(self, attempt: int) -> None:
        """Pause before the retry of a request that failed ``attempt`` times.

        Raises
        ------
        DeadlineExceededError
            The time of the running call is up.
        """
        self.sleep(deadline.at_most(pause_s(attempt, self.base_s, self.cap_s, self.random)))
        deadline.check()
