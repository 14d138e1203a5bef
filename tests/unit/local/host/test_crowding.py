"""Too many connections: who has to go, and who is answered all the same."""

import resource

import pytest

from ndlambda.local.host.limits import Limits

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def small(make_server):
    return make_server(max_connections=4, max_extra=2)


def test_the_connection_that_is_silent_longest_gives_way(small):
    clients = [small.connect() for _ in range(4)]
    assert b"200" in clients[0].ask(GET)  # so it was silent for the shortest time
    clients += [small.connect(), small.connect()]
    assert [client.wire.is_open for client in clients] == [True, False, False, True, True, True]
    assert all(b"200" in client.ask(GET) for client in clients if client.wire.is_open)


def test_requests_under_way_are_not_given_up_for_others_but_health_is_told(small):
    busy = [small.connect() for _ in range(4)]
    for client in busy:
        client.connection.data_received(GET)
    refused, asking, newest = small.connect(), small.connect(), small.connect()
    assert not refused.wire.is_open, "silent, and two more came"
    asking.connection.data_received(HEALTH)
    newest.connection.data_received(GET)
    small.run(but=small.lanes.work)
    assert b"200 OK" in asking.wire.got
    assert b"ServerBusyError" in newest.wire.got
    small.run()
    assert all(b"200 OK" in client.wire.got for client in busy)


def test_refused_clients_that_stay_take_no_room_from_others(small):
    """Seen to fail: they were counted as requests under way, without any bound."""
    idle, refused = small.connect(), []
    for _ in range(12):
        refused.append(small.connect())
        refused[-1].send(b"no request\r\n")
    assert sum(client.wire.is_open for client in refused) <= 5
    assert idle.wire.is_open
    assert b"200 OK" in small.connect().ask(GET)


def test_slow_clients_have_less_time_in_a_crowd(small, views):
    views.answer = bytes(3 << 20)
    slow = [small.connect(room=0) for _ in range(5)]
    for client in slow[:4]:
        client.connection.data_received(GET)
    slow[4].connection.data_received(HEALTH)
    small.run()
    small.wait(small.limits.stall_s / 6 + 3)
    assert sum(client.wire.is_open for client in slow) == 4, "there is no crowd any more"


@pytest.mark.parametrize(
    ("hard", "raised", "connections"),
    [(20_000, 4672, 4096), (resource.RLIM_INFINITY, 4672, 4096), (2000, 2000, 1424), (64, 64, 16)],
)
def test_connections_are_as_many_as_files_may_be_open(monkeypatch, hard, raised, connections):
    limit = [(64, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limit[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limit.__setitem__(0, wanted))
    assert Limits().within_file_limit().max_connections == connections
    assert limit == [(raised, hard)]
