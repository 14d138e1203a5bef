"""RAMON objects over the v1 routes: found, and their ids reserved and merged."""

import pytest

from tests.support.annotation_documents import BASE, OBJECTS, SYNAPSE, made, serving_objects
from tests.support.app import assert_problem, server_fixture, serving

shared = server_fixture(serving_objects)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("library")) as server:
        made(
            server,
            SYNAPSE | {"id": 1},
            SYNAPSE | {"id": 2, "segments": [7], "confidence": 0.2, "author": "bea"},
            {"type": "segment", "id": 3, "neuron": 5, "status": 1, "pairs": {"a b": "1=2&3"}},
            {"type": "organelle", "id": 4, "centroid": [1, 2, 3], "pairs": {"colour": "red"}},
        )
        yield server


@pytest.mark.parametrize(("query", "ids"), [
    ({"type": "2"}, [1, 2]), ({"type": "Synapse", "author": "bea"}, [2]),
    ({"field.segments": "7"}, [1, 2]), ({"field.segments": ["7", "9"]}, [1]),
    ({"field.weight": "0.5", "field.status": "1"}, [1, 2]), ({"pair.weight": "0.5"}, []),
    ({"pair.colour": "red", "pair.seen": "yes"}, [1, 2]), ({"pair.colour": ["red", "blue"]}, []),
])  # fmt: skip
def test_all_parameters_of_a_query_must_hold(library, query, ids):
    answer = library.get(OBJECTS, query_string=query)
    assert (answer.status_code, answer.get_json()) == (200, {"ids": ids, "next": None})


@pytest.mark.parametrize(
    "query",
    [
        "typ=synapse", "type=synapse&type=seed", "type=cell", "type=0", "type=10", "status=one",
        "status=1&status=2", "confidence_gt=high", "confidence=0.5", "limit=0", "limit=-1",
        "limit=1001", "after=x", "after=", "after=-1", f"after={2**64}",
        "field.=3", "field.colour=red", "field.parent=4", "type=seed&field.weight=1",
        "field.weight=heavy", "field.segments=7,9", "field.segments=", "pair.=3",
        "pair.syn_weight=0.5", "pair.ann_type=2", "&".join(["pair.seen=yes"] * 33), "resolution=0",
        "x=0:5", "x=10:74&y=20:52&z=5:9&resolution=9", "x=10:74&t=0:2",
    ],
)  # fmt: skip
def test_questions_that_cannot_be_meant_are_refused(library, query):
    answer = library.get(f"{OBJECTS}?{query}")
    assert answer.status_code == (404 if "resolution=9" in query else 400), answer.text


def test_the_most_frequent_keys_are_counted(library):
    keys = library.get(f"{BASE}/keys").get_json()["keys"]
    assert keys[0] == {"key": "colour", "count": 3}
    assert {one["key"] for one in keys} == {"colour", "seen", "a b"}
    some = library.get(f"{BASE}/keys?type=segment&limit=1").get_json()
    assert some == {"keys": [{"key": "a b", "count": 1}]}
    for query in ("limit=0", "limit=x", "limit=10001", "type=cell", "count=3"):
        assert library.get(f"{BASE}/keys?{query}").status_code == 400


@pytest.mark.parametrize(
    "fields", [{}, {"count": 0}, {"count": True}, {"count": "5"}, {"count": 5, "first": 1}]
)
def test_a_reservation_must_say_how_many(shared, fields):
    with shared.unchanged():
        answer = shared.post(f"{BASE}/reserve", "alice", json=fields)
        assert_problem(answer, 422, "ValidationError")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422), ({"ids": [1]}, 422), ({"ids": "1,2"}, 422), ({"ids": [1, 0]}, 422),
        ({"ids": [1, 2], "resolution": "0"}, 422), ({"ids": [1, 2], "resolution": -1}, 422),
        ({"ids": [1, 2], "resolutions": 0}, 422), ({"ids": [1, 2], "box": [[0, 9]]}, 422),
        ({"ids": [1, 2], "box": {"x": [10]}}, 422),
        ({"ids": [1, 2], "box": {"x": [10, 20, 30]}}, 422),
        ({"ids": [1, 2], "box": {"x": [-1, 20]}}, 422),
        ({"ids": [1, 2], "box": {"x": ["10", 20]}}, 422),
        ({"ids": [1, 2], "box": {"w": [10, 20]}}, 422),
        ({"ids": [1, 2], "box": {"x": [20, 10]}}, 400),
        ({"ids": [1, 2], "box": {"x": [0, 20]}}, 400), ({"ids": [1, 1]}, 400),
        ({"ids": [1, 2], "resolution": 9, "box": {}}, 404),
    ],
)  # fmt: skip
def test_merges_that_cannot_be_meant_are_refused(shared, fields, status):
    with shared.unchanged():
        answer = shared.post(f"{BASE}/merge", "alice", json=fields)
        assert answer.status_code == status, answer.text
