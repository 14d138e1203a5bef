"""Hostile clients, and merely many: others are answered, nothing is kept, and the end comes.

benchmarks/crowd.py does the same at full size.
"""

import http.client
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from io import BytesIO

import numpy as np
import pytest

from tests.support.crowd import CrowdSize, Target, run_crowd
from tests.support.server import READY, serving

pytestmark = pytest.mark.e2e

SMALL = "/v1/projects/t/channels/em/cutout?x=0:64&y=0:64&z=0:8"
LARGE = "/v1/projects/t/channels/em/cutout?x=0:512&y=0:512&z=0:64"
UPLOAD = "/v1/projects/t/channels/em/cutout?x=0:512&y=0:512&z=0:2"


def make_volume(server) -> bytes:
    """Make the volume of the paths, and return the body of ``UPLOAD``."""
    client = server.client()
    client.datasets.create("ds", ximagesize=512, yimagesize=512, zimagesize=64)
    client.projects("ds").create("pr", public=0)
    client.channels("ds", "pr").create("em", channel_type="image", channel_datatype="uint8")
    client.tokens("ds", "pr").create("t", public=0)
    body = BytesIO()
    np.save(body, np.full((2, 512, 512), 7, np.uint8))
    return body.getvalue()


def ask(server, method, path, body=None, key=None, **headers):
    """Return the status of one request on a connection of its own, and what came back."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)) as connection:
        sent = {"Authorization": f"Token {key}"} if key else {}
        connection.request(method, path, body, sent | headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_crowd_of_slow_clients_keeps_nobody_from_an_answer(tmp_path):
    with serving(tmp_path / "nd") as server:
        body = make_volume(server)
        target = Target(server.port, server.key, SMALL, LARGE, UPLOAD, body)
        asked = run_crowd(target, CrowdSize(120, 12, 12, 10), rounds=8)
        assert asked["health"].statuses == asked["honest"].statuses == {200: 8}
        assert set(asked["busy"].statuses) == {200}


def test_requests_that_wait_for_memory_hold_up_no_others(tmp_path):
    """One answer takes all memory that large ones may have, as nobody reads it; ten more wait."""
    limits = {"NDLAMBDA_MEMORY_BYTES": str(40 << 20), "NDLAMBDA_SPOOL_BYTES": "1"}
    with serving(tmp_path / "nd", **limits) as server, ExitStack() as stack:
        make_volume(server)
        sent = []
        for _ in range(11):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
            sent.append(stack.enter_context(closing(connection)))
            connection.request("GET", LARGE, headers={"Authorization": f"Token {server.key}"})
            if len(sent) == 1:
                server.wait_for_requests("GET /v1/projects/t/channels/em/cutout 200")
        for _ in range(20):
            assert ask(server, "GET", "/healthz")[0] == 200
            assert ask(server, "GET", SMALL, key=server.key)[0] == 200
        with ThreadPoolExecutor(11) as pool:
            answers = list(pool.map(lambda connection: connection.getresponse().read(), sent))
        assert {len(answer) for answer in answers} == {(1 << 24) + 128}


@pytest.mark.parametrize("more", [{}, {"Expect": "100-continue"}], ids=["at once", "after a word"])
def test_nothing_is_stored_of_what_strangers_send(tmp_path, more):
    with serving(tmp_path / "nd", NDLAMBDA_BODY_BYTES=str(1 << 22)) as server:
        make_volume(server)
        body, key = bytes(1 << 22), server.key
        npy = more | {"Content-Type": "application/x-npy"}
        eve = server.client().users.add("eve")["key"]
        refusals = [
            ask(server, "POST", UPLOAD, body, **npy)[0],
            ask(server, "POST", UPLOAD, body, eve, **npy)[0],
            ask(server, "POST", UPLOAD, body, "f" * 64, **npy)[0],
            ask(server, "POST", "/v1/no/such/route", body, key, **npy)[0],
            ask(server, "POST", UPLOAD, body + b"more", key, **npy)[0],
            ask(server, "POST", "/v1/datasets/other", body, key, **more)[0],
        ]
        assert refusals == [401, 403, 401, 404, 413, 413]
        assert not (tmp_path / "nd" / "spool").exists()


def test_sigterm_waits_for_stalled_clients_only_so_long(tmp_path):
    with serving(tmp_path / "nd", NDLAMBDA_STOP_S="6") as server, ExitStack() as stack:
        body = make_volume(server)
        key = {"Authorization": f"Token {server.key}"}
        reading, writing, asking = (
            stack.enter_context(
                closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=300))
            )
            for _ in range(3)
        )
        reading.request("GET", LARGE, headers=key)
        writing.putrequest("POST", UPLOAD)
        for name, value in (key | {"Content-Length": str(len(body))}).items():
            writing.putheader(name, value)
        writing.endheaders(body[:1000])
        asking.connect()
        asking.sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        server.wait_for_requests("GET /v1/projects/t/channels/em/cutout 200")
        server.terminate()


HANGING = """
import threading
import sys
from pathlib import Path
from ndlambda.local import serve

class Hanging(serve.App):
    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/hang":
            print("hangs", flush=True)
            self._runtime.resources.executor.submit(threading.Event().wait).result()
        return super().__call__(environ, start_response)

serve.App = Hanging
serve.run(serve.ServeOptions(Path(sys.argv[1]), port=0))
"""


def test_sigterm_ends_a_server_whose_view_and_whose_store_hang(tmp_path, monkeypatch):
    """Seen to fail without ``end_after``: Python waits for the threads of its pools for ever."""
    monkeypatch.setenv("NDLAMBDA_STOP_S", "2")
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, tmp_path / "nd"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            url = process.stdout.readline().removeprefix(READY).strip()
            with closing(http.client.HTTPConnection(url.removeprefix("http://"))) as connection:
                connection.request("GET", "/hang")
                assert process.stdout.readline() == "hangs\n"
                process.terminate()
                assert process.wait(300) == 1
        finally:
            process.kill()
        assert "not everything has ended within 2 s" in process.stderr.read()
