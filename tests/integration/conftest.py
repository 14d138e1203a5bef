"""What several modules of these tests stand on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from ndlambda.local.moto import MotoServer
from ndlambda.stores.aws import AwsConfig
from tests.support import annotation_world
from tests.support.annotation_server import SD, new_channel
from tests.support.annotation_world import AnnotationWorld
from tests.support.app import Server, serving
from tests.support.auto_ingest import Web, serving_folder
from tests.support.ingest_world import IngestWorld, disk_ingest_world
from tests.support.propagation_world import SLICES, PropagationWorld

Pools = tuple[ThreadPoolExecutor, ThreadPoolExecutor]


@pytest.fixture(scope="session")
def pools() -> Iterator[Pools]:
    """Threads for supercuboids, and for rows."""
    with ThreadPoolExecutor(4) as first, ThreadPoolExecutor(4) as second:
        yield first, second


@pytest.fixture(scope="session", params=["disk", "moto"])
def endpoint(request: pytest.FixtureRequest) -> str | None:
    """Where the AWS of a server is; None: it is on files. Whatever uses it runs on both."""
    if request.param == "disk":
        return None
    moto: MotoServer = request.getfixturevalue("moto_server")
    return moto.endpoint


@pytest.fixture(scope="module")
def aws_server(
    moto_server: MotoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server on moto with Lambda's limits, whose erasures end with their first pass.

    The tests of a module share it. Modules do not, since ``moto_in_process`` empties moto.
    """
    folder = tmp_path_factory.mktemp("aws")
    with serving(
        folder, moto_server.endpoint, lambda_limits=True, max_body_bytes=6 << 20, erase_grace_s=0
    ) as server:
        yield server


@pytest.fixture(scope="session")
def fib25_truth(shared_data: Path) -> Path:
    """The file of FIB-25's bodies."""
    path = shared_data / "fib25" / "groundtruth_labels.npz"
    if not path.is_file():
        pytest.skip(f"The real data are optional and not here: {path} does not exist.")
    return path


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., IngestWorld]]:
    """Makes worlds of ingest on disk; those with a channel (a dictionary) hold that one."""
    with ExitStack() as stack:

        def make(channel: dict[str, Any] | None = None, **options: Any) -> IngestWorld:
            made = disk_ingest_world(Path(mkdtemp(dir=tmp_path)), **options)
            stack.callback(made.close)
            if channel is not None:
                made.populate(**channel)
            return made

        yield make


@pytest.fixture
def world(make_world: Callable[..., IngestWorld], request: pytest.FixtureRequest) -> IngestWorld:
    """A world of ingest with a channel, of as many slices as the module says (``DEPTH``)."""
    return make_world({}, depth=request.module.DEPTH)


@pytest.fixture
def pyramid(tmp_path: Path) -> Iterator[PropagationWorld]:
    """A world of propagation that holds no channel."""
    with closing(PropagationWorld(tmp_path, SLICES)) as made:
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Server]:
    """A server of a test's own, on files."""
    with serving(tmp_path) as made:
        yield made


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A web server that has slices."""
    with serving_folder(tmp_path / "web") as made:
        yield made


@pytest.fixture
def fetching(tmp_path: Path, web: Web) -> Iterator[Server]:
    """A server that may fetch from ``web``."""
    with serving(tmp_path / "data", ingest_allowed_hosts=web.host) as made:
        yield made


@pytest.fixture
def annotations_on_disk(tmp_path: Path, pools: Pools) -> AnnotationWorld:
    made = annotation_world.disk_world(tmp_path, pools)
    made.populate()
    return made


@pytest.fixture
def annotations_on_moto(moto_config: AwsConfig, pools: Pools) -> AnnotationWorld:
    made = annotation_world.moto_world(moto_config, pools)
    made.populate()
    return made


@pytest.fixture
def labels(server: Server) -> str:
    """The path of a new channel of a server of ``annotating``."""
    return f"{SD}/{new_channel(server).name}"
