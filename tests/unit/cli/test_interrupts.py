"""Ctrl-C ends waits in all threads, and leaves the handler of others as it was."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from ndlambda.cli.interrupts import interruptible_sleep


def test_threads_that_wait_stop_with_the_main_thread():
    """Was seen to fail (a wait of a minute) when threads slept by ``time.sleep``."""
    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool, interruptible_sleep() as sleep:
        waiting = pool.submit(sleep, 60)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            waiting.result(timeout=10)
    assert signal.getsignal(signal.SIGINT) is before


def test_it_sleeps_and_needs_no_main_thread():
    def work() -> float:
        with interruptible_sleep() as sleep:
            sleep(0.001)
        return 0.001

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == 0.001
