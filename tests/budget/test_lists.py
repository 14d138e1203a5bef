"""Requests to the stores for a page of a list: the same however long it is (``docs/costs.md``)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ingest_queue.jobs.chunk_state import Fault
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.ramon import Segment
from tests.support.app import BRAIN, CHANNELS, Server, server_fixture

SIZES = (5, 25, 65)
LIMIT = 4

server = server_fixture(scope="function")


def _datasets(server: Server, number: int) -> None:
    server.runtime.catalog.create_dataset(
        replace(BRAIN, name=f"d{number:03d}", user_id=server.owner)
    )


def _projects(server: Server, number: int) -> None:
    server.runtime.catalog.create_project(Project(f"p{number:03d}", "brain", user_id=server.owner))


def _channels(server: Server, number: int) -> None:
    channel = Channel("pr", f"c{number:03d}", ChannelType.IMAGE, DataType.UINT8)
    server.runtime.catalog.create_channel(channel)


def _tokens(server: Server, number: int) -> None:
    server.runtime.catalog.create_token(Token(f"t{number:03d}", "pr", user_id=server.owner))


def _users(server: Server, number: int) -> None:
    server.runtime.users.create_user(f"u{number:03d}")


def _jobs(server: Server, number: int) -> None:
    config = {"token": "closed", "channel": "em"}
    made = server.post("/v1/ingest", "alice", json=config).get_json()
    server.call("DELETE", f"/v1/ingest/{made['id']}", "alice")


def _errors(server: Server, number: int) -> None:
    ingest = server.runtime.ingest.jobs
    made = ingest.ledger.of_user.newest(server.owner, "", 1).items
    if not made:
        server.post("/v1/ingest", "alice", json={"token": "closed", "channel": "em"})
        made = ingest.ledger.of_user.newest(server.owner, "", 1).items
    ingest.ledger.add_fault(made[0], Fault(0, number, f"{number}.png", "torn"))


def _objects(server: Server, number: int) -> None:
    runtime = server.runtime
    labels = next(channel for channel in CHANNELS if channel.name == "labels")
    stored = runtime.catalog.get_channel("pr", labels.name)
    runtime.annotation.ramon.create_reserved(stored, [Segment(number + 1)])


def _errors_path(server: Server) -> str:
    (job,) = server.runtime.ingest.jobs.ledger.of_user.newest(server.owner, "", 1).items
    return f"/v1/ingest/{job.id}/errors"


Where = str | Callable[[Server], str]
LISTS: dict[str, tuple[Callable[[Server, int], None], Where, str, int]] = {
    "datasets": (_datasets, "/v1/datasets", "dataset_name", 2),
    "projects": (_projects, "/v1/datasets/brain/projects", "project_name", 3),
    "channels": (_channels, "/v1/datasets/brain/projects/pr/channels", "channel_name", 3),
    "tokens": (_tokens, "/v1/tokens", "token_name", 4),
    "tokens of a project": (_tokens, "/v1/datasets/brain/projects/pr/tokens", "token_name", 4),
    "users": (_users, "/v1/users", "name", 1),
    "jobs": (_jobs, "/v1/ingest", "id", 3 + LIMIT),
    "errors": (_errors, _errors_path, "part", 6),
    "ids": (_objects, "/v1/projects/closed/channels/labels/annotations?type=segment", "", 17),
}
"""How to lengthen a list, where it is, the key of an entry, and the requests of a page."""


def _pages(server: Server, path: str, limit: int, kind: str) -> Iterator[list[Any]]:
    asked = f"{path}{'&' if '?' in path else '?'}limit={limit}"
    user = "admin" if "users" in path else "alice"
    after = ""
    while True:
        answer = server.get(f"{asked}{after}", user, headers={"Accept": "application/json"})
        assert answer.status_code == 200, answer.text
        page = answer.get_json()
        yield page[kind]
        if page["next"] is None:
            return
        after = f"&after={page['next']}"


@pytest.mark.parametrize("kind", LISTS)
def test_a_page_costs_the_same_however_long_the_list_is(server, kind):
    """All pages together have every entry once, whatever comes and goes meanwhile."""
    add, where, key, requests = LISTS[kind]
    name = kind.split()[0]
    counts, made = [], 0
    for size in SIZES:
        while made < size:
            add(server, made)
            made += 1
        path = where if isinstance(where, str) else where(server)
        next(_pages(server, path, LIMIT, name))  # fills caches of tokens and keys
        server.stores.reset()
        first = next(_pages(server, path, LIMIT, name))
        assert len(first) == LIMIT
        counts.append(server.stores.requests)
    assert counts == [requests] * len(SIZES), server.stores.calls
    entries = [each for page in _pages(server, path, LIMIT, name) for each in page]
    found = [each[key] if key else each for each in entries]
    assert len(found) == len(set(found)) >= SIZES[-1]
    (whole,) = _pages(server, path, 1000, name)
    assert whole == entries or name == "channels"


def test_what_comes_and_goes_meanwhile_doubles_and_hides_nothing(server):
    for number in range(0, 40, 2):
        _datasets(server, number)
    pages = _pages(server, "/v1/datasets", LIMIT, "datasets")
    found = [each["dataset_name"] for each in next(pages)]
    server.runtime.catalog.delete_dataset(found[-1])  # the position of the next page
    _datasets(server, 1)
    _datasets(server, 39)
    found += [each["dataset_name"] for page in pages for each in page]
    there = {"brain", *(f"d{number:03d}" for number in range(0, 40, 2))}
    assert len(found) == len(set(found))
    assert there | {"d039"} == set(found)


@pytest.mark.parametrize("after", ["", "a-b", "x" * 256, "%F0%9F%A7%A0", "a/b"])
@pytest.mark.parametrize("kind", LISTS)
def test_positions_that_no_server_gave_are_refused(server, kind, after):
    if kind == "errors":
        _errors(server, 0)
    _, where, *_ = LISTS[kind]
    path = where if isinstance(where, str) else where(server)
    asked = f"{path}{'&' if '?' in path else '?'}after={after}"
    accept = {"Accept": "application/json"}
    assert server.get(asked, "admin", headers=accept).status_code == 400


def test_few_visible_entries_of_many_are_found_page_by_page(server, monkeypatch):
    """What one may not see costs pages without entries, not requests."""
    monkeypatch.setattr("ndlambda.services.support.paging._SCANNED", 8)
    for number in range(40):
        _datasets(server, number)
    server.runtime.catalog.create_dataset(Dataset("zz", (9, 9, 9), public=True))
    path, server.keys["alice"] = "/v1/datasets", server.keys["bob"]
    pages = list(_pages(server, path, LIMIT, "datasets"))
    assert [each["dataset_name"] for page in pages for each in page] == ["zz"]
    assert len(pages) > 4
