"""Thousands of hostile requests against every route: no failure of the server, nothing written.

``NDLAMBDA_HOSTILE_REQUESTS=3000`` sends more of them, ``NDLAMBDA_HOSTILE_SEED`` others.
"""

import os
import resource
import sys
from collections import Counter
from pathlib import Path

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.support.hostile import Hostile, hostile_requests
from tests.support.route_examples import RouteWorld, serving_routes

COUNT = int(os.environ.get("NDLAMBDA_HOSTILE_REQUESTS", "600"))
SEED = int(os.environ.get("NDLAMBDA_HOSTILE_SEED", "1"))
MAX_GROWTH_BYTES = 512 << 20
USERS = (None, "alice", "bob", "alice")


@pytest.fixture
def world(tmp_path):
    with serving_routes(tmp_path / "data") as made:
        yield made


def destroys(request: Hostile) -> bool:
    """Return whether the owner's request could remove what others are made from."""
    return request.example.route.method == "DELETE" or "deleteChannel" in request.path


def ask(world: RouteWorld, request: Hostile, user: str | None) -> tuple[int, bytes]:
    """Send a request as it is, also where no client would; return status and body."""
    environ = EnvironBuilder(method=request.method, data=request.body).get_environ()
    path, _, query = request.path.partition("?")
    environ["PATH_INFO"] = path.encode("utf-8", "surrogatepass").decode("latin-1")
    environ["QUERY_STRING"] = query.encode("utf-8", "surrogatepass").decode("latin-1")
    if user is not None:
        environ["HTTP_AUTHORIZATION"] = f"Token {world.server.keys[user]}"
    for header, value in request.headers.items():
        variable = header.upper().replace("-", "_")
        prefix = "" if variable in {"CONTENT_TYPE", "CONTENT_LENGTH"} else "HTTP_"
        environ[prefix + variable] = value.encode().decode("latin-1")
    chunks, status, _ = run_wsgi_app(world.server.app, environ, buffered=True)
    return int(status.split()[0]), b"".join(chunks)


def test_hostile_requests_are_answered_and_refused_ones_write_nothing(world, capsys):
    statuses, faults = Counter[int](), []
    stores = world.server.stores
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    for number, request in enumerate(hostile_requests(world.examples, COUNT, SEED)):
        user = USERS[number % len(USERS)]
        user = "bob" if user == "alice" and destroys(request) else user
        writes = stores.writes
        what = (number, user, request.family, request.method, request.path[:120], request.headers)
        status, body = ask(world, request, user)
        statuses[status] += 1
        if status >= 500:
            faults.append((status, *what, request.body[:60], body[:200]))
        if status >= 400 and stores.writes != writes:
            faults.append((status, "written", *what, request.body[:60], body[:200]))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
    found = dict(sorted(statuses.items()))
    with capsys.disabled():
        sys.stdout.write(f"\n{COUNT} hostile requests: {found}, {grown >> 20} MiB more\n")
    assert faults == []
    assert grown < MAX_GROWTH_BYTES
    assert not Path("/tmp/hostile-was-here").exists()
