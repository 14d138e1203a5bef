"""Every route there is, asked by those who may not: a new one is here without being told of."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ndlambda.model.catalog import Channel
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.ramon import Segment, Skeleton
from ndlambda.web.problem import Dialect
from ndlambda.web.routing import Route
from tests.support import bodies
from tests.support.app import BOX, BRAIN, SHAPE, Server, serving
from tests.support.bodies import noise
from tests.support.ingest_world import png
from tests.support.stored_objects import store

NPZ = bodies.npz(noise((1, *SHAPE)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("routes")) as server:
        image = Channel("", "em", ChannelType.IMAGE, DataType.UINT8)
        labels = Channel("", "labels", ChannelType.ANNOTATION, DataType.UINT32)
        server.add_volume(replace(BRAIN, name="hidden"), image, labels, public=False)
        labels = server.runtime.catalog.get_channel("hidden", "labels")
        store(server.runtime, labels, Segment(1), Skeleton(2))
        PRIVATE["job"] = _finished_job(server)
        PRIVATE["upload"] = _announced_upload(server)
        server.runtime.drop.waiting.record("drop/hidden/new/", "hidden has no channel new")
        yield server


def _finished_job(server: Server) -> str:
    """Return a job of alice's that has stored one slice of the private volume."""
    config = {"token": "hidden", "channel": "em", "extent": {"z": [1, 2]}}
    job = server.post("/v1/ingest", "alice", json=config).get_json()
    path = f"/v1/ingest/{job['id']}/parts/0/0001.png"
    body = png(np.full((200, 300), 7, np.uint8))
    assert server.call("PUT", path, "alice", data=body).status_code == 201
    server.runtime.ingest.build(job["id"], 1, 0)
    return str(job["id"])


def _announced_upload(server: Server) -> str:
    """Return a body of alice's for the private labels, which has not come yet."""
    path = "/v1/projects/hidden/channels/labels/uploads"
    announced = {"media_type": "application/x-npy", "bytes": 2}  # as long as what the tests send
    answer = server.post(path, "alice", json=announced)
    assert answer.status_code == 201, answer.text
    return str(answer.get_json()["id"])


OPEN_ROUTES = {
    ("GET", "/"): "the start page lists public tokens only",
    ("GET", "/healthz"): "load balancers have no key",
    ("GET", "/openapi.json"): "the document of the interface holds no data",
    ("GET", "/v1/server"): "limits, and that the caller is nobody",
    ("GET", "/v1/ingest/schema/<segment:schema>"): "tells nothing that is stored",
    ("GET", "/v1/datasets"): "lists what is public, or the caller's",
    ("GET", "/v1/tokens"): "lists what is public, or the caller's",
    ("GET", "/resource/dataset"): "lists public datasets",
    ("GET", "/resource/publicdataset"): "lists public datasets",
    ("GET", "/resource/public/dataset"): "lists public datasets",
    ("GET", "/resource/public/token"): "lists public tokens",
    ("GET", "/resource/dataset/<segment:ds>/project"): "lists public projects",
    ("GET", "/resource/public/dataset/<segment:ds>"): "lists public projects",
    ("GET", "/sd/public_tokens"): "lists public tokens",
    ("GET", "/public_tokens"): "lists public tokens",
    ("GET", "/sd/public_datasets"): "lists public datasets",
    ("GET", "/public_datasets"): "lists public datasets",
}
OWN_ROUTES = {
    ("GET", "/ingest"): "lists the caller's jobs",
    ("GET", "/v1/ingest"): "lists the caller's jobs",
    ("GET", "/v1/drop"): "lists what waits for the caller, who owns what is dropped",
}
"""Routes that answer everybody who has a key."""
PRIVATE = {
    "token": "hidden",
    "channel": "labels",
    "channels": "labels",
    "service": "npz",
    "args": BOX,
    "ds": "hidden",
    "pr": "hidden",
    "ch": "em",
    "tk": "hidden",
    "user": "alice",
    "name": "x" * 43,
    "schema": "job",
    "ids": "1",
    "annotation": "1",
    "number": "1",
    "skeleton_ids": "2",
    "options": "nodata",
    "words": "update",
    "predicates": "type/4",
    "field": "status",
    "value": "0",
    "resolution": "0",
    "x": "20",
    "y": "20",
    "z": "5",
    "time": "0",
    "count": "1",
    "chunk": "0",
    "kind": "4",
    "wanted": "graphml/10,74/20,52/5,9",
}
_ARGUMENT = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")
_CHANNEL = {"channel_name": "em", "channel_type": "image", "channel_datatype": "uint8"}


_AUTO_INGEST = {
    "dataset": {"dataset_name": "hidden", "imagesize": [9, 9, 9], "voxelres": [1, 1, 1]},
    "project": {"project_name": "hidden"},
    "channels": {
        "new": {
            "channel_name": "new",
            "datatype": "uint8",
            "channel_type": "image",
            "data_url": "http://example.org",
            "file_format": "SLICE",
            "file_type": "png",
        }
    },
    "metadata": {},
}


def _filled(route: Route) -> str:
    """Return a path of a route, every argument naming something private that exists."""
    path = _ARGUMENT.sub(lambda match: PRIVATE[match[1]], route.rule)
    asked = [f"{query.name}={PRIVATE[query.name]}" for query in route.query if query.required]
    if path.endswith("/cutout") and route.method == "POST":
        asked.append("format=npy")
    return f"{path}?{'&'.join(asked)}" if asked else path


def _body(route: Route) -> bytes:
    """Return a body that the route takes from somebody who may send it."""
    sizes = {f"{axis}imagesize": 10 for axis in "xyz"}
    documents: dict[str, Any] = {
        "createChannel": {"channels": {"new": _CHANNEL | {"channel_name": "new"}}},
        "deleteChannel": {"channels": ["em"]},
        "<segment:ds>": sizes,
        "<segment:ch>": _CHANNEL,
        "users": {"name": "mallory"},
        "ingest": {"token": "hidden", "channel": "em"},
        "autoIngest": _AUTO_INGEST,
        "auto-ingest": _AUTO_INGEST,
    }
    last = route.rule.rsplit("/", 1)[1]
    if last == "<path:args>":
        return NPZ
    if last in {"swc", "skeletons"}:
        return b"1 1 0 0 0 1 -1"
    if last == "cutout":
        return bodies.npy(np.ones((40, 200, 300), "u1"))
    return json.dumps(documents.get(last, {})).encode()


def test_no_route_but_those_listed_answers_nobody_about_something_private(server: Server) -> None:
    """Seen to fail for a route whose view does not ask ``access``."""
    answered = set()
    with server.unchanged():
        for route in server.app.routes:
            answer = server.call(route.method, _filled(route), data=_body(route))
            assert answer.status_code < 500, route
            if answer.status_code < 400:
                answered.add((route.method, route.rule))
                assert b"hidden" not in answer.data, route
    assert answered == set(OPEN_ROUTES)


def test_another_user_sees_no_more_than_nobody(server: Server) -> None:
    with server.unchanged():
        for route in server.app.routes:
            answer = server.call(route.method, _filled(route), "bob", data=_body(route))
            if (route.method, route.rule) in OPEN_ROUTES | OWN_ROUTES:
                assert answer.status_code == 200
                assert b"hidden" not in answer.data, route
            else:
                assert 400 <= answer.status_code < 500, route


def test_the_owner_reaches_what_the_others_are_refused(server: Server) -> None:
    """So that the refusals above are of permission and not of a wrong path."""
    superusers_only = {route for route in server.app.routes if "/v1/users" in route.rule}
    for route in server.app.routes:
        if route.method != "GET" or route in superusers_only or "results" in route.rule:
            continue
        if route.dialect is Dialect.NDAUTH:
            continue
        answer = server.get(_filled(route), "alice")
        assert answer.status_code == 200, (route, answer.text)
