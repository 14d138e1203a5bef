"""One connection, byte by byte: what is refused, what is received, and what slow clients get."""

import errno
import gc
import json
import os
import weakref

import pytest
from werkzeug.wrappers import Response

from ndlambda.local.host.spool import SMALL_BYTES, SpooledBody

LARGE = SMALL_BYTES + (5 << 20)
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(length: int, *more: str) -> bytes:
    lines = ["POST /x HTTP/1.1", "Host: x", f"Content-Length: {length}", *more]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split()[1])


def assert_refused(client, answer: bytes, status: int) -> None:
    """Make sure of a problem document, after which nothing more is read from the connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    document = json.loads(body)
    assert (status_of(answer), document["status"]) == (status, status), document
    assert b"\r\nContent-Type: application/problem+json\r\n" in head
    assert f"\r\nX-Request-Id: {document['instance']}\r\n".encode() in head
    assert b"\r\nConnection: close" in head
    assert client.wire.has_ended or not client.wire.is_open


def in_files(tmp_path) -> list[str]:
    return [path.name for path in tmp_path.glob("spool/*")]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00", 400),  # a client that speaks TLS
        (b"no request\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (post(3, "Content-Length: 4"), 400),
        (post(3, "Transfer-Encoding: chunked"), 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (CHUNKED + b"nonsense\r\n", 400),
        (CHUNKED + b"3\r\nabcdef\r\n", 400),
        (b"GET /" + b"x" * (1 << 16) + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * (1 << 14), 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A_b: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"OPTIONS / RTSP/1.0\r\n\r\n", 400),
        (b"SOURCE / ICE/1.0\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_what_is_no_request_is_a_problem_document(server, views, sent, status):
    client = server.connect()
    assert_refused(client, client.ask(sent), status)
    assert client.ask(b"more") == b""
    assert views.bodies == []


@pytest.mark.parametrize(
    "sent", [b"GET /x HTTP/1.0\r\n\r\n", GET[:-2] + b"A: b\r\n" * 199 + b"\r\n"]
)
def test_a_request_may_be_old_or_have_many_headers(server, sent):
    assert status_of(server.connect().ask(sent)) == 200


@pytest.mark.parametrize("more", [b"\r\n", b"A : b\r\n\r\n", b"A: " + b"x" * (1 << 16)])
def test_a_refused_head_request_has_no_body(server, more):
    client = server.connect()
    head, _, body = client.ask(b"HEAD / HTTP/1.1\r\n" + more).partition(b"\r\n\r\n")
    assert status_of(head) in {400, 431}
    assert body == b""


def test_requests_on_one_connection_are_answered_in_turn(server, views):
    client = server.connect()
    answers = client.ask(b"\r\n" + GET + post(3) + b"abc" + GET)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert views.bodies == [b"", b"abc", b""]
    assert client.wire.is_open
    client.ask(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert not client.wire.is_open
    assert views.closed == 4


def test_a_request_may_come_byte_by_byte(server, views):
    client = server.connect()
    for byte in CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: z\r\n\r\n":
        client.send(bytes([byte]))
    assert views.bodies == [b"abcde"]
    assert status_of(client.wire.got) == 200


@pytest.mark.parametrize(
    "more", [post(3) + b"xyz", CHUNKED + b"3\r\nxyz\r\n0\r\n\r\n", b"\x00no request"]
)
@pytest.mark.parametrize("is_apart", [False, True])
def test_what_follows_a_chunked_body_is_no_part_of_it(server, views, more, is_apart):
    """Seen to fail: the body of the next request was stored at the end of this one."""
    client = server.connect()
    sent = CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"
    for data in (sent, more) if is_apart else (sent + more,):
        client.connection.data_received(data)
        server.run(but=server.lanes.work)
    server.run()
    assert views.bodies[0] == b"abc"
    assert status_of(client.wire.got) == 200


def test_a_trailer_is_no_header(server, views):
    seen = []
    server.app = lambda environ, start: seen.append(dict(environ)) or views(environ, start)
    server.app.judge = views.judge
    client = server.connect()
    client.send(CHUNKED)
    client.send(b"0\r\nX-Role: admin\r\nAuthorization: x\r\n\r\n")
    assert not {"HTTP_X_ROLE", "HTTP_AUTHORIZATION"} & set(seen[0])


@pytest.mark.parametrize("begin", [b"3;", b"3\r\nabc\r\n0\r\nT: "], ids=["extension", "trailer"])
def test_the_framing_of_chunks_has_a_bound(server, views, begin):
    client = server.connect()
    client.send(CHUNKED + begin)
    assert client.ask(b"x" * (1 << 15)) == b""
    assert_refused(client, client.ask(b"x" * (1 << 16)), 400)
    assert views.bodies == []


def test_chunks_of_one_byte_are_no_more_than_long(server, views):
    client = server.connect()
    answer = client.ask(CHUNKED + b"1;x\r\na\r\n" * (1 << 15) + b"0\r\n\r\n")
    assert (status_of(answer), views.bodies) == (200, [b"a" * (1 << 15)])


@pytest.mark.parametrize("framing", ["Content-Length: 8", "Transfer-Encoding: chunked"])
def test_an_upgrade_is_not_made_and_the_request_is_served(server, views, framing):
    """Seen to fail with chunks: the parser's word for an upgrade is not one of its errors."""
    lines = ("POST /x HTTP/1.1", "Host: x", framing, "Connection: Upgrade", "Upgrade: h2c", "", "")
    client = server.connect()
    answer = client.ask("\r\n".join(lines).encode() + b"3\r\nabc\r\n")
    answer += b"" if "Length" in framing else client.ask(b"0\r\n\r\n")
    assert status_of(answer) == 200
    assert views.bodies == [b"abc" if "chunked" in framing else b"3\r\nabc\r\n"]


@pytest.mark.parametrize("length", [5, SMALL_BYTES, SMALL_BYTES + 1, LARGE])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_reaches_the_application_whole(server, views, tmp_path, length, framing):
    body = os.urandom(length)
    sent = post(length) + body
    if framing == "chunked":
        sent = CHUNKED + b"%x\r\n" % length + body + b"\r\n0\r\n\r\n"
    client = server.connect()
    assert status_of(client.ask(sent)) == 200
    assert views.bodies == [body]
    assert in_files(tmp_path) == []
    assert status_of(client.ask(GET)) == 200


@pytest.mark.parametrize(
    "head",
    [post(LARGE), post(LARGE, "Expect: 100-continue"), CHUNKED],
    ids=["length", "expect", "chunked"],
)
def test_nothing_is_kept_of_a_body_that_is_refused_by_its_head(server, views, tmp_path, head):
    """Seen to fail where the body was spooled first: 887 MB of a stranger in two seconds."""
    views.max_body = "403 Forbidden"
    client = server.connect()
    answer = client.ask(head)
    assert (status_of(answer), views.judged) == (403, 1)
    assert b"100 Continue" not in answer
    client.send(bytes(LARGE))
    assert in_files(tmp_path) == views.bodies == []
    server.wait(server.limits.linger_s + 1)
    assert not client.wire.is_open


def test_a_client_is_told_to_send_only_what_is_welcome(server, views):
    client = server.connect()
    assert client.ask(post(3, "Expect: 100-continue")) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert status_of(client.ask(b"abc")) == 200
    assert views.bodies == [b"abc"]


def test_a_chunked_body_over_the_limit_is_too_large_and_not_malformed(server, views, tmp_path):
    views.max_body = LARGE
    client = server.connect()
    answer = client.ask(CHUNKED + b"2000000\r\n" + bytes(LARGE + 1))
    assert_refused(client, answer, 413)
    assert in_files(tmp_path) == views.bodies == []


def test_all_bodies_together_have_a_bound(server, views):
    """The spool has 16 MiB; seen to fail where each was compared with the bound alone."""
    first, second = server.connect(), server.connect()
    assert first.ask(post(LARGE) + bytes(LARGE - 1)) == b""
    answer = second.ask(post(LARGE))
    assert_refused(second, answer, 503)
    assert b"\r\nRetry-After: " in answer
    first.wire.abort()
    third = server.connect()
    assert status_of(third.ask(post(LARGE) + bytes(LARGE))) == 200


def test_a_body_takes_room_as_it_arrives(server, views):
    """Seen to fail: heads alone, whose bodies never came, locked out all large bodies."""
    idle = [server.connect() for _ in range(3)]
    assert [client.ask(post(1 << 24)) for client in idle] == [b""] * 3
    assert status_of(server.connect().ask(post(LARGE) + bytes(LARGE))) == 200
    assert status_of(idle[0].ask(bytes(1 << 24))) == 200


def test_a_slow_answer_is_no_file_where_files_have_no_room(server, views):
    views.answer = bytes(3 << 20)
    busy, slow = server.connect(), server.connect(room=1000)
    busy.send(post(1 << 24) + bytes(14 << 20))
    slow.send(GET)
    server.wait(3)
    assert views.closed == 0, "it stays in memory"


def test_a_full_disk_is_told_while_a_body_arrives(server, monkeypatch):
    def fail(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    client = server.connect()
    assert_refused(client, client.ask(post(LARGE) + bytes(LARGE)), 507)


def test_headers_have_a_deadline_whatever_trickles_in(server):
    client = server.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    for _ in range(19):
        server.wait(1)
        assert client.ask(b"x") == b""
    server.wait(2)
    assert_refused(client, client.wire.got, 408)


@pytest.mark.parametrize(("each_s", "is_welcome"), [(1 << 10, False), (1 << 13, True)])
def test_bodies_have_a_least_pace(server, views, each_s, is_welcome):
    client = server.connect()
    client.send(post(1 << 19))
    for _ in range((1 << 19) // each_s):
        if client.wire.got:
            break
        client.send(bytes(each_s))
        server.wait(1)
    assert status_of(client.wire.got) == (200 if is_welcome else 408)
    assert len(views.bodies) == is_welcome


def test_a_reader_who_stops_is_cut_off_and_holds_nothing(server, views):
    views.answer = bytes(3 << 20)
    client = server.connect(room=1 << 19)
    client.send(GET)
    assert views.closed == 0
    server.wait(3)
    assert views.closed == 1, "its answer lies in a file by now"
    server.wait(31)
    assert not client.wire.is_open
    server.spool.open(1 << 24).close()


def test_a_slow_reader_gets_all_though_its_memory_is_given_back(server, views):
    views.answer = os.urandom(5 << 20)
    client = server.connect(room=1000)
    client.send(GET)
    server.wait(3)
    assert views.closed == 1
    for _ in range(60):
        server.wait(1)
        client.wire.read(1 << 17)
        server.run()
    assert client.wire.got.partition(b"\r\n\r\n")[2] == views.answer
    assert status_of(client.ask(GET)) == 200


def test_a_quick_reader_is_never_sent_by_way_of_a_file(server, views, monkeypatch):
    monkeypatch.setattr(SpooledBody, "write", None)
    views.answer = os.urandom(40 << 20)
    client = server.connect()
    answer = client.ask(GET)
    assert answer.partition(b"\r\n\r\n")[2] == views.answer


def test_a_client_that_reset_its_refused_request_is_given_up(server, monkeypatch):
    """Seen to fail: the error of the socket went up to the loop of the server and ended it."""

    def fail() -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    client, other = server.connect(), server.connect()
    monkeypatch.setattr(client.wire, "write_eof", fail)
    client.send(post(3))
    server.wait(server.limits.stall_s + 1)
    assert not client.wire.is_open
    assert status_of(other.ask(GET)) == 200


def test_a_connection_that_fails_takes_no_other_along(server, monkeypatch):
    client, other = server.connect(), server.connect()
    monkeypatch.setattr(client.connection, "check", None)
    server.wait(1)
    assert (client.wire.is_open, other.wire.is_open) == (False, True)


def test_silent_connections_end(server):
    client = server.connect()
    client.ask(GET)
    server.wait(119)
    assert client.wire.is_open
    server.wait(2)
    assert not client.wire.is_open


def test_empty_lines_are_silence(server):
    client = server.connect()
    for _ in range(4):
        server.wait(31)
        client.connection.data_received(b"\r\n")
    assert not client.wire.is_open


def test_an_answer_that_is_never_read_to_its_end_does_not_hold_a_connection(server):
    client = server.connect(room=10)
    client.ask(GET)
    server.wait(server.limits.idle_s + 2)
    assert not client.wire.is_open


def test_an_answer_is_read_to_its_end_while_the_server_stops(server):
    client = server.connect(room=10)
    client.send(GET)
    server.is_draining = True
    server.wait(2)
    client.wire.read(1 << 10)
    server.wait(2)
    assert client.wire.got.endswith(b"fine")
    assert not client.wire.is_open


def test_a_client_is_not_read_on_while_much_of_what_it_sent_waits(server, views):
    large = GET.replace(b"\r\n\r\n", b"\r\nX: %s\r\n\r\n" % (b"x" * 60_000))
    client = server.connect()
    for data in (GET + large * 8, GET):
        client.connection.data_received(data)
    server.lanes.work.run(), server.calls.popleft()()
    assert client.wire.got
    assert not client.wire.is_reading, "there are 480 kB of further requests"
    server.run()
    assert (client.wire.is_reading, len(views.bodies)) == (True, 10)


@pytest.mark.parametrize("asked", [0, 2])
def test_a_client_that_ends_while_it_reads_gets_what_it_asked_for(server, views, asked):
    """Seen to fail: the connection was then kept for a next request that could not come."""
    views.answer = bytes(1 << 19)
    client = server.connect(room=10)
    client.send(GET)
    client.connection.data_received(GET * asked)
    assert client.connection.eof_received()
    for _ in range(1 + asked):
        client.wire.read(1 << 20)
        server.run()
    assert len(views.bodies) == 1 + asked
    assert not client.wire.is_open


@pytest.mark.parametrize("rest", [b"", b"c\r\n0\r\n\r\n"])
def test_a_body_whose_client_has_left_is_not_waited_for(server, views, rest):
    client = server.connect()
    client.connection.data_received(CHUNKED + b"3\r\nab" + rest)
    assert client.connection.eof_received(), "it may be refused by its head"
    server.run()
    assert not client.wire.is_open
    assert views.bodies == ([b"abc"] if rest else [])


def test_a_client_who_leaves_is_not_worked_for(server, views):
    client = server.connect()
    client.connection.data_received(GET)
    client.wire.abort()
    server.run()
    assert views.bodies == []


def test_health_waits_for_no_worker_and_not_for_ever(server, views):
    busy, asking = server.connect(), server.connect()
    busy.connection.data_received(GET)
    asking.connection.data_received(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    server.run(but=server.lanes.work)
    assert (busy.wire.got, status_of(asking.wire.got)) == (b"", 200)
    hanging = server.connect()
    hanging.connection.data_received(b"GET /healthz/ HTTP/1.1\r\nHost: x\r\n\r\n")
    server.time += server.limits.health_s + 1
    server._check()
    assert_refused(hanging, hanging.wire.got, 503)


def test_a_request_that_hangs_is_answered_in_its_time_and_its_own_answer_is_not_sent(server, views):
    client = server.connect()
    client.connection.data_received(GET)
    server.time += server.limits.request_s - 1
    server._check()
    assert not client.wire.got
    server.time += 2
    server._check()
    assert_refused(client, client.wire.got, 503)
    sent = client.wire.got
    server.run()
    assert client.wire.got == sent


def test_an_application_that_fails_is_a_problem_document(server, views):
    views.answer = None
    client = server.connect()
    assert_refused(client, client.ask(GET), 500)


def test_a_judge_that_fails_is_a_problem_document(server, views):
    views.judge = lambda _environ: None
    client = server.connect()
    assert_refused(client, client.ask(post(3)), 500)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_body_is_kept_as_long_as_a_view_reads_it(server, views, leaves):
    """Seen to fail: the refusal of a request that hung closed the file of its body."""

    def app(environ, start):
        server.time += server.limits.request_s + 1
        server._check()
        if leaves:
            client.wire.abort()
        return views(environ, start)

    app.judge = views.judge
    server.app = app
    client = server.connect()
    client.send(post(LARGE) + bytes(LARGE))
    assert status_of(client.wire.got) == 503
    assert len(views.bodies[0]) == LARGE
    server.spool.open(1 << 24).close()


def test_an_answer_that_was_sent_is_kept_by_nothing(server):
    """Seen to fail: each connection that was kept alive still had the whole of its last answer."""

    def app(environ, start):
        response = Response(b"body")
        held.append(weakref.ref(response))
        return response(environ, start)

    held: list[weakref.ref[Response]] = []
    server.app = app
    client = server.connect()
    client.ask(GET)
    gc.collect()
    assert client.wire.is_open
    assert held[0]() is None
