"""A small server's catalogue without HTTP, on any stores, with a clock that tests set."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.access.service import Access
from ndlambda.services.catalog.cascade import Cascade
from ndlambda.services.catalog.deletion_job import EraseJob
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.deletion.worker import Erasure
from ndlambda.services.support.watch import WatchMessage
from ndlambda.stores import aws
from ndlambda.stores.aws import AwsConfig
from ndlambda.stores.disk import DiskObjectStore, SqliteQueue, SqliteTable
from ndlambda.stores.ports import ObjectStore, Overwrite, Queue, Table
from tests.support.faults import FaultPlan, Faulty

GRACE_S = 900.0
OWNER = 7


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class World:
    """Stores and the services of one process on them."""

    table: Table
    objects: ObjectStore
    queue: Queue
    clock: Clock
    folder: Path | None = None
    erasure: Erasure = field(init=False)
    catalog: Catalog = field(init=False)

    def __post_init__(self) -> None:
        self.erasure, self.catalog = self.services()

    @property
    def cascade(self) -> Cascade:
        return Cascade(self.table, EraseJobs(self.table, self.queue, self.clock))

    def services(self, plan: FaultPlan | None = None) -> tuple[Erasure, Catalog]:
        """Return the services of another process, which dies as planned."""
        ports: list[Any] = [self.table, self.objects, self.queue]
        if plan is not None:
            ports = [Faulty(port, plan) for port in ports]
        table, objects, queue = ports
        jobs = EraseJobs(table, queue, self.clock)
        erasure = Erasure(table, objects, jobs, no_objects, grace_s=GRACE_S, clock=self.clock)
        return erasure, Catalog(table, Cascade(table, jobs), clock=self.clock)

    def access(self, **allowed: bool) -> Access:
        return Access(self.catalog, **{"anonymous_write": False, **allowed})

    def pump(self, worker: Erasure | None = None) -> int:
        """Deliver the messages that are due until none is; give how many asked for a run."""
        return deliver(self.queue, (worker or self.erasure).handle)

    def lose_messages(self) -> None:
        while messages := self.queue.receive():
            self.queue.ack([message.receipt for message in messages])

    def let_all_work_end(self) -> None:
        """Do what a worker and its schedule do in the hour to come."""
        for _ in range(60):
            self.erasure.sweep()
            self.pump()
            self.clock.advance(60)

    def write(self, channel: Channel, count: int = 3) -> None:
        for number in range(count):
            key = f"{channel.project}/{channel.name}/{channel.uid}/0/0/{number:016x}"
            self.objects.put(key, b"voxels", Overwrite())

    def keys(self, prefix: str = "") -> list[str]:
        return [info.key for info in self.objects.list(prefix)]

    def row_keys(self) -> list[tuple[str, str]]:
        """Return the keys of all rows but counters and the list of jobs (SQLite only)."""
        assert self.folder is not None
        connection = sqlite3.connect(self.folder / "table.sqlite")
        try:
            select = "SELECT pk, sk FROM rows WHERE pk != 'counter' ORDER BY pk, sk"
            found = connection.execute(select).fetchall()
            return [(pk, sk) for pk, sk in found if not pk.startswith("jobs#") and sk != "record"]
        finally:
            connection.close()


def deliver(queue: Queue, handle: Callable[[str, int], None]) -> int:
    """Deliver the messages that are due until none is; give how many were no watch messages."""
    delivered = 0
    while messages := queue.receive():
        for message in messages:
            handle(message.body, message.receive_count)
            queue.ack([message.receipt])
            delivered += WatchMessage.find(message.body) is None
    return delivered


def no_objects(job: EraseJob) -> None:
    """Stand in for the worker that erases single objects, of which there are none here."""
    raise AssertionError(job)


def disk_world(folder: Path) -> World:
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    return World(
        SqliteTable(folder / "table.sqlite", clock, fsync=False),
        DiskObjectStore(folder / "objects", fsync=False),
        SqliteQueue(folder / "queue.sqlite", "erase", clock, fsync=False),
        clock,
        folder,
    )


def moto_world(config: AwsConfig) -> World:
    name = f"catalog-{uuid4().hex}"
    aws.create_bucket(config, name)
    aws.create_table(config, name)
    aws.create_queue(config, name)
    stores = aws.DynamoTable(config, name), aws.S3ObjectStore(config, name)
    return World(*stores, aws.SqsQueue(config, name), Clock())


def dataset(name: str = "ds", **changes: Any) -> Dataset:
    return Dataset(**{"name": name, "imagesize_xyz": (64, 64, 64), "user_id": OWNER, **changes})


def project(name: str = "pr", **changes: Any) -> Project:
    return Project(**{"name": name, "dataset": "ds", "user_id": OWNER, **changes})


def token(name: str = "tk", **changes: Any) -> Token:
    return Token(**{"name": name, "project": "pr", "user_id": OWNER, **changes})


def channel(name: str = "ch", **changes: Any) -> Channel:
    values = {
        "project": "pr",
        "name": name,
        "channel_type": ChannelType.IMAGE,
        "datatype": DataType.UINT8,
    }
    return Channel(**{**values, **changes})


def populate(world: World) -> list[Channel]:
    """Make one dataset with two projects, three tokens, three channels and their voxels."""
    catalog = world.catalog
    catalog.create_dataset(dataset())
    catalog.create_project(project())
    catalog.create_project(project("pr2"))
    catalog.create_token(token())
    catalog.create_token(token("tk2"))
    catalog.create_token(token("tk3", project="pr2"))
    channels = [
        catalog.create_channel(channel()),
        catalog.create_channel(channel("ch2")),
        catalog.create_channel(channel("ch", project="pr2")),
    ]
    for made in channels:
        world.write(made)
    return channels
