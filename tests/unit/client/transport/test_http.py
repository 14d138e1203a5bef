from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ndlambda.client.transport.http import PooledTransport, Request
from tests.support.stub_server import running


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"short")
            self.close_connection = True
            return
        self.send_response(303)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    with running(HTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@pytest.fixture
def transport(address):
    """Closed before the server, whose only thread reads from its connection until then."""
    made = PooledTransport()
    yield made
    made.close()


def test_requests_go_out_once_and_redirects_are_left_to_the_session(transport, address):
    answer = transport.send(Request("POST", f"{address}/a", {}, b"\x00voxels"))
    assert (answer.status, answer.body) == (303, b"\x00voxels")
    assert answer.headers["location"] == "/elsewhere"


def test_an_answer_cut_short_is_a_broken_connection(transport, address):
    with pytest.raises(ConnectionError):
        transport.send(Request("POST", f"{address}/cut", {}, b"x"))


def test_a_port_that_nobody_listens_on_is_a_broken_connection(transport):
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
    with pytest.raises(ConnectionError):
        transport.send(Request("GET", f"http://127.0.0.1:{port}/"))
