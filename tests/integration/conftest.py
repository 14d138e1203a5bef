"""What several modules of these tests stand on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ndlambda.local.moto import MotoServer
from ndlambda.stores.aws import AwsConfig
from tests.support import annotation_world
from tests.support.annotation_world import AnnotationWorld
from tests.support.app import Server, serving

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


@pytest.fixture(scope="session")
def aws_server(
    moto_server: MotoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server on moto with Lambda's limits, whose erasures end with their first pass.

    Modules share it, since it takes seconds of CPU to make; each adds a volume of its own.
    """
    folder = tmp_path_factory.mktemp("aws")
    with serving(
        folder, moto_server.endpoint, lambda_limits=True, body_bytes=6 << 20, erase_grace_s=0
    ) as server:
        yield server


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
