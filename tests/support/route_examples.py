"""A valid request for every route, made from its rule, and a world in which it succeeds.

``EXAMPLE_OF`` has a value for every argument of a rule, and ``BODIES`` a body for every rule that
takes one. A route with an argument or a body that is missing here fails its tests.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import numpy as np
from werkzeug.test import TestResponse

from ndlambda import runtime
from ndlambda.model.catalog import Channel
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.ramon import Segment, Skeleton
from ndlambda.stores.ports import Create
from ndlambda.testing.counting import CountingStores
from ndlambda.web.app import App
from ndlambda.web.routing import Route
from tests.support import bodies
from tests.support.app import BOX, BRAIN, SHAPE, Server, assert_problem, serving
from tests.support.bodies import noise
from tests.support.ingest_world import png
from tests.support.ramon_files import ramon_file, region_file
from tests.support.stored_objects import store

CLOSED_CHANNELS: dict[str, dict[str, Any]] = {
    "readonly": {"readonly": True},
    "busy": {"propagate": 1},
}
"""Channels that take no writes: ``em_readonly``, ``labels_busy`` and so on."""

Key = tuple[str, str]
"""Method and rule, which name a route."""

RESULT = "x" * 43
BOX_QUERY = {"x": "10:74", "y": "20:52", "z": "5:9"}
PLACE = {"x": "20", "y": "20", "z": "5"}

EXAMPLE_OF: dict[str, str] = {
    "token": "hidden", "channel": "labels", "channels": "em", "service": "npz", "args": BOX,
    "ds": "hidden", "pr": "hidden", "ch": "em", "tk": "hidden", "user": "bob", "name": RESULT,
    "schema": "job", "ids": "1", "annotation": "1", "number": "1", "skeleton_ids": "2",
    "options": "nodata", "words": "update", "predicates": "type/4", "field": "status", "value": "0",
    "resolution": "0", "time": "0", "count": "1", "chunk": "0", "kind": "4",
    "wanted": "graphml/10,74/20,52/5,9", **PLACE,
}  # fmt: skip
"""For every argument, the name of something private that exists."""

_SIZES = {f"{axis}imagesize": size for axis, size in zip("xyz", BRAIN.imagesize_xyz, strict=True)}
_CHANNEL = {"channel_type": "image", "channel_datatype": "uint8"}
_AUTO_INGEST = {
    "dataset": {
        "dataset_name": "hidden", "imagesize": BRAIN.imagesize_xyz, "offset": BRAIN.offset_xyz,
        "voxelres": BRAIN.voxelres_xyz, "scalinglevels": BRAIN.scalinglevels, "scaling": 0,
    },
    "project": {"project_name": "hidden"},
    "channels": {
        "new": {
            "channel_name": "new", "datatype": "uint8", "channel_type": "image",
            "data_url": "http://example.org", "file_format": "SLICE", "file_type": "png",
        }
    },
    "metadata": {},
}  # fmt: skip
_SWC = b"1 1 0 0 0 1 -1"
_REGION = region_file((10, 20, 5), (4, 4, 4))
_PNG = png(np.full((200, 300), 7, np.uint8))

BODIES: dict[Key, Any] = {
    ("POST", "<words:words>"): ramon_file({"1": {"ANNOTATION_TYPE": 4}}),
    ("POST", "<channel:channel>"): ramon_file({"noid.0": {"ANNOTATION_TYPE": 4}}),
    ("POST", "query"): _REGION,
    ("POST", "query/<path:predicates>"): _REGION,
    ("POST", "<path:args>"): bodies.npz(noise((1, *SHAPE))),
    ("POST", "merge/<ids:ids>/<path:args>"): b"",
    ("POST", "cutout"): bodies.npy(noise(SHAPE)),
    ("POST", "annotations/<segment:annotation>/cutout"): bodies.npy(np.ones(SHAPE, bool)),
    ("POST", "annotations/<segment:annotation>/voxels"): bodies.npy(np.array([[20, 20, 5]])),
    ("POST", "annotations"): {"type": "segment"},
    ("POST", "annotations/delete"): {"ids": [1]},
    ("PUT", "annotations/<segment:annotation>"): {"type": "segment", "status": 1},
    ("PATCH", "annotations/<segment:annotation>"): {"status": 1},
    ("POST", "channels/<name:channel>/reserve"): {"count": 1},
    ("POST", "channels/<name:channel>/adopt"): {"type": "segment"},
    ("POST", "channels/<name:channel>/merge"): {"ids": [1, 3]},
    ("POST", "propagation"): {"method": "nearest"},
    ("POST", "uploads"): {"media_type": "application/x-npy", "bytes": 2},
    ("PUT", "uploads/<segment:upload>"): b"{}",
    ("POST", "swc"): _SWC,
    ("POST", "skeletons"): _SWC,
    ("POST", "autoIngest"): _AUTO_INGEST,
    ("POST", "sd/json"): _AUTO_INGEST,
    ("POST", "auto-ingest"): _AUTO_INGEST,
    ("POST", "ingest"): {"token": "hidden", "channel": "em"},
    ("PUT", "parts/<number:chunk>/<segment:name>"): _PNG,
    ("POST", "ingest/<segment:job>/errors"): {"errors": [{"slice": 2, "error": "torn"}]},
    ("POST", "createChannel"): {"channels": {"new": {**_CHANNEL, "channel_name": "new"}}},
    ("POST", "deleteChannel"): {"channels": ["em2"]},
    ("POST", "<segment:ds>"): _SIZES,
    ("POST", "<segment:pr>"): {},
    ("POST", "<segment:ch>"): _CHANNEL,
    ("POST", "<segment:tk>"): {},
    ("POST", "users"): {"name": "mallory"},
    ("PUT", "password"): {"password": "pass1"},
    ("GET", "ndauth/validate"): {"properties": {}},
    ("POST", "ndauth/validate"): {"properties": {}},
}
"""Bodies by method and end of the rule (the longest wins); values that are not bytes are JSON."""

QUERIES: dict[Key, dict[str, str]] = {
    ("POST", "<name:channel>/cutout"): {**BOX_QUERY, "format": "npy"},
    ("POST", "annotations/<segment:annotation>/cutout"): BOX_QUERY,
    ("GET", "ids/at"): PLACE,
}
"""Parameters that an example needs."""

OVERRIDES: dict[Key, dict[str, str]] = {
    ("POST", "merge/<ids:ids>/global"): {"ids": "1,3"},
    ("POST", "merge/<ids:ids>/global/<number:resolution>"): {"ids": "1,3"},
    ("POST", "merge/<ids:ids>/<path:args>"): {"ids": "1,3"},
    ("POST", "propagation"): {"channel": "em"},
    ("GET", "setPropagate/<segment:value>"): {"value": "1"},
    ("POST", "<segment:ds>"): {"ds": "new"},
    ("POST", "<segment:pr>"): {"pr": "new"},
    ("POST", "<segment:ch>"): {"ch": "new"},
    ("POST", "<segment:tk>"): {"tk": "new"},
    ("GET", "<name:channel>/cutout"): {"channel": "em"},
    ("POST", "<name:channel>/cutout"): {"channel": "em"},
    ("POST", "uploads"): {"channel": "em"},
    ("PUT", "uploads/<segment:upload>"): {"channel": "em"},
    ("DELETE", "<name:channel>/propagation"): {"channel": "em2"},
    ("PUT", "parts/<number:chunk>/<segment:name>"): {"name": "0002.png"},
    ("GET", "v1/ingest/<segment:job>"): {"job": "{built}"},
    ("GET", "v1/jobs/<segment:job>"): {"job": "ingest-{built}"},
    ("POST", "v1/jobs/<segment:job>/retry"): {"job": "ingest-{failed}"},
    ("POST", "v1/jobs/<segment:job>/cancel"): {"job": "ingest-{job}"},
    ("POST", "retry"): {"job": "{failed}"},
    ("GET", "verify"): {"job": "{built}"},
}
"""Other values of arguments, by method and end of the rule; in braces, ids of the world."""

_ARGUMENT = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")
_READING_POSTS = ("query", "query/<path:predicates>", "ndauth/validate")

_Value = TypeVar("_Value")


def _ends_with(rule: str, end: str) -> bool:
    return f"/{rule}".endswith(f"/{end}")


def by_rule(table: Mapping[Key, _Value], route: Route, default: _Value) -> _Value:
    """Return the entry of a table for a route's method and the longest end of its rule."""
    ends = [end for method, end in table if method == route.method and _ends_with(route.rule, end)]
    return table[route.method, max(ends, key=len)] if ends else default


@dataclass(frozen=True, slots=True)
class Example:
    """A request that its route carries out for its owner."""

    route: Route
    arguments: Mapping[str, str]
    query: Mapping[str, Any]
    body: bytes

    @property
    def key(self) -> Key:
        """Method and rule of the route."""
        return self.route.method, self.route.rule

    @property
    def owner(self) -> str:
        """The user who may send it."""
        return "admin" if self.path.startswith(("/v1/users", "/v1/jobs/dead")) else "alice"

    @property
    def writes(self) -> bool:
        """Whether the route changes something."""
        if self.route.method == "POST":
            return not any(_ends_with(self.route.rule, end) for end in _READING_POSTS)
        return self.route.method != "GET" or self.route.changes

    @property
    def path(self) -> str:
        """Path and query."""
        path = _ARGUMENT.sub(lambda match: self.arguments[match[1]], self.route.rule)
        return f"{path}?{urlencode(self.query, doseq=True)}" if self.query else path

    def naming(self, **arguments: str) -> Self:
        """Return the request with other values of some arguments."""
        return replace(self, arguments={**self.arguments, **arguments})

    def asking(self, **query: Any) -> Self:
        """Return the request with more parameters."""
        return replace(self, query={**self.query, **query})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a request: its status, the name of its error class, and its writes.

    The error is empty where the response is no problem document.
    """

    status: int
    error: str = ""
    writes: int = 0
    body: bytes = field(default=b"", compare=False, repr=False)


def error_of(answer: TestResponse) -> str:
    """Return the error class of a complete problem document, empty for other responses."""
    if answer.content_type != "application/problem+json":
        return ""
    document = answer.get_json(force=True)
    error = str(document["type"]).removeprefix("urn:ndlambda:error:")
    assert_problem(answer, answer.status_code, error)
    assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)
    return error


def example_of(route: Route, ids: Mapping[str, str]) -> Example:
    """Return the example of a route; ``ids`` are those that the world generated."""
    names = _ARGUMENT.findall(route.rule)
    values = {**EXAMPLE_OF, **ids, **by_rule(OVERRIDES, route, {})}
    body = by_rule(BODIES, route, None)
    assert (body not in (None, b"")) == bool(route.body), f"what is the body of {route.rule}?"
    return Example(
        route,
        {name: values[name].format(**ids) for name in names},
        by_rule(QUERIES, route, {}),
        body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode(),
    )


@dataclass
class RouteWorld:
    """A private volume of alice's with all that routes name, and an example of every route."""

    server: Server
    ids: dict[str, str]
    examples: Sequence[Example] = field(init=False)

    def __post_init__(self) -> None:
        self.examples = [example_of(route, self.ids) for route in self.server.app.routes]

    def ask(self, example: Example, user: str | None = None, **more: Any) -> TestResponse:
        """Send an example as one of the users, or without a key."""
        sent = {"data": example.body} | more
        return self.server.call(example.route.method, example.path, user, **sent)

    def outcome(self, example: Example, user: str | None = None, **more: Any) -> Outcome:
        """Send an example and return its outcome."""
        before = self.server.stores.writes
        answer = self.ask(example, user, **more)
        return Outcome(
            answer.status_code, error_of(answer), self.server.stores.writes - before, answer.data
        )

    @contextmanager
    def copied(self, folder: Path, **settings: Any) -> Iterator["RouteWorld"]:
        """Yield a copy of the world that may be changed, perhaps with other settings."""
        shutil.copytree(self.server.settings.data, folder)
        server = copy(self.server)
        server.settings = replace(self.server.settings, data=folder, **settings)
        server.stores = CountingStores()
        ports = runtime.open_ports(server.settings)
        server.runtime = runtime.build(server.settings, server.stores.wrap_ports(ports))
        server.app = App(server.runtime, self.server.app.routes)
        try:
            yield RouteWorld(server, self.ids)
        finally:
            server.runtime.close()


@contextmanager
def serving_routes(folder: Path) -> Iterator[RouteWorld]:
    """Yield the world: ``hidden`` is private, ``shown`` is the same with a public token."""
    image = Channel("", "em", ChannelType.IMAGE, DataType.UINT8, default=True)
    labels = Channel("", "labels", ChannelType.ANNOTATION, DataType.UINT32)
    with serving(folder) as server:
        services = server.runtime
        channels = (
            image,
            replace(image, name="em2", default=False),
            labels,
            *(
                replace(kind, name=f"{kind.name}_{state}", default=False, **fields)
                for kind in (image, labels)
                for state, fields in CLOSED_CHANNELS.items()
            ),
        )
        voxels = np.full((1, *SHAPE), 3, "u4")
        voxels[..., -1] = 9  # a label without an object
        for name in ("hidden", "shown"):
            server.add_volume(replace(BRAIN, name=name), *channels, public=name == "shown")
            stored_in = services.catalog.get_channel(name, "labels")
            store(services.annotation, stored_in, Segment(1), Skeleton(2), Segment(3))
            server.write(f"/sd/{name}/labels/npz/{BOX}", bodies.npz(voxels))
        services.propagation.start(
            services.catalog.get_dataset("hidden"), services.catalog.get_channel("hidden", "em2")
        )
        services.resources.objects.put(f"results/{RESULT}", b"a result", Create())
        services.ingest.drop.waiting.record("drop/hidden/none/", "hidden has no channel none")
        yield RouteWorld(server, _make_jobs(server))


def _make_jobs(server: Server) -> dict[str, str]:
    """Create an open, a complete and a failed ingest job, and announce an upload."""
    config = {"token": "hidden", "channel": "em", "extent": {"z": [1, 2]}}

    def made(path: str, document: Mapping[str, Any]) -> str:
        answer = server.post(path, "alice", json=document)
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["id"])

    built = made("/v1/ingest", config)
    sent = server.call("PUT", f"/v1/ingest/{built}/parts/0/0001.png", "alice", data=_PNG)
    assert sent.status_code == 201
    server.runtime.ingest.jobs.build(built, 1, 0)
    failed = made("/v1/ingest", config | {"on_bad": "fail"})
    torn = {"errors": [{"slice": 1, "error": "torn"}]}
    assert server.post(f"/v1/ingest/{failed}/errors", "alice", json=torn).status_code == 204
    return {
        "job": made("/v1/ingest", config | {"extent": {"z": [2, 3]}}),
        "built": built,
        "failed": failed,
        "upload": made("/v1/projects/hidden/channels/em/uploads", BODIES["POST", "uploads"]),
    }
