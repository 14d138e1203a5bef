"""An HTTP server that answers as a test tells it to."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says; ``hangs`` says nothing until the test is over."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What a client said; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class StubServer:
    """A running server; ``requests`` lists what came."""

    endpoint: str
    requests: list[Request] = field(default_factory=list)


@contextmanager
def running(server: BaseServer) -> Iterator[str]:
    """Let a server answer in a thread of its own, and close it; the value is its address."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def stub_server(answers: Sequence[Answer]) -> Iterator[StubServer]:
    """Answer the n-th request with the n-th answer, and further ones with the last."""
    over = threading.Event()
    stub = StubServer("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            stub.requests.append(Request(self.command, self.path, headers, body))
            answer = answers[min(len(stub.requests), len(answers)) - 1]
            if answer.hangs:
                over.wait()
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, *args: object) -> None:
            """Say nothing on stderr."""

    for method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with running(server) as stub.endpoint:
        try:
            yield stub
        finally:
            over.set()
