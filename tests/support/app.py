"""A whole server in the test's process: stores, three users, one volume, and a client to ask it.

The dataset ``brain`` and its project ``pr`` are alice's and private. ``pr`` is opened by the public
token ``open`` and the private one ``closed``; its channels are those of ``CHANNELS``.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from werkzeug.test import Client, TestResponse

from ndlambda import runtime
from ndlambda.cli import main
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.runtime import Runtime
from ndlambda.settings import Settings
from ndlambda.testing.counting import CountingStores
from ndlambda.web.app import App
from tests.support.fake_server import URL, WsgiTransport

BRAIN = Dataset(
    "brain",
    imagesize_xyz=(300, 200, 40),
    offset_xyz=(8, 4, 1),
    voxelres_xyz=(4.0, 4.0, 3.0),
    scalinglevels=3,
)
PROJECT = Project("pr", "brain")
CHANNELS = (
    Channel("pr", "em", ChannelType.IMAGE, DataType.UINT8, default=True),
    Channel("pr", "em2", ChannelType.IMAGE, DataType.UINT8),
    Channel("pr", "labels", ChannelType.ANNOTATION, DataType.UINT32),
    Channel("pr", "movie", ChannelType.TIMESERIES, DataType.UINT16, starttime=2, endtime=6),
    Channel("pr", "frozen", ChannelType.IMAGE, DataType.UINT8, readonly=True),
)

BOX = "0/10,74/20,52/5,9/"
"""A box of ``brain`` as ndstore's routes have it: resolution, x, y, z."""
QUERY = "x=10:74&y=20:52&z=5:9"
"""The same box as the v1 routes have it."""
SHAPE = (4, 32, 64)
"""Its shape (z, y, x)."""

V1 = "/v1/projects"


def v1_cutout(token: str, channel: str, query: str = QUERY) -> str:
    """Return the path of a v1 cutout."""
    return f"{V1}/{token}/channels/{channel}/cutout?{query}"


@dataclass
class Server:
    """A runtime with users, and the application on it."""

    settings: Settings
    stores: CountingStores = field(default_factory=CountingStores)
    runtime: Runtime = field(init=False)
    app: App = field(init=False)
    keys: dict[str, str] = field(init=False)
    owner: int = field(init=False)

    def __post_init__(self) -> None:
        ports = runtime.open_ports(self.settings)
        self.runtime = runtime.build(self.settings, self.stores.wrap_ports(ports))
        self.app = App(self.runtime)
        self.keys = {}
        for name in ("admin", "alice", "bob"):
            user, self.keys[name] = self.runtime.users.create_user(name, superuser=name == "admin")
            if name == "alice":
                self.owner = user.id

    def call(
        self,
        method: str,
        path: str,
        user: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> TestResponse:
        """Ask as one of the users, or as nobody; ``data`` or ``json`` is the body."""
        sent = dict(headers or {})
        if user is not None:
            sent["Authorization"] = f"Token {self.keys[user]}"
        client = Client(self.app, use_cookies=False)
        return client.open(path, method=method, headers=sent, **body)

    def get(self, path: str, user: str | None = None, **more: Any) -> TestResponse:
        """GET, see ``call``."""
        return self.call("GET", path, user, **more)

    def post(self, path: str, user: str | None = None, **more: Any) -> TestResponse:
        """POST, see ``call``."""
        return self.call("POST", path, user, **more)

    def read(self, path: str, user: str | None = "alice") -> bytes:
        """GET what must be there."""
        answer = self.get(path, user)
        assert answer.status_code == 200, answer.text
        body: bytes = answer.data
        return body

    def write(self, path: str, body: bytes, user: str | None = "alice", **more: Any) -> None:
        """POST what must be taken."""
        answer = self.post(path, user, data=body, **more)
        assert answer.status_code == 200, answer.text

    def add_volume(self, dataset: Dataset, *channels: Channel, public: bool = True) -> None:
        """Make a dataset of alice's and a project and token of the same name on it."""
        catalog, name = self.runtime.catalog, dataset.name
        catalog.create_dataset(replace(dataset, user_id=self.owner))
        catalog.create_project(Project(name, name, user_id=self.owner))
        catalog.create_token(Token(name, name, user_id=self.owner, public=public))
        for channel in channels:
            catalog.create_channel(replace(channel, project=name))

    def unchanged(self) -> AbstractContextManager[None]:
        """Assert that nothing is written inside the block."""
        return self.stores.no_writes()


@contextmanager
def serving(folder: Path, endpoint: str | None = None, **settings: Any) -> Iterator[Server]:
    """Return a server with the volume, on files, or on the AWS look-alike at an endpoint."""
    chosen = Settings(data=folder, fsync=False, threads=4, **settings)
    if endpoint is not None:
        name = f"http-{folder.name}".replace("_", "-").lower()
        chosen = replace(
            chosen,
            store="aws",
            aws_endpoint=endpoint,
            secret="of the tests",
            bucket=name,
            table=name,
            erase_queue=name,
            propagate_queue=f"{name}-p",
            drop_queue=f"{name}-d",
            ingest_queue=f"{name}-i",
        )
        runtime.create_aws_stores(chosen)
    server = Server(chosen)
    try:
        _populate(server)
        yield server
    finally:
        server.runtime.close()


def server_fixture(
    opened: Callable[..., Any] = serving, scope: Any = "module", **settings: Any
) -> Any:
    """Return a fixture: a server that the tests of a module (or in another scope) share."""

    @pytest.fixture(scope=scope)
    def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        with opened(tmp_path_factory.mktemp("server"), **settings) as made:
            yield made

    return server


def run_command(server: Server, *words: object, typed: str = "") -> Result:
    """Run the command for alice in this process, on the application of a server."""
    return CliRunner().invoke(
        main,
        [str(word) for word in words],
        obj=WsgiTransport(server.app),
        input=typed,
        env={"NDLAMBDA_URL": URL, "NDLAMBDA_KEY": server.keys["alice"], "NDLAMBDA_DATA": ""},
    )


def _populate(server: Server) -> None:
    catalog, owner = server.runtime.catalog, server.owner
    catalog.create_dataset(replace(BRAIN, user_id=owner))
    catalog.create_project(replace(PROJECT, user_id=owner))
    catalog.create_token(Token("open", "pr", user_id=owner, public=True))
    catalog.create_token(Token("closed", "pr", user_id=owner))
    for channel in CHANNELS:
        catalog.create_channel(channel)


def assert_problem(answer: TestResponse, status: int, error: str) -> dict[str, Any]:
    """Make sure of a problem document (RFC 9457) that names an error class, and return it."""
    document: dict[str, Any] = answer.get_json(force=True)
    assert (answer.status_code, document.get("type")) == (status, f"urn:ndlambda:error:{error}"), (
        document
    )
    assert answer.content_type == "application/problem+json"
    assert document["status"] == status
    assert document["instance"] == answer.headers["X-Request-Id"]
    assert document["title"]
    assert document["detail"]
    return document
