import json
from dataclasses import replace

import pytest
from werkzeug.wrappers import Response

from ndlambda import errors
from ndlambda.client import Answer, RetryPolicy, connect
from ndlambda.client.transport.problems import error_of
from tests.support.fake_server import KEY, FakeServer, drop, refuse


@pytest.fixture
def server():
    return FakeServer()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(server, status):
    server.faults = [refuse(status), refuse(status)]
    assert server.client().healthz()["status"] == "ok"
    assert len(server.calls) == 3


@pytest.mark.parametrize(("times", "calls"), [(2, 3), (9, 3)])
def test_a_server_that_breaks_down_is_asked_three_times(server, times, calls):
    """Was seen to fail (one call) when 500 was taken for the server's last word."""
    server.faults = [refuse(500)] * times
    client = server.client(attempts=6)
    if times < calls:
        assert client.healthz()["status"] == "ok"
    else:
        with pytest.raises(errors.NDLambdaError, match="500"):
            client.healthz()
    assert len(server.calls) == calls


def test_a_broken_connection_is_tried_again(server):
    server.faults = [drop]
    assert server.client().healthz()["status"] == "ok"


def test_waits_grow_with_jitter_up_to_the_cap(server):
    waits = []
    server.faults = [refuse(503)] * 4
    client = server.client(attempts=5, base_s=1.0, cap_s=3.0, sleep=waits.append, dice=lambda: 0.5)
    client.healthz()
    assert waits == [0.5, 1.0, 1.5, 1.5]


def test_retry_after_is_a_lower_bound_of_the_wait(server):
    waits = []
    server.faults = [refuse(429, "7"), refuse(503, "100000"), refuse(503, "soon")]
    server.client(sleep=waits.append).healthz()
    assert waits == [7.0, 60.0, 0.0]


def test_patience_ends_with_the_servers_own_answer(server):
    server.faults = [refuse(503)] * 9
    with pytest.raises(errors.UpstreamThrottledError):
        server.client(attempts=3).healthz()
    assert len(server.calls) == 3


def test_an_unreachable_server_is_named_with_what_to_do(server):
    server.faults = [drop] * 9
    with pytest.raises(errors.UpstreamError, match=r"fake\.test.*check the URL"):
        server.client(attempts=2).healthz()


def test_a_timeout_is_an_upstream_timeout():
    class Slow:
        def send(self, request):
            raise TimeoutError("too slow")

    client = connect("http://x", transport=Slow(), retry=RetryPolicy(attempts=1))
    with pytest.raises(errors.UpstreamTimeoutError):
        client.healthz()


def test_making_a_user_is_not_repeated_after_its_answer_was_lost(server):
    """Repeating would report a conflict and lose the key for good.

    Seen to fail (AlreadyExistsError) with ``repeatable=False`` taken out of ``Users.add``.
    """
    server.answer_lost = 1
    with pytest.raises(errors.UpstreamError):
        server.client().users.add("alice")
    assert server.count("POST", "/v1/users") == 1


@pytest.mark.parametrize("status", [500, 502, 504])
def test_making_a_user_is_not_repeated_where_it_may_have_been_done(server, status):
    """Seen to fail where 500, or a gateway's error, is tried again for every request."""
    server.faults = [refuse(status)]
    with pytest.raises(errors.NDLambdaError):
        server.client().users.add("alice")
    assert len(server.calls) == 1


def test_making_a_user_waits_for_a_server_that_did_not_start_it(server):
    server.faults = [refuse(503)]
    assert server.client().users.add("alice")["key"] == "key-of-alice"


def test_a_delete_whose_answer_was_lost_succeeds(server):
    """Seen to fail (DatasetNotFoundError) without the 404 rule of ``_send_with_retries``."""
    server.add_volume((1, 1, 1, 1))
    server.answer_lost = 1
    server.client().datasets.delete("ds")
    assert server.things["datasets"] == {}


def test_redirects_to_another_host_do_not_carry_the_key(server):
    server.faults = [
        lambda _: Response(status=303, headers={"Location": "http://bucket.test/healthz?sig=1"})
    ]
    server.client().healthz()
    assert [call.authorization for call in server.calls] == [f"Token {KEY}", None]


def test_redirects_on_the_same_host_keep_the_key(server):
    server.faults = [lambda _: Response(status=303, headers={"Location": "/healthz"})]
    server.client().healthz()
    assert [call.authorization for call in server.calls] == [f"Token {KEY}"] * 2


def test_redirects_in_a_ring_end(server):
    server.faults = [lambda _: Response(status=303, headers={"Location": "/healthz"})] * 20
    with pytest.raises(errors.NDLambdaError, match="303"):
        server.client().healthz()


def problem(http_status, **members):
    return Answer(http_status, {}, json.dumps(members).encode())


def descendants(kind):
    yield kind
    for child in kind.__subclasses__():
        yield from descendants(child)


@pytest.mark.parametrize("kind", sorted(set(descendants(errors.NDLambdaError)), key=str))
def test_every_error_class_arrives_as_itself(kind):
    error = error_of(
        problem(
            400,
            type=f"urn:ndlambda:error:{kind.__name__}",
            title="t",
            status=400,
            detail="what to do",
            instance="r-1",
            known=["a"],
        )
    )
    assert type(error) is kind
    assert error.message == str(error) == "what to do"
    assert error.details == {"status": 400, "instance": "r-1", "known": ["a"]}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, errors.NotFoundError), (413, errors.PayloadTooLargeError), (418, errors.NDLambdaError)],
)
def test_without_a_known_type_the_status_decides(status, kind):
    assert type(error_of(problem(status, type="about:blank"))) is kind
    assert type(error_of(Answer(status, {}, b"<html>"))) is kind


def test_an_answer_that_is_not_json_is_told_as_such(server):
    server.faults = [lambda _: Response("<html>hello</html>")]
    with pytest.raises(errors.UpstreamError, match="is it an ndlambda server"):
        server.client().healthz()


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", ""])
def test_a_url_that_is_none_is_refused_at_once(url):
    with pytest.raises(errors.InvalidArgumentError, match="http"):
        connect(url)


def test_former_argument_names_of_the_retry_policy_are_accepted():
    former = RetryPolicy(patience_s=3.0, dice=lambda: 0.5, told=print)
    assert (former.max_retry_after_s, former.random(), former.on_retry) == (3.0, 0.5, print)
    changed = replace(former, max_retry_after_s=4.0)
    assert (changed.max_retry_after_s, changed.on_retry) == (4.0, print)


class Echo:
    """Answers each request under the id that ``choose`` makes of the ids so far."""

    def __init__(self, choose):
        self._choose, self._ids = choose, []

    def send(self, request):
        self._ids.append(request.headers["X-Request-Id"])
        return Answer(200, {"x-request-id": self._choose(self._ids)}, b'{"status": "ok"}')


def connected(choose):
    retry = RetryPolicy(attempts=1)
    return connect("http://fake.test", transport=Echo(choose), retry=retry)


def test_the_answer_to_another_request_is_not_taken_for_the_own():
    """Seen to fail (two answers taken) without the comparison of ids."""
    client = connected(lambda ids: ids[0])
    assert client.healthz()["status"] == "ok"
    with pytest.raises(errors.UpstreamError, match="another request"):
        client.healthz()


def test_an_id_that_the_server_chose_says_nothing_of_requests():
    assert connected(lambda ids: "00ff00ff").healthz()["status"] == "ok"
