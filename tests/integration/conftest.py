"""What several modules of these tests stand on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ndlambda.local.moto import MotoServer
from ndlambda.stores.aws import AwsConfig
from tests.support import annotation_world
from tests.support.annotation_world import AnnotationWorld

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
