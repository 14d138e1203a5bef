"""Annotation channels through the service, ndstore's routes, ours, the client and the command."""

from collections.abc import Iterator

import pytest

from tests.contract.annotations.channels import (
    READS,
    WRITES,
    ChannelContract,
    TreeContract,
    circuit_channel,
)
from tests.contract.annotations.command import CommandObjects
from tests.contract.annotations.contract import words_of
from tests.contract.annotations.ndstore import SdObjects
from tests.contract.annotations.objects import (
    MergeContract,
    ObjectContract,
    QueryContract,
    library_channel,
)
from tests.contract.annotations.python_client import ClientObjects
from tests.contract.annotations.service import ServiceObjects
from tests.contract.annotations.v1 import V1Objects
from tests.contract.annotations.voxels import PaintContract, ReadContract
from tests.support.annotation_server import annotating
from tests.support.app import Server

__all__ = ["circuit_channel", "library_channel"]  # fixtures


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with annotating(tmp_path_factory.mktemp("annotations")) as server:
        yield server


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with annotating(tmp_path_factory.mktemp("small"), max_cutout_voxels=10_000) as server:
        yield server


class _Contract(
    ObjectContract,
    QueryContract,
    MergeContract,
    PaintContract,
    ReadContract,
    ChannelContract,
    TreeContract,
):
    """All of it."""


def test_what_a_dialect_cannot_say_is_asked_of_others() -> None:
    """A word that no test needs would hide nothing today, and a test tomorrow."""
    needed = {word for name in dir(_Contract) for word in words_of(getattr(_Contract, name))}
    drivers = (ServiceObjects, SdObjects, V1Objects, ClientObjects, CommandObjects)
    for driver in drivers:
        assert set(driver.cannot) <= needed | {*WRITES, *READS}, driver
    for word in needed:
        assert sum(word not in driver.cannot for driver in drivers) > 2, word


class TestService(_Contract):
    driver = ServiceObjects


class TestNdstore(_Contract):
    driver = SdObjects


class TestV1(_Contract):
    driver = V1Objects


class TestClient(_Contract):
    driver = ClientObjects


class TestCommand(_Contract):
    driver = CommandObjects
