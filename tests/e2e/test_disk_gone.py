"""The disk of a real server goes away under load, in several ways, and comes back.

No zero is served for a voxel that is stored, and nothing is lost that was acknowledged.
"""

import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from ndlambda.client import Client, RetryPolicy, connect
from ndlambda.errors import NDLambdaError, StoreUnavailableError
from ndlambda.voxels.downsample import Method, downsample
from tests.support.dropped_stack import DroppedStack, LaptopFolder, manifest_of, until
from tests.support.server import Server, serving

pytestmark = pytest.mark.e2e

VOXELS = np.random.default_rng(8).integers(1, 255, (40, 70, 80), np.uint8)
STACK = DroppedStack("dropped", VOXELS[:5], manifest=manifest_of(VOXELS[:5], 0, levels=1))
LONG = os.environ.get("NDLAMBDA_LONG_TESTS") == "1"
"""Whether to wait until work that failed meanwhile is tried again, which takes minutes."""
MOST = VOXELS.size // 8**3 // 2
"""Boxes that are painted at most."""


@dataclass
class Load:
    """A thread that does one thing again and again, and counts how it went."""

    act: Callable[[int], object]
    done: list[int] = field(default_factory=list)
    failed: int = 0
    wrong: list[BaseException] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            try:
                self.act(number)
                self.done.append(number)
            except NDLambdaError:
                self.failed += 1
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                self.wrong.append(error)
                return


def box_of(number: int) -> tuple[slice, slice, slice]:
    """Return the number-th box of 8x8x8 voxels, round and round."""
    at = np.unravel_index(number % MOST, [size // 8 for size in VOXELS.shape])
    return tuple(slice(8 * int(n), 8 * int(n) + 8) for n in at)


def make(client: Client, name: str, datatype: str, kind: str = "image") -> Any:
    depth, height, width = VOXELS.shape
    sizes = {"ximagesize": width, "yimagesize": height, "zimagesize": depth}
    client.datasets.create(name, **sizes, scalinglevels=1, public=0)
    client.projects(name).create(name, public=0)
    client.channels(name, name).create("em", channel_type=kind, channel_datatype=datatype)
    client.tokens(name, name).create(name, public=0)
    return client.volume(name, "em")


def renamed(part: str) -> Callable[[Server], Callable[[], object]]:
    def lose(server: Server) -> Callable[[], object]:
        path = server.data / part
        away = path.with_name("away")
        path.rename(away)
        return lambda: away.rename(path)

    return lose


def replaced(server: Server) -> Callable[[], object]:
    """An empty folder in its place."""
    back = renamed("objects")(server)
    (server.data / "objects").mkdir()

    def bring_back() -> None:
        shutil.rmtree(server.data / "objects")
        back()

    return bring_back


def in_namespace(server: Server, *command: object) -> None:
    enter = ["nsenter", "-t", str(server.process.pid), "-U", "-m", "--preserve-credentials"]
    subprocess.run([*enter, *map(str, command)], check=True, timeout=60)


def unmounted(server: Server) -> Callable[[], object]:
    objects = server.data / "objects"
    in_namespace(server, "umount", "-l", objects)
    return lambda: in_namespace(server, "mount", "--bind", server.data.parent / "disk", objects)


def can_mount() -> bool:
    try:
        command = ["unshare", "-rm", "mount", "--bind", "/tmp", "/tmp"]
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


@contextmanager
def mounted(data: Path) -> Iterator[Server]:
    """A server with a disk of its own for ``objects``, mounted where nobody else sees it."""
    (data / "objects").mkdir(parents=True, exist_ok=True)
    disk = data.parent / "disk"
    disk.mkdir(exist_ok=True)
    mount = f'mount --bind "{disk}" "{data / "objects"}" && exec "$@"'
    with serving(data, within=["unshare", "-rm", "sh", "-c", mount, "sh"]) as server:
        yield server


WAYS: dict[str, Any] = {
    "objects-renamed": (serving, renamed("objects")),
    "all-renamed": (serving, renamed(".")),
    "objects-replaced": (serving, replaced),
    "rows-renamed": (serving, renamed("table.sqlite")),
    "objects-unmounted": (mounted, unmounted),
}


@dataclass
class People:
    """Threads that read, paint and create on a server until they are stopped."""

    client: Client
    created: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.em = make(self.client, "em", "uint8")
        self.labels = make(self.client, "labels", "uint32", "annotation")
        self.em[:] = VOXELS
        self.loads = [Load(self.read), Load(self.paint), Load(self.create)]
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=load.run, args=(self._stop,)) for load in self.loads
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def read(self, number: int) -> None:
        box = box_of(number)
        np.testing.assert_array_equal(self.em[box], VOXELS[box])

    def paint(self, number: int) -> None:
        self.labels[box_of(number)] = np.full((8, 8, 8), number % MOST + 1, np.uint32)

    def create(self, number: int) -> None:
        self.client.projects("em").create(f"p{number}", public=0)
        self.created.add(f"p{number}")

    def go_on(self, count: Callable[[Load], int], loads: Sequence[Load] = ()) -> None:
        """Wait until a count of each is larger by a few."""
        awaited = loads or self.loads
        before = [count(load) for load in awaited]
        for _ in until("work of all threads"):
            went_on = [count(load) > n + 3 for load, n in zip(awaited, before, strict=True)]
            if all(went_on) or any(load.wrong for load in awaited):
                return

    def check(self, client: Client) -> None:
        """Make sure that nothing wrong was read, and all that was acknowledged is there."""
        assert not [load.wrong for load in self.loads if load.wrong]
        for number in set(self.loads[1].done):
            assert (self.labels[box_of(number)] == number % MOST + 1).all()
        assert self.created <= {each["project_name"] for each in client.projects("em").list()}
        np.testing.assert_array_equal(self.em[:], VOXELS)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_invented_or_lost_while_the_disk_is_away(tmp_path: Path, way: str) -> None:
    """While people read, paint and create, and a stack is ingested and another propagated."""
    opened, lose = WAYS[way]
    if opened is mounted and not can_mount():
        pytest.skip("No mounts in a namespace of one's own here.")
    data = tmp_path / "parent" / "nd"
    with opened(data) as server:
        people = People(connect(server.url, server.key, retry=RetryPolicy(attempts=1)))
        client = server.client()
        with people:
            people.go_on(lambda load: len(load.done))
            STACK.drop(LaptopFolder(server.data), seed=1)
            client.propagation("em", "em").start()
            bring_back = lose(server)
            losers = people.loads[2:] if way == "rows-renamed" else people.loads[:2]
            people.go_on(lambda load: load.failed, losers)
            with pytest.raises(StoreUnavailableError):
                people.client.healthz()
            bring_back()
            people.go_on(lambda load: len(load.done))
        assert client.healthz()["status"] == "ok"
        people.check(client)
        if LONG:
            check_built(client)
    with opened(data) as server:  # which takes up at once what was in hand
        check_built(server.client())


def check_built(client: Client) -> None:
    """Make sure that the stack is ingested, and that the other one is propagated."""
    STACK.check_served(client)
    list(client.propagation("em", "em").follow(0.1))
    coarse = downsample(VOXELS, (2, 2, 1), Method.MEAN)
    np.testing.assert_array_equal(client.volume("em", "em").at(1)[:], coarse)
