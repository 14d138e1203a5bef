"""A server on modelled stores, and the scenarios of ``benchmarks.scale`` that grow it.

What a scenario has many of is put into the stores directly, uncounted; the steps that are measured
go through routes and workers, as clients and queues call them.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from werkzeug.test import Client, TestResponse

from benchmarks.scale_model import Clock, ModelledStores, ModelledThreads, Step, measured
from functions import erase, ingest_build
from ingest_queue.jobs.chunk_state import ChunkState, Part
from ingest_queue.jobs.job import Mode
from ingest_queue.jobs.job_spec import JobSpec
from ingest_queue.jobs.ledger import Ledger
from ndlambda import runtime
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.ramon import Synapse
from ndlambda.services.labels.index import LabelLayer, entry_key, split
from ndlambda.services.ramon.rows import ObjectRows
from ndlambda.services.volume.place import SupercuboidPlace
from ndlambda.settings import Settings
from ndlambda.space.morton import plan
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.ports import Overwrite, Ports, Queue, Row, Table
from ndlambda.web.app import App

CHUNK = 256
"""Edge of a chunk in voxels."""
BOX = "x=0:64&y=0:64&z=0:16"
Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass
class World:
    """A runtime on modelled stores, one user, and the steps measured so far."""

    ports: Ports
    scenario: str
    size: int
    clock: Clock = field(default_factory=Clock)
    steps: list[Step] = field(default_factory=list)
    key: str = ""
    owner: int = 0

    def __post_init__(self) -> None:
        self.stores = ModelledStores(self.clock)
        self.restart()
        user, self.key = self.runtime.users.create_user("alice")
        self.owner = user.id

    def restart(self) -> None:
        """Build the runtime again, as a new process does: its caches are empty."""
        settings = Settings(
            secret="of the benchmark",
            cache_s=3600,
            erase_grace_s=0,
            deadline_s=1e6,
            max_ingest_user_jobs=100,
        )
        with patch.object(runtime, "Threads", lambda n, **_: ModelledThreads(self.clock, n)):
            self.runtime = runtime.build(settings, self.stores.wrap_ports(self.ports))
        runtime.install(self.runtime)
        self.client = Client(App(self.runtime), use_cookies=False)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        step = Step(self.scenario, name, self.size)
        with measured(step, self.stores, self.clock):
            yield
        self.steps.append(step)

    def call(self, method: str, path: str, **body: Any) -> TestResponse:
        headers = {"Authorization": f"Token {self.key}", "Accept": "application/json"}
        answer = self.client.open(path, method=method, headers=headers, **body)
        assert answer.status_code < 300, (path, answer.status_code, answer.text[:300])
        return answer

    def get(self, path: str) -> Any:
        return self.call("GET", path).get_json()

    def pump(self, queue: Queue, handler: Handler) -> None:
        """Let a worker handle the messages that are due, one at a time."""
        while messages := queue.receive(1):
            for message in messages:
                record = {"messageId": message.id, "body": message.body}
                assert not handler({"Records": [record]})["batchItemFailures"], message.body
            queue.ack([message.receipt for message in messages])

    def erase(self) -> None:
        self.pump(self.runtime.resources.queues.erase, erase.handler)

    def build(self) -> None:
        self.pump(self.runtime.resources.queues.ingest, ingest_build.handler)

    def volume(
        self, shape_xyz: tuple[int, int, int], kind: ChannelType = ChannelType.IMAGE
    ) -> Channel:
        """Make the dataset, project, token and channel ``one``."""
        catalog = self.runtime.catalog
        catalog.create_dataset(
            Dataset("one", shape_xyz, scaling=Scaling.ISOTROPIC, user_id=self.owner)
        )
        catalog.create_project(Project("one", "one", user_id=self.owner))
        catalog.create_token(Token("one", "one", user_id=self.owner))
        return catalog.create_channel(_channel("one", "one", kind))


def _channel(project: str, name: str, kind: ChannelType = ChannelType.IMAGE) -> Channel:
    is_image = kind is ChannelType.IMAGE
    return Channel(project, name, kind, DataType.UINT8 if is_image else DataType.UINT32)


def _npy(voxels: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, voxels)
    return out.getvalue()


def _edges(count: int) -> tuple[int, int, int]:
    """Return the edges of the box nearest to a cube that has about so many cells."""
    edge = round(count ** (1 / 3))
    return edge, edge, max(1, round(count / edge**2))


def _codes(edges_xyz: tuple[int, int, int]) -> list[int]:
    return sorted(plan((0, 0, 0), edges_xyz).ravel().tolist())


# --- scenarios -----------------------------------------------------------------------------


def job_of_chunks(world: World) -> None:
    """A job of boxes; all but a few are put into the ledger as if they had been built."""
    across, down, deep = _edges(world.size)
    world.volume((across * CHUNK, down * CHUNK, deep * CHUNK))
    config = {"token": "one", "channel": "one", "mode": "chunks"}
    with world.step("open the job"):
        job_id = world.call("POST", "/v1/ingest", json=config).get_json()["id"]
    path, last = f"/v1/ingest/{job_id}", across * down * deep - 2
    body = _sparse_chunk()

    def send(number: int) -> None:
        world.call("PUT", f"{path}/parts/{number}/data.npy", data=body)

    with world.step("send a chunk"):
        send(0)
    with world.step("build a chunk"):
        world.build()
    _enter_as_built(world, job_id, range(1, last))
    sweeper, ledger = world.runtime.ingest.jobs.sweeper, Ledger(world.ports.table)
    with world.step("look after the job"):
        sweeper.sweep(ledger.get(job_id))
    with world.step("look after it again"):
        sweeper.sweep(ledger.get(job_id))
    with world.step("progress"):
        assert world.get(path)["chunks"]["done"] == last
    with world.step("page of what is missing"):
        assert len(world.get(f"{path}/missing?limit=100")["missing"]) == 2
    send(last)
    with world.step("build one of the last chunks"):
        world.build()
    send(last + 1)
    with world.step("build the last chunk: the job ends"):
        world.build()
    assert world.get(path)["state"].startswith("COMPLETE")


def _sparse_chunk() -> bytes:
    """Return the body of a chunk with voxels in one of its 512 cuboids."""
    voxels = np.zeros((CHUNK,) * 3, "u1")
    voxels[:16, :64, :64] = 1
    return _npy(voxels)


def _enter_as_built(world: World, job_id: str, numbers: range) -> None:
    """Leave the rows of chunks that were sent and built."""
    table = Gathering(world.ports.table)
    ledger = Ledger(cast("Table", table))
    job = ledger.get(job_id)
    grid = world.runtime.ingest.jobs.target(job).grid(job)
    built = ChunkState(received=frozenset({0}), built=True, digest="0" * 40, stored_bytes=1 << 24)
    tree = ledger.built(job, grid.count)
    for number in numbers:
        part = Part(0, f"{job.folder}{number:012x}/data.npy", "etag")
        state = ledger.record_part(job, grid.chunk(number), part)
        ledger.put_state(job, number, replace(built, version=state.version))
        tree.enter(number)
    table.flush()


class Gathering:
    """A table that keeps added members to itself until all are added: a set grows in one step."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._sets: dict[tuple[str, str], set[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def add_members(self, pk: str, sk: str, members: AbstractSet[int]) -> int:
        if (pk, sk) not in self._sets:
            row = self._table.get(pk, sk)
            self._sets[pk, sk] = set(row.members) if row else set()
        self._sets[pk, sk] |= members
        return 0

    def get(self, pk: str, sk: str) -> Row | None:
        members = self._sets.get((pk, sk))
        return self._table.get(pk, sk) if members is None else Row(pk, sk, members=members)

    def flush(self) -> None:
        for key, members in self._sets.items():
            self._table.add_members(*key, members)


def channel_deleted(world: World) -> None:
    """A channel whose supercuboids are deleted with it."""
    across, down, deep = _edges(world.size)
    channel = world.volume((across * 128, down * 128, deep * 128))
    prefix = f"one/one/{channel.uid}/0/0/"
    for code in _codes((across, down, deep)):
        world.ports.objects.put(f"{prefix}{code:016x}", b"x", Overwrite())
    with world.step("delete the channel: the request"):
        assert world.runtime.catalog.delete_channel("one", "one")
    with world.step("delete the channel: the workers"):
        world.erase()
    assert not any(world.ports.objects.list(prefix))


def objects_queried(world: World) -> None:
    """Objects of which a tenth has a certain author, and a hundredth a certain pair."""
    channel = world.volume((1024, 1024, 1024), ChannelType.ANNOTATION)
    assert world.runtime.annotation.objects.reserve(channel, world.size) == 1
    rows = ObjectRows(world.ports.table)
    for first in range(1, world.size + 1, 1000):
        rows.add_many(
            channel.uid,
            [
                Synapse(
                    number,
                    author="bea" if number % 10 == 0 else "",
                    kvpairs={"seen": "yes"} if number % 100 == 0 else {},
                )
                for number in range(first, min(first + 1000, world.size + 1))
            ],
        )
    path = "/v1/projects/one/channels/one/annotations"
    middle = world.size // 2
    world.get(f"{path}?limit=1")  # what follows is measured with warm caches
    for name, query, limit, matching in (
        ("page of a type", "type=synapse", 1000, world.size),
        ("page from the middle", f"type=synapse&after={middle}", 1000, world.size - middle),
        ("page of an author", "author=bea", 100, world.size // 10),
        ("page of a type and an author", "type=synapse&author=bea", 100, world.size // 10),
        ("page of a pair that few have", "pair.seen=yes", 10, world.size // 100),
    ):
        with world.step(name):
            ids = world.get(f"{path}?{query}&limit={limit}")["ids"]
        assert len(ids) == min(limit, matching), name
    with world.step("all pages of a type"):
        after, total = 0, 0
        while after is not None:
            page = world.get(f"{path}?type=synapse&limit=1000&after={after}")
            total, after = total + len(page["ids"]), page["next"]
    assert total == world.size
    with world.step("store an object"):
        world.call("POST", path, json={"type": "segment", "author": "bea"})


def large_object(world: World) -> None:
    """One object that fills a cuboid of each supercuboid of a cube."""
    edge = round(world.size ** (1 / 3))
    shape = (edge * 128,) * 3
    channel = world.volume(shape, ChannelType.ANNOTATION)
    path = "/v1/projects/one/channels/one/annotations"
    (number,) = world.call("POST", path, json={"type": "segment"}).get_json()["ids"]
    world.call(
        "POST", f"{path}/{number}/voxels", data=_npy(np.argwhere(np.ones((64,) * 3)).astype("u4"))
    )
    level = world.runtime.catalog.get_dataset("one").pyramid.level(0)
    first = world.ports.objects.get(SupercuboidPlace(channel, level, 0, 0).key)
    assert first is not None
    scope, buckets = LabelLayer(channel.uid, 0, 0), dict[int, set[int]]()
    for code in _codes((edge, edge, edge)):
        key = SupercuboidPlace(channel, level, 0, code).key
        world.ports.objects.put(key, first.data, Overwrite())
        bucket, member = split(code << 3)
        buckets.setdefault(bucket, set()).add(member)
    for bucket, members in buckets.items():
        world.ports.table.put(Row(*entry_key(scope, number, bucket), members=members))
    with world.step("read the object"):
        world.get(f"{path}/{number}")
    with world.step("its cuboids"):
        assert len(world.get(f"{path}/{number}/cuboids?resolution=0")["mortons"]) == edge**3
    with world.step("its box"):
        box = world.get(f"{path}/{number}/box?resolution=0")
    assert box["size"] == [edge * 128 - 64] * 3, box
    with world.step("delete it: the request"):
        assert world.call("DELETE", f"{path}/{number}").status_code == 202
    with world.step("delete it: the workers"):
        world.erase()
    assert not world.runtime.annotation.labels.read.has_label(channel, number)


def channels_in_projects(world: World) -> None:
    """Channels, a hundred in each project with the one that is made."""
    _catalogue(world, max(1, world.size // 100), 99)


def channels_in_one_project(world: World) -> None:
    """Channels, all in one project."""
    _catalogue(world, 1, world.size)


def _catalogue(world: World, projects: int, channels: int) -> None:
    catalog = world.runtime.catalog
    catalog.create_dataset(Dataset("one", (256, 256, 32), user_id=world.owner))
    quick = runtime.build_catalog(
        replace(world.runtime.resources, table=world.ports.table), cache_s=0
    )
    for number in range(projects):
        name = f"p{number:06d}"
        quick.create_project(Project(name, "one", user_id=world.owner))
        quick.create_token(Token(name, name, user_id=world.owner))
        for other in range(channels):
            quick.create_channel(_channel(name, f"c{other:06d}"))
    name = f"p{projects // 2:06d}"
    cutout = f"/v1/projects/{name}/channels/c{channels // 2:06d}/cutout?{BOX}&format=npy"
    with world.step("create a channel"):
        catalog.create_channel(_channel(name, "new"))
    with world.step("write"):
        world.call("POST", cutout, data=_npy(np.ones((16, 64, 64), "u1")))
    world.restart()
    with world.step("open one and read, cold"):
        world.call("GET", cutout)
    with world.step("open it again, warm"):
        world.call("GET", cutout)
    for what, path in (
        ("projects", "/v1/datasets/one/projects"),
        ("channels", f"/v1/datasets/one/projects/{name}/channels"),
        ("tokens", "/v1/tokens"),
    ):
        with world.step(f"page of {what}"):
            assert world.get(f"{path}?limit=100")[what]
    with world.step("all public tokens (ndstore's list)"):
        world.get("/sd/public_tokens/")


def jobs_of_user(world: World) -> None:
    """Jobs of one user; all but twenty have ended."""
    world.volume((256, 256, 64))
    jobs = world.runtime.ingest.jobs
    view = world.runtime.catalog.project_view("one")
    for number in range(world.size):
        job = jobs.create(view, world.owner, JobSpec("one", mode=Mode.CHUNKS))
        if number % max(1, world.size // 20):
            jobs.cancel(job)
    with world.step("newest page"):
        page = world.get("/v1/ingest?limit=50")
    with world.step("second page"):
        world.get(f"/v1/ingest?limit=50{'&after=' + page['next'] if page['next'] else ''}")
    with world.step("open another job"):
        config = {"token": "one", "channel": "one", "mode": "chunks"}
        world.call("POST", "/v1/ingest", json=config)
    with world.step("look after all"):
        jobs.sweeper.sweep_all()


SCENARIOS: dict[str, tuple[Callable[[World], None], int]] = {
    "job of chunks": (job_of_chunks, 10**6),
    "channel of supercuboids deleted": (channel_deleted, 10**6),
    "objects queried": (objects_queried, 10**6),
    "object over supercuboids": (large_object, 10**5),
    "channels, 100 in a project": (channels_in_projects, 10**5),
    "channels of one project": (channels_in_one_project, 10**5),
    "jobs of a user": (jobs_of_user, 10**4),
}
"""What fills a world and measures, and the full size."""
