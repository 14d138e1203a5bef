"""The end of the process: it comes, whatever hangs."""

import threading

from ndlambda.local.serve import end_after


def test_what_hangs_is_cut_off():
    ended = threading.Event()
    end_after(0, lambda status: status == 1 and ended.set())
    assert ended.wait(30)
