"""What may be read from, by addresses and names alone: nothing here reaches a network."""

import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from urllib3.util import connection

from ingest_queue.fetch.http_reader import (
    Bounds,
    HttpReader,
    OwnBucket,
    is_public,
    resolve_name,
    split_url,
)
from ingest_queue.fetch.remote import S3_URL, RemoteFiles
from ndlambda.errors import (
    InvalidArgumentError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    UpstreamError,
)

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "192.0.0.192",
    "172.16.0.1", "192.0.0.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:a00:1::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip
"""One of each kind of address that is not the internet's; the metadata services among them."""


class Server:
    """A server of one canned answer, sent a piece at a time."""

    def __init__(self, *pieces: bytes, holds: bool = False) -> None:
        self.pieces = pieces
        self.holds = holds or not pieces
        self.gave_up = False
        self.asked: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.end = threading.Event()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client:
                self.asked.append(client.recv(65536))
                for piece in self.pieces:
                    client.sendall(piece)
                if self.holds:
                    self.gave_up = not self.end.wait(10)


@contextmanager
def answering(*pieces: bytes, holds: bool = False) -> Iterator[Server]:
    """Run a server that keeps the connection open at the end, if told to or without pieces."""
    server = Server(*pieces, holds=holds)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.end.set()
        server.socket.shutdown(socket.SHUT_RDWR)
        server.socket.close()
        thread.join()


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n".encode()


def read(server: Server, limit_bytes: int = 10, scheme: str = "http", **more: object) -> bytes:
    reader = HttpReader([f"127.0.0.1:{server.port}"], **more)
    return reader.read(f"{scheme}://127.0.0.1:{server.port}/", limit_bytes)


@pytest.mark.parametrize("address", ["8.8.8.8", "52.216.1.1", "2600:1f18::1", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_told(address):
    assert is_public(address)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"


@pytest.mark.parametrize("addresses", [*([each] for each in PRIVATE), ["8.8.8.8", "10.0.0.1"]])
def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(addresses, monkeypatch):
    monkeypatch.setattr(connection, "create_connection", pytest.fail)
    assert not is_public(addresses[-1])
    with pytest.raises(PermissionDeniedError):
        HttpReader(resolve=lambda *_: addresses).read("http://brain.example/", 10)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]"]
)
def test_all_spellings_of_this_machine_are_refused(host):
    """By the system's own resolver, which knows more of them than any pattern would."""
    with pytest.raises((PermissionDeniedError, UpstreamError)):
        HttpReader().read(f"http://{host}/", 10)


def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_looked_at(monkeypatch):
    """DNS rebinding. Seen to fail with a connection to the name instead of the addresses."""
    said = iter((["8.8.8.8"], ["127.0.0.1"]))
    connected = []

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        connected.append(address)
        raise OSError("nobody there")

    monkeypatch.setattr(connection, "create_connection", connect)
    with pytest.raises(UpstreamError):
        HttpReader(resolve=lambda host, port: next(said)).read("http://brain.example/", 10)
    assert connected == [("8.8.8.8", 80)]
    assert next(said) == ["127.0.0.1"]


def test_a_redirect_inside_is_refused():
    """Seen to fail when only the first name was looked at."""
    with answering(OK) as inner:
        to = redirect(f"http://localhost:{inner.port}/secret")
        with answering(to) as outer, pytest.raises(PermissionDeniedError):
            read(outer)
        assert inner.asked == []


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://x/y", "gopher://x", "http://u:p@x/"])
def test_a_redirect_to_another_scheme_is_refused(to):
    with answering(redirect(to)) as server, pytest.raises(InvalidArgumentError):
        read(server)


def test_redirects_have_an_end():
    with answering(redirect("/again")) as server:
        with pytest.raises(NotFoundError):
            read(server)
        assert len(server.asked) == 6


def test_a_host_that_is_listed_is_read_and_its_other_ports_are_not():
    with answering(OK) as server:
        url = f"http://127.0.0.1:{server.port}/a b/é.png"
        for host in (f"127.0.0.1:{server.port}", "127.0.0.1"):
            assert HttpReader([host]).read(url, 10) == b"abcd"
            assert server.asked[-1].startswith(b"GET /a%20b/%C3%A9.png HTTP/1.1\r\n")
            assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in server.asked[-1]
        with pytest.raises(PermissionDeniedError):
            HttpReader(["127.0.0.1:1"]).read(url, 10)


@pytest.mark.parametrize(("answer", "error"), [
    (b"404 Not Found\r\n\r\n", NotFoundError),
    (b"403 Forbidden\r\n\r\n", NotFoundError),
    (b"206 Partial\r\nContent-Length: 1\r\n\r\nx", NotFoundError),
    (b"429 Slowly\r\n\r\n", UpstreamError),
    (b"503 Later\r\n\r\n", UpstreamError),
    (b"200 OK\r\nContent-Length: 9\r\n\r\nabcd", UpstreamError),
    (b"\x16\x03\x01", UpstreamError),
    (b"200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", UpstreamError),
    (b"200 OK\r\nContent-Length: 999999999999\r\n\r\n", PayloadTooLargeError),
    (b"200 OK\r\nConnection: close\r\n\r\n" + b"x" * 4000, PayloadTooLargeError),
    (b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfa0\r\n" + b"x" * 4000 + b"\r\n",
     PayloadTooLargeError),
], ids=[
    "missing", "forbidden", "partial", "too many", "unavailable", "cut", "not HTTP", "headers",
    "declared too large", "endless", "chunked and too large",
])  # fmt: skip
def test_answers_are_told_apart_and_not_read_beyond_their_limit(answer, error):
    start = b"" if answer.startswith(b"\x16") else b"HTTP/1.1 "
    with answering(start + answer) as server, pytest.raises(error):
        read(server, 1000)


@pytest.mark.parametrize(("scheme", "pieces"), [
    ("http", []),
    ("https", []),
    ("http", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab"]),
    ("http", [b"HTTP/1.1 200 OK\r\nContent-Le"]),
], ids=["nothing", "nothing of TLS", "body", "headers"])  # fmt: skip
def test_an_answer_that_does_not_end_is_cut_off_and_not_taken_for_whole(scheme, pieces):
    """Seen to fail where only the connection is asked for its socket: the response owns it."""
    with answering(*pieces, holds=True) as server:
        with pytest.raises(UpstreamError, match="took too long"):
            read(server, scheme=scheme, bounds=Bounds(silence_s=60, whole_s=0.2))
        assert not server.gave_up


def test_a_compressed_body_is_not_inflated():
    body = gzip.compress(b"x" * 1000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    with answering(head.encode() + body) as server:
        assert read(server, len(body)) == body


def test_a_certificate_is_looked_at(monkeypatch):
    contexts = []
    make = ssl.create_default_context
    remember = lambda: contexts.append(make()) or contexts[-1]  # noqa: E731
    monkeypatch.setattr(ssl, "create_default_context", remember)
    with answering(b"no TLS at all") as server:
        reader = HttpReader(["brain.example"], resolve=lambda *_: ["127.0.0.1"])
        with pytest.raises(UpstreamError):
            reader.read(f"https://brain.example:{server.port}/", 10)
        assert b"brain.example" in server.asked[0]
    (context,) = contexts
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("url", [
    "", "brain.example/em", "ftp://brain.example/", "http://", "http://user:secret@brain.example/",
    "http://brain.example:99999/", "http://brain.example:x/", "http://[::1/",
    "http://brain.exa mple/", "http://brain.example\r\nX: y/",
])  # fmt: skip
def test_what_is_no_url_is_refused(url):
    with pytest.raises(InvalidArgumentError):
        split_url(url)


def test_names_that_cannot_be_are_refused():
    with pytest.raises((InvalidArgumentError, UpstreamError)):
        HttpReader().read(f"http://{'x' * 300}.example/", 10)


def test_addresses_are_given_once():
    assert resolve_name("127.0.0.1", 80) == ["127.0.0.1"]


# --- our own bucket ----------------------------------------------------------------------------

LOOKALIKE = "http://store.lab:8333"
"""A look-alike of S3 that asks for no credentials; its operator allowed to read from there."""


def lab_files(endpoint: str = LOOKALIKE) -> RemoteFiles:
    own = OwnBucket("mine", endpoint)
    http = HttpReader(["store.lab:8333", "10.0.0.9"], resolve=pytest.fail, own=own)
    return RemoteFiles(http, s3_url=f"{endpoint}/{{bucket}}/{{key}}" if endpoint else S3_URL)


@pytest.mark.parametrize("url", [
    "s3://mine/pr/em", "http://store.lab:8333/mine/pr/em", "http://store.lab:8333//mine/pr/em",
    "http://store.lab:8333/%6dine/pr/em", "http://STORE.lab./mine", "http://10.0.0.9/mine/pr/em",
    "https://mine.s3.amazonaws.com/pr/em", "https://mine.s3.eu-west-1.amazonaws.com/pr",
    "https://s3.eu-west-1.amazonaws.com/mine/pr",
])  # fmt: skip
def test_our_own_bucket_is_never_read(url):
    """Seen to fail where only the hosts of addresses are looked at."""
    files = lab_files()
    with pytest.raises(PermissionDeniedError, match="own bucket"):
        files.check(url)
    with pytest.raises(PermissionDeniedError, match="own bucket"):
        files.read(f"{url}/0001.png", 10)


@pytest.mark.parametrize(
    "url", ["s3://theirs/mine", "http://store.lab:8333/theirs/mine", "https://mine.org/mine/em"]
)
def test_other_buckets_and_hosts_of_the_same_name_are_read(url):
    assert lab_files().check(url) == url


@pytest.mark.parametrize(
    "path", ["../mine/em", "a/../../mine", "./em", "%2e%2e/mine", "a%2F..%2F..%2Fmine", "..%5Cmine"]
)
@pytest.mark.parametrize("root", ["s3://theirs", "http://store.lab:8333/theirs"])
def test_a_path_that_leads_upwards_is_refused(root, path):
    """Seen to fail where a path is taken as it is: a server may follow it to another bucket."""
    with pytest.raises(InvalidArgumentError, match="segment"):
        lab_files().check(f"{root}/{path}")


def test_a_redirect_to_our_own_bucket_is_refused():
    with answering(OK) as inner:
        with answering(redirect(f"http://127.0.0.1:{inner.port}/mine/a")) as outer:
            hosts = [f"127.0.0.1:{server.port}" for server in (inner, outer)]
            reader = HttpReader(hosts, own=OwnBucket("mine", f"http://127.0.0.1:{inner.port}"))
            with pytest.raises(PermissionDeniedError, match="own bucket"):
                reader.read(f"http://127.0.0.1:{outer.port}/a", 10)
        assert inner.asked == []


def test_our_own_bucket_on_aws_is_never_read():
    with pytest.raises(PermissionDeniedError, match="own bucket"):
        lab_files("").check("s3://mine/pr/em")
