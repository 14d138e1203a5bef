"""RAMON objects as the v1 routes have them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.app import V1, Server, serving

BASE = f"{V1}/open/channels/labels"
OBJECTS = f"{BASE}/annotations"
SYNAPSE: dict[str, Any] = {
    "type": "synapse", "status": 1, "confidence": 0.75, "author": "ann", "weight": 0.5,
    "segments": [7, 9], "centroid": [10, 20, 3], "pairs": {"seen": "yes", "colour": "red"},
}  # fmt: skip


@contextmanager
def serving_objects(folder: Path) -> Iterator[Server]:
    """Return a server with segments 1 and 2 and synapse 3, for tests that change none of them."""
    with serving(folder) as server:
        made(server, {"type": "segment"}, {"type": "segment"}, SYNAPSE)
        yield server


def made(server: Server, *documents: dict[str, Any]) -> list[int]:
    """Make objects and return their ids."""
    answer = server.post(OBJECTS, "alice", json=list(documents))
    assert answer.status_code == 201, answer.text
    ids: list[int] = answer.get_json()["ids"]
    return ids


def shown(server: Server, number: int) -> dict[str, Any]:
    """Return an object that must be there."""
    answer = server.get(f"{OBJECTS}/{number}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.get_json()
    return document
