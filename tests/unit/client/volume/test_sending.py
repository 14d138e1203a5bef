"""Bodies longer than the server takes go to its store first, and into requests by their id."""

import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest

from ndlambda.client.transport.http import Answer, Request
from ndlambda.client.transport.session import RetryPolicy, Session
from ndlambda.client.volume.sending import Sender
from ndlambda.errors import NotFoundError, UploadNotFoundError

KEY = "secret"
LONG = b"x" * 11
USED = json.dumps({"type": "urn:ndlambda:error:UploadNotFoundError", "detail": "used"}).encode()


@dataclass
class Store:
    """A server that takes ten bytes, and the store behind it."""

    with_key: bool = False
    posts: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def send(self, request: Request) -> Answer:
        self.requests.append(request)
        if request.method == "PUT":
            return Answer(204, {}, b"")
        if request.url.endswith("/uploads"):
            number = sum(each.url.endswith("/uploads") for each in self.requests)
            url = f"/own/{number}" if self.with_key else f"http://store.test/{number}?signed"
            made = {"id": f"u{number}", "url": url, "with_key": self.with_key}
            return Answer(201, {}, json.dumps(made).encode())
        return self.posts.pop(0) if self.posts else Answer(200, {}, b"{}")

    def sender(self, longest_bytes: int | None = 10) -> Sender:
        retry = RetryPolicy(sleep=lambda _: None, dice=lambda: 0.0)
        return Sender(Session("http://nd.test/root", KEY, self, retry), "t", "c", longest_bytes)

    def post(self, body: bytes, longest_bytes: int | None = 10) -> None:
        self.sender(longest_bytes).post("cutout", {"x": "0:1"}, body, "application/x-blosc")


@pytest.mark.parametrize(("body", "longest"), [(LONG[:-1], 10), (LONG, None), (LONG, 11)])
def test_a_body_that_the_server_takes_goes_in_its_request(body, longest):
    store = Store()
    store.post(body, longest)
    (only,) = store.requests
    assert (only.method, only.body) == ("POST", body)
    assert only.url == "http://nd.test/root/v1/projects/t/channels/c/cutout?x=0:1"


def test_a_longer_body_is_announced_put_without_the_key_and_named():
    store = Store()
    store.post(LONG)
    announced, put, named = store.requests
    assert json.loads(announced.body) == {"media_type": "application/x-blosc", "bytes": 11}
    assert (put.method, put.url, put.body) == ("PUT", "http://store.test/1?signed", LONG)
    assert (named.method, named.body) == ("POST", b"")
    assert parse_qs(urlsplit(named.url).query) == {"x": ["0:1"], "upload": ["u1"]}
    assert ["Authorization" in each.headers for each in store.requests] == [True, False, True]


def test_a_server_without_a_store_of_its_own_gets_the_key_again():
    store = Store(with_key=True)
    store.post(LONG)
    assert store.requests[1].url == "http://nd.test/own/1"
    assert store.requests[1].headers["Authorization"] == f"Token {KEY}"


def test_an_upload_that_was_used_though_no_answer_came_is_made_again():
    """Else a lost answer would fail a write that is done; without the loop it does."""
    store = Store(posts=[Answer(504, {}, b""), Answer(404, {}, USED)])
    store.post(LONG)
    names = [parse_qs(urlsplit(each.url).query).get("upload") for each in store.requests]
    assert [name for name in names if name] == [["u1"], ["u1"], ["u2"]]


@pytest.mark.parametrize(("posts", "error", "requests"), [
    ([Answer(404, {}, b"{}")], NotFoundError, 3),
    ([Answer(404, {}, USED)] * 9, UploadNotFoundError, 9),
], ids=["other things at once", "an upload that always vanishes"])  # fmt: skip
def test_what_is_not_found_is_told(posts, error, requests):
    store = Store(posts=[*posts])
    with pytest.raises(error):
        store.post(LONG)
    assert len(store.requests) == requests
