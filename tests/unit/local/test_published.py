"""The addresses in a data folder are those of servers that run, however others ended."""

import subprocess
import sys
from contextlib import ExitStack

from ndlambda.local.published import find_address, published

SERVER = """
import os, signal, sys
from pathlib import Path
from ndlambda.local.published import published
with published(Path(sys.argv[1]), "http://dead:1"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_address_of_the_survivor_stays_whichever_ends_first(tmp_path):
    """Seen to fail: the second took the address of the first with it."""
    for ends, stays in (("http://a:1", "http://b:1"), ("http://b:1", "http://a:1")):
        assert find_address(tmp_path) is None
        with published(tmp_path, stays), ExitStack() as other:
            other.enter_context(published(tmp_path, ends))
            other.close()
            assert find_address(tmp_path) == stays
    assert not list(tmp_path.iterdir())


def test_a_killed_server_has_no_address_and_the_next_removes_its_file(tmp_path):
    subprocess.run([sys.executable, "-c", SERVER, str(tmp_path)], check=False)
    assert len(list(tmp_path.glob("server.*.url"))) == 1
    assert find_address(tmp_path) is None
    with published(tmp_path, "http://next:1"):
        assert find_address(tmp_path) == "http://next:1"
    assert not list(tmp_path.iterdir())
