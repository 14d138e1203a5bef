"""What browsers may be made to do: changes by pages of other sites, stored text shown as a page."""

import base64
import hashlib
import json
import re

import pytest

from ndlambda.log import JsonFormatter
from tests.support.app import assert_problem, server_fixture
from tests.support.route_examples import Outcome, RouteWorld, serving_routes

world = server_fixture(serving_routes)

FOREIGN = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Origin": "http://localhost@evil.example"},
    {"Origin": "http://[x"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    {"Referer": "http://evil.example/page"},
)
OWN = (
    {},
    {"Origin": "http://localhost", "Referer": "http://localhost/"},
    {"Origin": "https://LOCALHOST", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
)
"""The test client asks ``localhost``."""


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("key", [None, "placeholder"])
def test_a_page_of_another_site_changes_nothing_without_a_key(world: RouteWorld, headers, key):
    """Seen to fail for GETs that change something, and where a key that is none counts."""
    if key is not None:
        headers = headers | {"Authorization": f"Token {key}"}
    changing = [each for each in world.examples if each.writes]
    assert {each.route.method for each in changing} == {"GET", "POST", "PUT", "PATCH", "DELETE"}
    for example in changing:
        for token in ("hidden", "shown"):
            named = example.naming(**{"token": token} if "token" in example.arguments else {})
            outcome = world.outcome(named, headers=headers)
            is_v1 = key is not None and example.route.dialect.value == "v1"
            refusal = (401, "AuthenticationError") if is_v1 else (403, "ForeignPageError")
            assert outcome == Outcome(*refusal), example.key


@pytest.mark.parametrize("headers", OWN)
def test_other_requests_are_answered_as_ever(world: RouteWorld, headers):
    for example in world.examples:
        assert world.outcome(example, headers=headers) == world.outcome(example), example.key


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_key_lets_every_page_change_and_everybody_reads(world: RouteWorld, headers):
    for example in world.examples:
        if example.writes:
            asked = example.naming(**{"token": "shown"} if "token" in example.arguments else {})
            assert world.outcome(asked, "bob", headers=headers).error != "ForeignPageError"
        elif example.route.method == "GET":
            assert world.outcome(example, headers=headers) == world.outcome(example), example.key


ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def test_no_answer_runs_or_is_framed_in_a_browser(world: RouteWorld):
    """Also errors, and answers of ndstore's that are called HTML."""
    answers = [
        world.ask(example, user)
        for example in world.examples
        if not example.writes
        for user in (None, "alice")
    ]
    answers += [world.server.call(method, "/nowhere") for method in ("GET", "OPTIONS", "TRACE")]
    assert "text/html" in {answer.mimetype for answer in answers}
    for answer in answers:
        assert ALWAYS.items() <= dict(answer.headers).items()
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        is_page = answer.request.path == "/"
        assert ("sandbox" in policy) != is_page, answer.request.path


def test_the_start_page_allows_its_own_style_alone(world: RouteWorld):
    answer = world.server.get("/")
    styles = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    (allowed,) = re.findall("'sha256-([^']+)'", answer.headers["Content-Security-Policy"])
    assert [
        base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in styles
    ] == [allowed]
    assert not re.search(r"<script|\son\w+=|\sstyle=|javascript:", answer.text)


def test_no_key_is_logged_or_repeated(world: RouteWorld, caplog):
    """Wherever it was sent, also in a wrong place."""
    for name in (None, "ndlambda", "ndlambda.web"):
        caplog.set_level("DEBUG", logger=name)
    key = world.server.keys["alice"]
    placed = (
        {"Authorization": f"Token {key}"},
        {"Authorization": f"Token {key} more"},
        {"Authorization": key},
        {"X-Api-Key": key, "Cookie": f"key={key}"},
    )
    for example in world.examples:
        asked = [(example.asking(key=key, access_token=key), {})]
        asked += [(example, headers) for headers in placed if not example.writes]
        for each, headers in asked:
            answer = world.ask(each, headers=headers)
            assert key not in f"{answer.headers}", example.key
            assert key.encode() not in answer.data, example.key
    formatter = JsonFormatter()
    lines = [formatter.format(record) for record in caplog.records]
    assert any(json.loads(line).get("path") for line in lines)
    assert not [line for line in lines if key in line]


@pytest.mark.parametrize(
    "name", ["a\r\nX-Evil: 1", 'a";x="', "\u00fc\u0100", "..", "%0d%0aX-Evil:1"]
)
def test_no_name_splits_a_header(world: RouteWorld, name):
    for example in world.examples:
        if example.writes:
            continue
        for argument in example.arguments:
            for user in (None, "admin"):
                answer = world.server.call("GET", example.naming(**{argument: name}).path, user)
                assert "X-Evil" not in answer.headers
                assert answer.status_code < 500, example.key
    assert_problem(world.server.get("/sd/\u00fc/projinfo", "admin"), 404, "TokenNotFoundError")
