"""The end of the server: who has asked is answered.

Seen to fail with a handler that raises out of the loop, followed by a wait for requests that have
come completely: a signal in the middle of a read closed that connection and was lost, a body of
which half had come was dropped, and a client that kept asking kept the server alive.
"""

import http.client
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

from ndlambda.local.host.connection import HttpConnection
from ndlambda.local.host.server import WsgiServer

TIMEOUT_S = 30


class Echo:
    """An application that accepts bodies of any length, and sends them back."""

    def judge(self, environ):
        return 1 << 30

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


class Blocking(Echo):
    """An application that tells when it was entered and answers when it is let."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.free = threading.Event()

    def __call__(self, environ, start_response):
        self.entered.set()
        assert self.free.wait(TIMEOUT_S)
        return super().__call__(environ, start_response)


@contextmanager
def connection_to(host: WsgiServer) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(urlsplit(host.url).netloc, timeout=TIMEOUT_S)) as made:
        yield made


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def wait_until_refused(host: WsgiServer) -> None:
    parts = urlsplit(host.url)
    for _ in range(TIMEOUT_S * 100):
        with socket.socket() as attempt:
            attempt.settimeout(0.01)
            if attempt.connect_ex((parts.hostname, parts.port)):
                return
    raise AssertionError("the server still takes connections")


def run_beside(host: WsgiServer, client: Callable[[], bytes]) -> bytes:
    """Run the host in this thread, as signals demand, and a client in another."""
    with ThreadPoolExecutor(1) as pool:
        begun: list[Future[bytes]] = []
        host.run(lambda: begun.append(pool.submit(client)))
        return begun[0].result(TIMEOUT_S)


@pytest.fixture
def make_host():
    return lambda app: WsgiServer(app, ("127.0.0.1", 0), threads=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_the_works_is_answered(make_host, number):
    app = Blocking()
    host = make_host(app)

    def client() -> bytes:
        with connection_to(host) as connection:
            connection.request("POST", "/", b"voxels")
            assert app.entered.wait(TIMEOUT_S)
            os.kill(os.getpid(), number)
            wait_until_refused(host)
            app.free.set()
            return connection.getresponse().read()

    before = signal.getsignal(number)
    assert run_beside(host, client) == b"voxels"
    assert signal.getsignal(number) == before


def test_a_process_that_ends_heeds_no_further_signals(make_host):
    """Seen to fail when handlers were put back: the second signal then ended the process."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    try:
        make_host(Echo()).run(stop, ending=True)
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 2
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_a_signal_while_a_connection_is_read_neither_cuts_it_nor_is_lost(make_host, monkeypatch):
    receive = HttpConnection.data_received
    monkeypatch.setattr(HttpConnection, "data_received", lambda *given: stop() or receive(*given))
    host = make_host(Echo())

    def client() -> bytes:
        with connection_to(host) as connection:
            connection.request("POST", "/", b"voxels")
            return connection.getresponse().read()

    assert run_beside(host, client) == b"voxels"


def test_a_body_half_of_which_has_come_is_waited_for(make_host):
    host = make_host(Echo())

    def client() -> bytes:
        with connection_to(host) as connection:
            connection.putrequest("POST", "/")
            connection.putheader("Content-Length", "6")
            connection.endheaders(b"vox")
            stop()
            wait_until_refused(host)
            connection.send(b"els")
            return connection.getresponse().read()

    assert run_beside(host, client) == b"voxels"


def test_a_client_that_keeps_asking_is_told_to_leave(make_host):
    app = Blocking()
    host = make_host(app)

    def client() -> bytes:
        with connection_to(host) as connection, connection_to(host) as idle:
            idle.connect()
            connection.request("POST", "/", b"voxels")
            assert app.entered.wait(TIMEOUT_S)
            stop()
            assert idle.sock.recv(1) == b"", "a connection on which nothing was asked is closed"
            app.free.set()
            answer = connection.getresponse()
            assert answer.getheader("Connection") == "close"
            return answer.read()

    assert run_beside(host, client) == b"voxels"


def test_an_answer_that_is_read_slowly_is_sent_to_its_end(make_host):
    host = make_host(Echo())
    sent = os.urandom(1 << 20) * 16

    def client() -> bytes:
        with connection_to(host) as connection:
            connection.request("POST", "/", sent)
            answer = connection.getresponse()
            stop()
            wait_until_refused(host)
            return answer.read()

    assert run_beside(host, client) == sent


@pytest.mark.parametrize(
    ("name", "start"), [("localhost", "http://localhost:"), ("::1", "http://[::1]:")]
)
def test_the_url_says_where_it_listens(name, start):
    try:
        host = WsgiServer(Echo(), (name, 0))
    except OSError:
        pytest.skip(f"This machine has no address {name}.")
    host.run(stop)
    assert host.url.startswith(start)
