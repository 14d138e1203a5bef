"""Servers of one data folder know of one another, however they end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from ndlambda.local.server_lock import server_lock

SERVER = """
import sys
from pathlib import Path
from ndlambda.local.server_lock import server_lock
with server_lock(Path(sys.argv[1]), lambda: print("alone")):
    print("present", flush=True)
    sys.stdin.read()
"""


def is_alone(data: Path) -> bool:
    told: list[bool] = []
    with server_lock(data, lambda: told.append(True)):
        return bool(told)


def test_the_second_server_takes_nothing_over(tmp_path):
    with server_lock(tmp_path, lambda: None) as others:
        assert not others
        assert not is_alone(tmp_path)
        assert not is_alone(tmp_path)
        with server_lock(tmp_path, lambda: None) as found:
            assert found
    assert is_alone(tmp_path)


def test_the_first_may_go_before_the_second(tmp_path):
    """Seen to fail where only the first holds the lock: a third takes over from the second."""
    first = server_lock(tmp_path, lambda: None)
    first.__enter__()
    with server_lock(tmp_path, lambda: None):
        first.__exit__(None, None, None)
        assert not is_alone(tmp_path)
    assert is_alone(tmp_path)


def test_a_killed_server_is_no_server(tmp_path):
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["alone\n", "present\n"]
            assert not is_alone(tmp_path)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    assert is_alone(tmp_path)
