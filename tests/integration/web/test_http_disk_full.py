"""A server whose disk is full: every change is refused with 507, and what is there is served."""

import errno
import sqlite3

from ndlambda.stores.disk import DiskObjectStore
from ndlambda.stores.disk import database as database_module
from tests.support.app import server_fixture
from tests.support.route_examples import Outcome, RouteWorld, serving_routes

world = server_fixture(serving_routes)


def fail_to_write(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def fail_to_begin(connection: sqlite3.Connection, statement: str) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


def test_a_full_disk_is_507_for_every_change(world: RouteWorld, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(DiskObjectStore, "_write", fail_to_write)
        full.setattr(database_module, "_retry_busy", fail_to_begin)
        for example in world.examples:
            if example.writes:
                answer = world.ask(example, example.owner)
                assert answer.status_code == 507, (example.key, answer.text)
                assert answer.get_json()["type"] == "urn:ndlambda:error:StoreFullError"
                assert answer.headers["Retry-After"] == "30"
            elif example.route.method == "GET" and example.key != ("GET", "/ndauth/validate"):
                assert world.outcome(example, example.owner) == Outcome(200), example.key
