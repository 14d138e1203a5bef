"""A server in memory that speaks the HTTP contract of the client: a numpy array behind WSGI.

It keeps the rules that clients lean on (zeros never overwrite, identical creation is no conflict,
problem documents) and none of the machinery. Requests can be made to fail on purpose.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import blosc
import numpy as np
from numpy.typing import NDArray
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.test import Client as WsgiClient
from werkzeug.wrappers import Request, Response

from ndlambda import client as nd
from ndlambda import errors
from ndlambda.model import fields as models
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.web.problem import problem_response
from ndlambda.web.routes.ndstore.info import info_document

KEY = "secret"
URL = "http://fake.test"
_CHILDREN = {"projects": "datasets", "channels": "projects", "tokens": "projects"}
_KINDS = ("datasets", *_CHILDREN)
_DATASET = "/v1/datasets/<a>"
_PROJECT = _DATASET + "/projects/<b>"
_RULES = {
    "/healthz": "health",
    "/v1/server": "server",
    "/v1/users": "users",
    "/v1/users/<name>": "user",
    "/v1/users/<name>/password": "password",
    "/v1/users/<name>/keys": "keys",
    "/v1/tokens": "tokens",
    "/v1/datasets": "things:datasets",
    _DATASET: "thing:datasets",
    _DATASET + "/projects": "things:projects",
    _PROJECT: "thing:projects",
    _PROJECT + "/channels": "things:channels",
    _PROJECT + "/channels/<c>": "thing:channels",
    _PROJECT + "/tokens": "things:tokens",
    _PROJECT + "/tokens/<c>": "thing:tokens",
    "/v1/projects/<token>": "info",
    "/v1/projects/<token>/channels/<channel>/cutout": "cutout",
    "/v1/projects/<token>/channels/<channel>/digest": "digest",
}

Path = tuple[str, ...]
Fault = Callable[[Request], Response | None]


@dataclass(frozen=True)
class Call:
    """One request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    authorization: str | None
    body_bytes: int


def refuse(status: int, retry_after: str | None = None) -> Fault:
    """Return a fault that answers a bare status, as gateways do."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return lambda _: Response("<html>busy</html>", status=status, headers=headers)


def drop(_: Request) -> Response:
    """Break the connection before the request is carried out."""
    raise ConnectionResetError("dropped on purpose")


@dataclass
class FakeServer:
    """The server and all that it holds.

    ``cuboid_xyz`` says how large cuboids are, in the place of the dataset.
    ``faults`` are tried on the next requests, one each, before these are carried out;
    ``answer_lost`` breaks the connection after the next request was carried out.
    """

    cuboid_xyz: tuple[int, int, int] | None = None
    things: dict[str, dict[Path, dict[str, Any]]] = field(
        default_factory=lambda: {kind: {} for kind in _KINDS}
    )
    voxels: dict[tuple[str, str, int], NDArray[Any]] = field(default_factory=dict)
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    answer_lost: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._map = Map([Rule(rule, endpoint=endpoint) for rule, endpoint in _RULES.items()])

    def add_volume(
        self,
        shape_tzyx: tuple[int, int, int, int],
        dtype: str = "uint8",
        *,
        offset_xyz: tuple[int, int, int] = (0, 0, 0),
        token: str = "tok",
        channel: str = "ch",
        channel_type: str = "image",
        levels: int = 1,
    ) -> NDArray[Any]:
        """Make dataset ``ds``, project ``pr``, a channel and a token; give its level 0 array."""
        t, *size_zyx = shape_tzyx
        dataset: dict[str, Any] = {
            "dataset_name": "ds",
            "scalinglevels": levels,
            "scalingoption": 0,
        }
        for axis, size, offset, voxelres in zip(
            "xyz", size_zyx[::-1], offset_xyz, (4.0, 4.0, 40.0), strict=True
        ):
            dataset |= {
                f"{axis}imagesize": size, f"{axis}offset": offset, f"{axis}voxelres": voxelres,
            }  # fmt: skip
        self.things["datasets"]["ds",] = dataset
        self.things["projects"]["ds", "pr"] = {"project_name": "pr", "dataset": "ds"}
        self.things["tokens"]["ds", "pr", token] = {"token_name": token, "project": "pr"}
        self.things["channels"]["ds", "pr", channel] = {
            "channel_name": channel, "channel_type": channel_type, "channel_datatype": dtype,
            "starttime": 0, "endtime": t,
        }  # fmt: skip
        return self.array(token, channel)

    def array(self, token: str, channel: str, resolution: int = 0) -> NDArray[Any]:
        """Return the stored voxels of a level: (t, z, y, x)."""
        view = self._view(token)
        one, level = view.channel(channel), view.dataset.pyramid.level(resolution)
        shape = (len(range(*one.times)), *level.box.shape_zyx)
        return self.voxels.setdefault((token, channel, resolution), np.zeros(shape, one.dtype))

    def transport(self) -> "WsgiTransport":
        return WsgiTransport(self)

    def client(self, key: str | None = KEY, **retry: Any) -> nd.Client:
        """Connect to this server; waits of retries pass at once."""
        policy = nd.RetryPolicy(**{"sleep": lambda _: None, "dice": lambda: 0.0} | retry)
        return nd.connect(URL, key, transport=self.transport(), retry=policy)

    def count(self, method: str, ending: str) -> int:
        """Return how many requests of a method arrived at paths of an ending."""
        return sum(c.method == method and c.path.endswith(ending) for c in self.calls)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        request = Request(environ)
        body = request.get_data()
        with self._lock:
            authorization = request.headers.get("Authorization")
            query = dict(request.args)
            self.calls.append(Call(request.method, request.path, query, authorization, len(body)))
            fault = self.faults.pop(0) if self.faults else None
            response = fault(request) if fault else None
            if response is None:
                response = self._answer(request)
            if self.answer_lost:
                self.answer_lost -= 1
                raise ConnectionResetError("answer lost on purpose")
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            endpoint, arguments = self._map.bind("fake.test").match(request.path, request.method)
            known = {None, f"Token {KEY}"}
            if request.path != "/healthz" and request.headers.get("Authorization") not in known:
                raise errors.AuthenticationError("The key is unknown or revoked.")
            name, _, kind = endpoint.partition(":")
            handler = getattr(self, f"_{request.method.lower()}_{name}")
            return handler(request, kind, **arguments) if kind else handler(request, **arguments)
        except errors.NDLambdaError as error:
            return problem_response(error, "request-1")
        except HTTPException as error:
            return problem_response(errors.RouteNotFoundError(str(error)), "request-1")

    def _get_health(self, _: Request) -> Response:
        return _json({"status": "ok", "version": "9.9"})

    def _get_server(self, request: Request) -> Response:
        known = "Authorization" in request.headers
        limits = {"cutout_voxels": 1 << 28, "body_bytes": None}
        user = "admin" if known else "anonymous"
        return _json({"version": "9.9", "limits": limits, "user": user, "superuser": known})

    def _get_users(self, request: Request) -> Response:
        return _page("users", request, list(self.people.values()))

    def _post_users(self, request: Request) -> Response:
        name = request.json["name"]
        if name in self.people:
            raise errors.AlreadyExistsError(f"User {name} exists.")
        person = {"name": name, "id": len(self.people), "superuser": request.json["superuser"]}
        self.people[name] = person | {"revocations": 0}
        return _json(person | {"key": f"key-of-{name}"}, 201)

    def _person(self, name: str) -> dict[str, Any]:
        if name not in self.people:
            raise errors.UserNotFoundError(f"No user {name}.")
        return self.people[name]

    def _post_keys(self, _: Request, name: str) -> Response:
        self._person(name)
        return _json({"name": name, "key": f"next-key-of-{name}"}, 201)

    def _put_password(self, request: Request, name: str) -> Response:
        self._person(name)["password"] = request.json["password"]
        return Response(status=204)

    def _delete_user(self, _: Request, name: str) -> Response:
        self._person(name)["revocations"] += 1
        return Response(status=204)

    def _get_tokens(self, request: Request) -> Response:
        return _page(
            "tokens",
            request,
            [
                dict(zip(("dataset", "project", "token_name"), path, strict=True))
                | {"public": thing.get("public")}
                for path, thing in self.things["tokens"].items()
            ],
        )

    def _get_things(self, request: Request, kind: str, **parents: str) -> Response:
        parent = tuple(parents.values())
        self._require_parent(kind, parent)
        found = [t for path, t in self.things[kind].items() if path[:-1] == parent]
        return _page(kind, request, found)

    def _get_thing(self, _: Request, kind: str, **names: str) -> Response:
        return _json(self._find(kind, tuple(names.values())))

    def _post_thing(self, request: Request, kind: str, **names: str) -> Response:
        path = tuple(names.values())
        self._require_parent(kind, path[:-1])
        thing = {f"{kind[:-1]}_name": path[-1], **request.json}
        if kind == "datasets":
            models.dataset_from_fields(request.json, name=path[-1])
        if kind == "projects":
            thing["dataset"] = path[0]
        if self.things[kind].setdefault(path, thing) != thing:
            raise errors.AlreadyExistsError(f"{path[-1]} exists and is different.")
        return _json(thing, 201)

    def _delete_thing(self, _: Request, kind: str, **names: str) -> Response:
        path = tuple(names.values())
        self._find(kind, path)
        for things in self.things.values():
            for below in [p for p in things if p[: len(path)] == path]:
                if things is self.things[kind] or len(below) > len(path):
                    del things[below]
        return Response(status=204)

    def _find(self, kind: str, path: Path) -> dict[str, Any]:
        self._require_parent(kind, path[:-1])
        if path not in self.things[kind]:
            missing = getattr(errors, f"{kind[:-1].title()}NotFoundError")
            raise missing(f"There is no {kind[:-1]} {path[-1]}.")
        return self.things[kind][path]

    def _require_parent(self, kind: str, parent: Path) -> None:
        if kind in _CHILDREN:
            self._find(_CHILDREN[kind], parent)

    def _view(self, token: str) -> ProjectView:
        path = next((p for p in self.things["tokens"] if p[2] == token), None)
        if path is None:
            raise errors.TokenNotFoundError(f"There is no token {token}.")
        (ds, pr, _), things = path, self.things
        return ProjectView(
            models.token_from_fields(things["tokens"][path], name=token, project=pr),
            models.project_from_fields(things["projects"][ds, pr], name=pr, dataset=ds),
            models.dataset_from_fields(things["datasets"][ds,], name=ds),
            tuple(
                models.channel_from_fields(thing, name=p[2], project=pr)
                for p, thing in things["channels"].items()
                if p[:2] == (ds, pr)
            ),
        )

    def _get_info(self, _: Request, token: str) -> Response:
        document = info_document(self._view(token))
        if self.cuboid_xyz:
            document["dataset"]["cube_dimension"] = dict.fromkeys(
                document["dataset"]["imagesize"], self.cuboid_xyz
            )
        return _json(document)

    def _part(self, request: Request, token: str, channel: str) -> NDArray[Any]:
        resolution = int(request.args["resolution"])
        whole = self.array(token, channel, resolution)
        view = self._view(token)
        offset_zyx = view.dataset.pyramid.level(resolution).offset_xyz[::-1]
        origins = (view.channel(channel).times[0], *offset_zyx)
        slices = []
        for axis, origin, size in zip("tzyx", origins, whole.shape, strict=True):
            start, stop = (int(n) - origin for n in request.args[axis].split(":"))
            if not 0 <= start < stop <= size:
                raise errors.OutOfBoundsError(f"The {axis} range leaves the volume.")
            slices.append(slice(start, stop))
        return whole[tuple(slices)]

    def _get_cutout(self, request: Request, token: str, channel: str) -> Response:
        part = np.ascontiguousarray(self._part(request, token, channel))
        headers = {
            "X-NDLambda-Shape": ",".join(map(str, part.shape)),
            "X-NDLambda-Dtype": part.dtype.name,
        }
        frame = blosc.compress(part.tobytes(), typesize=part.itemsize)
        return Response(frame, headers=headers, content_type="application/x-blosc")

    def _post_cutout(self, request: Request, token: str, channel: str) -> Response:
        body = request.get_data()
        part = self._part(request, token, channel)
        data = blosc.decompress(body)
        if len(data) != part.nbytes:
            raise errors.ShapeMismatchError("The body has another shape.")
        sent = np.frombuffer(data, part.dtype).reshape(part.shape)
        np.copyto(part, sent, where=sent != 0)
        return _json({"voxels": part.size})

    def _get_digest(self, request: Request, token: str, channel: str) -> Response:
        part = np.ascontiguousarray(self._part(request, token, channel))
        digest = hashlib.blake2b(part.tobytes(), digest_size=20).hexdigest()
        return _json({"blake2b": digest, "nonzero": bool(part.any())})


def _page(name: str, request: Request, entries: Sequence[Any]) -> Response:
    """Return a page of a list; its position is a number."""
    start = int(request.args.get("after", 0))
    stop = start + int(request.args.get("limit", 1000))
    following = str(stop) if stop < len(entries) else None
    return _json({name: entries[start:stop], "next": following})


def _json(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status=status, content_type="application/json")


@dataclass(frozen=True)
class WsgiTransport:
    """Carries the client's requests to a WSGI application in this process."""

    app: FakeServer

    def send(self, request: nd.Request) -> nd.Answer:
        parts = urlsplit(request.url)
        response = WsgiClient(self.app).open(
            path=parts.path,
            query_string=parts.query,
            base_url=f"{parts.scheme}://{parts.netloc}",
            method=request.method,
            headers=dict(request.headers),
            data=request.body,
        )
        headers = {name.lower(): value for name, value in response.headers.items()}
        return nd.Answer(response.status_code, headers, response.get_data())
