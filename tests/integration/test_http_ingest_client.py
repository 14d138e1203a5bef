"""Jobs made by configurations of the ingest-client as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import Server, assert_problem, serving
from tests.support.ingest_configs import EXTENT, SOURCES, client_config, volumetric_config


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as made:
        yield made


def make(server: Server, doc: dict[str, Any], path: str = "/v1/ingest") -> Any:
    answer = server.post(path, "alice", json=doc)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("words", ["boss", "nd"])
def test_a_configuration_is_taken_unchanged(server: Server, source: str, words: str):
    job = make(server, client_config(source=source, words=words), "/ingest/")
    assert (job["token"] in {"open", "closed"}, job["mode"]) == (True, "slices")
    assert (job["dataset"], job["project"], job["channel"]) == ("brain", "pr", "em")
    assert job["extent"] == EXTENT
    assert (job["x_start"], job["x_stop"], job["tile_size_x"]) == (8, 308, 300)


def test_version_2_uploads_tiles_or_chunks(server: Server):
    assert make(server, client_config("2", ingest_type="tile"))["mode"] == "slices"
    assert make(server, volumetric_config())["mode"] == "chunks"


@pytest.mark.parametrize(
    "tile",
    [
        {"x": 100, "y": 200, "z": 1, "t": 1},
        {"x": 300, "y": 77, "z": 1, "t": 1},
        {"x": 300, "y": 200, "z": 4, "t": 1},
    ],
)
def test_in_place_of_tiles_that_are_no_planes_chunks_are_uploaded(
    server: Server, tile: dict[str, int]
):
    """Its predecessor stored tiles that are no multiple of 512 at the wrong place."""
    job = make(server, client_config(tile_size=tile))
    assert (job["mode"], job["extent"], job["parts"]["seen"]) == ("chunks", EXTENT, 0)


def test_tiles_larger_than_the_plane_are_planes(server: Server):
    """As its examples have them: 1024 x 1024 of a volume that is smaller."""
    tile = {"x": 1024, "y": 1024, "z": 1, "t": 1}
    assert make(server, client_config(tile_size=tile))["mode"] == "slices"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"tile_size": {"x": 300, "z": 1, "t": 1}}, "InvalidArgumentError"),
        ({"tile_size": {"x": 0, "y": 200, "z": 1, "t": 1}}, "ValidationError"),
        ({"tile_size": {"x": 300.0, "y": 200, "z": 1, "t": 1}}, "ValidationError"),
        ({"extent": EXTENT | {"z": [1, 42]}}, "OutOfBoundsError"),
        ({"extent": EXTENT | {"x": [8, 2**63]}}, "ValidationError"),
        ({"ingest_type": "volumes"}, "ValidationError"),
        ({"resolution": 7}, "ResolutionNotFoundError"),
    ],
)
def test_what_cannot_be_is_refused(server: Server, change: dict[str, Any], error: str):
    with server.unchanged():
        assert_problem(server.post("/ingest/", "alice", json=client_config(**change)), 400, error)


@pytest.mark.parametrize("user", ["bob", None])
def test_who_may_write_by_no_token_of_the_project_is_told_nothing_of_it(
    server: Server, user: str | None
):
    unknown = client_config()
    unknown["database"]["experiment"] = "none"
    answers = [server.post("/ingest/", user, json=doc) for doc in (client_config(), unknown)]
    details = [assert_problem(a, 400, "ProjectNotFoundError")["detail"] for a in answers]
    assert details[0].replace("'pr'", "'none'") == details[1]
