"""Folders of slices, and processes that ingest them, crash and repeat themselves."""

import io
import json
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingest_queue.build.builder import BuildOptions, Stores
from ingest_queue.drop.owner import DropOwner
from ingest_queue.drop.watcher import Drop
from ingest_queue.jobs.chunk_state import Fault
from ingest_queue.jobs.job import Job, State, read_message
from ingest_queue.jobs.job_spec import JobSpec
from ingest_queue.jobs.keys import DROP, token_folder
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.retired import RetiredFolders
from ingest_queue.jobs.target import VoxelWriter
from ingest_queue.jobs.waiting import WaitingFolders
from ingest_queue.service import IngestOptions, IngestService
from ndlambda.errors import NDLambdaError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.principal import Principal
from ndlambda.services.access.service import Access
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.labels.service import LabelService
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.support.watch import WatchMessage
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import Box
from ndlambda.stores.ports import ObjectStore, Overwrite, Queue, Row
from tests.support import catalog_world
from tests.support.faults import Crash, FaultPlan, Faulty, Watched

OFFSET = 5
FOLDER = token_folder("tk", "em")
OWNER = 7


def _is_completion(row: Row) -> bool:
    completed = row.pk == "ingest" and str(row.doc["state"]).startswith("COMPLETE")
    return completed and not row.doc["propagated"]


@dataclass
class Process:
    """The services of one process."""

    catalog: Catalog
    ingest: IngestService
    drop: Drop
    volume: VolumeService
    labels: LabelService

    def handle(self, body: str, receive_count: int = 1) -> None:
        """Do what a message asks for: build a chunk, or look after a job or folder."""
        watch = WatchMessage.find(body)
        if watch is None:
            self.ingest.build(*read_message(json.loads(body)))
        elif watch.work.startswith(DROP):
            self.drop.watch(watch, receive_count)
        else:
            self.ingest.watch(watch, receive_count)


@dataclass
class IngestWorld:
    """Stores with one dataset and project, of which processes are made.

    Attributes
    ----------
    propagated
        Jobs for which propagation was started.
    """

    base: catalog_world.World
    drop_store: ObjectStore
    builds: Queue
    dataset: Dataset = field(
        default_factory=lambda: catalog_world.dataset(
            imagesize_xyz=(20, 14, 43), offset_xyz=(0, 0, OFFSET)
        )
    )
    options: BuildOptions = field(default_factory=BuildOptions)
    limits: Mapping[str, int] = field(default_factory=dict)
    propagated: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = Watched(self.base.table, _is_completion)
        self.pool = ThreadPoolExecutor(2)

    def close(self) -> None:
        self.pool.shutdown()

    def populate(self, **changes: Any) -> Channel:
        self.base.catalog.create_dataset(self.dataset)
        self.base.catalog.create_project(catalog_world.project())
        self.base.catalog.create_token(catalog_world.token())
        changes = {"cuboids_per_axis": 1, **changes}
        return self.base.catalog.create_channel(catalog_world.channel("em", **changes))

    def process(
        self,
        plan: FaultPlan | None = None,
        wrap: Callable[[str, Any], Any] = lambda name, port: port,
    ) -> Process:
        """Return the services of a new process, which dies as planned."""
        names = ("table", "objects", "drop", "builds")
        ports: list[Any] = [self.table, self.base.objects, self.drop_store, self.builds]
        ports = [wrap(name, port) for name, port in zip(names, ports, strict=True)]
        if plan is not None:
            ports = [Faulty(port, plan) for port in ports]
        table, objects, drop_store, builds = ports
        options = VolumeOptions()
        catalog = Catalog(table, self.base.cascade, clock=self.base.clock, cache_s=0)
        volume = VolumeService(objects, self.pool, ByteBudget(1 << 30), options)
        labels = LabelService(objects, table, volume, self.pool, options)
        ingest = IngestService(
            Ledger(table, self.base.clock),
            Stores(drop_store, objects, builds),
            catalog,
            VoxelWriter(volume, labels),
            lambda job: self.propagated.append(job.id),
            IngestOptions(**self.limits, building=self.options),
        )
        waiting = WaitingFolders(table, builds, self.base.clock)
        retired = RetiredFolders(table, self.base.clock)
        access = Access(catalog, anonymous_write=False)
        owner = DropOwner(catalog, access, lambda: Principal(OWNER, "owner"))
        drop = Drop(ingest, catalog, waiting, retired, owner)
        return Process(catalog, ingest, drop, volume, labels)

    def copy(self, folder: Path) -> "IngestWorld":
        """Return a world of its own that holds what this one does (on disk only)."""
        assert self.base.folder is not None
        shutil.copytree(self.base.folder, folder)
        return disk_ingest_world(
            folder, dataset=self.dataset, options=self.options, limits=self.limits
        )

    def copies(
        self, folder: Path, numbers: Iterable[int] | None = None
    ) -> "Iterator[tuple[int, IngestWorld]]":
        """Iterate over numbers (1, 2, … if none are given) and copies of this world."""
        for number in count(1) if numbers is None else numbers:
            with closing(self.copy(folder / f"{number}")) as copied:
                yield number, copied

    def put(self, name: str, body: bytes, folder: str = FOLDER) -> str:
        """Put an object into a folder without telling anybody; give its key."""
        self.drop_store.put(folder + name, body, Overwrite())
        return folder + name

    def put_stack(self, voxels: NDArray[Any], *, times: bool = False) -> list[str]:
        """Put slices (t, z, y, x) and return their keys."""
        return [
            self.put(f"time{t:04d}/{z:04d}.png" if times else f"{z:04d}.png", png(plane))
            for t, stack in enumerate(voxels)
            for z, plane in enumerate(stack, OFFSET)
        ]

    def drop(self, name: str, body: bytes, folder: str = FOLDER) -> None:
        self.process().drop.on_object_created(self.put(name, body, folder))

    def notice(self, keys: Sequence[str]) -> None:
        process = self.process()
        for key in keys:
            process.drop.on_object_created(key)

    def drop_slice(self, z: int, plane: NDArray[Any]) -> None:
        """Drop a slice (y, x) by its number in the dataset, and let it be noticed."""
        self.drop(f"{z:04d}.png", png(plane))

    def drop_stack(self, voxels: NDArray[Any], *, times: bool = False) -> list[str]:
        """Put slices (t, z, y, x), let them be noticed, and return their keys."""
        keys = self.put_stack(voxels, times=times)
        self.notice(keys)
        return keys

    def ingest(self, voxels: NDArray[Any]) -> Job:
        """Drop slices (t, z, y, x), build all that is called for, and return the job."""
        self.drop_stack(voxels)
        self.pump()
        return self.job()

    def build(self, chunk: int = 0, plan: Any = None, attempt: int = 1) -> None:
        """Do what a call for a chunk of the first generation asks, in a process of its own."""
        self.process(plan).ingest.build(self.job().id, 1, chunk, attempt)

    def sweep(self) -> None:
        """Look after all jobs as their watch chains do, and build all that is called for."""
        look_after_all(self.process().ingest)
        self.pump()

    def retry(self) -> Job:
        """Let the job be retried, and build all that is called for."""
        again = self.process().ingest.registry.retry(self.job())
        self.pump()
        return again

    def pump(self, process: Process | None = None) -> None:
        """Deliver calls to build until none is left."""
        process = process or self.process()
        while messages := self.builds.receive(10):
            for message in messages:
                process.handle(message.body, message.receive_count)
                self.builds.ack([message.receipt])

    def lose_messages(self) -> None:
        while messages := self.builds.receive(10):
            self.builds.ack([message.receipt for message in messages])

    def job(self, folder: str = FOLDER) -> Job:
        found = self.process().ingest.ledger.of_folder(folder)
        assert found is not None
        return found

    @property
    def state(self) -> State:
        return self.job().state

    def faults(self) -> list[Fault]:
        return list(self.process().ingest.faults(self.job()))

    def waiting(self) -> dict[str, str]:
        return {each.folder: each.why for each in self.process().drop.waiting.all()}

    def check_whole(self, voxels: NDArray[Any]) -> None:
        """Make sure that the job is complete, without a fault, and stored these (z, y, x)."""
        assert (self.state, self.faults()) == (State.COMPLETE, [])
        np.testing.assert_array_equal(self.stored(), voxels)

    def create(self, **spec: Any) -> Job:
        view = self.process().catalog.project_view("tk", fresh=True)
        return self.process().ingest.create(view, OWNER, JobSpec("em", **spec))

    def stored(self, time_point: int = 0) -> NDArray[Any]:
        """Return the voxels (z, y, x) of the whole volume."""
        found = self.base.catalog.get_channel("pr", "em")
        level = self.dataset.pyramid.level(0)
        region = Region(level, Box((0, 0, 0), level.imagesize_xyz), (time_point, time_point + 1))
        return self.process().volume.read(self.dataset, found, region)[0]


def disk_ingest_world(folder: Path, depth: int | None = None, **options: Any) -> IngestWorld:
    """Return a world on disk, whose volume has ``depth`` slices instead of 43."""
    from ndlambda.stores.disk import DiskObjectStore, SqliteQueue

    if depth is not None:
        size = (20, 14, depth)
        options["dataset"] = catalog_world.dataset(imagesize_xyz=size, offset_xyz=(0, 0, OFFSET))
    base = catalog_world.disk_world(folder)
    return IngestWorld(
        base,
        DiskObjectStore(folder, fsync=False, changed_by_others=True),
        SqliteQueue(folder / "queue.sqlite", "builds", base.clock, fsync=False),
        **options,
    )


def look_after_all(ingest: IngestService) -> None:
    """Look after all jobs as their watch chains do."""
    for job_id in [*(job.id for job in ingest.ledger.running()), *ingest.ledger.ended()]:
        ingest.sweeper.look_after(job_id)


def look_after_folders(drop: Drop) -> None:
    """Look after all waiting folders as their watch chains do, and find others as each day."""
    drop.sweep()
    for waiting in drop.waiting.all():
        with suppress(NDLambdaError):
            drop.look_after(waiting.folder)


MakeWorld = Callable[..., IngestWorld]
"""Makes worlds as ``disk_ingest_world``; see the fixture ``make_world``."""


def png(plane: NDArray[Any]) -> bytes:
    """Return an image file of a plane (y, x) of uint8 or uint16."""
    out = io.BytesIO()
    Image.fromarray(plane).save(out, "png")
    return out.getvalue()


def stack(seed: int, times: int = 1, z: int = 43, dtype: Any = np.uint8) -> NDArray[Any]:
    """Return non-zero voxels (t, z, 14, 20)."""
    return np.random.default_rng(seed).integers(1, 255, (times, z, 14, 20)).astype(dtype)


@dataclass
class Chaos:
    """Delivers notifications and calls as badly as queues may, to processes that die.

    The chances are those of the contract of ingest: a fifth of all deliveries come twice, 5 % of
    the notifications never, 10 % of the messages whose handler died never again.
    """

    world: IngestWorld
    seed: int
    workers: int = 4
    crashes: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def first_pass(self, keys: Sequence[str], chance: float = 0.15) -> None:
        """Tell of objects and deliver what follows from that."""
        events = [key for key in keys if self._random.random() >= 0.05]
        self._carry_out([("event", key) for key in events], chance)
        self.deliver(chance)

    def sweep(self, chance: float = 0.05) -> None:
        """Let a day pass: looks after the job, some of which are lost or late, and a sweep."""
        for _ in range(8):
            self.world.base.clock.advance(1000)
            self.deliver(chance)
        self._one(("sweep", ""), chance)
        self.deliver(chance)

    def deliver(self, chance: float) -> None:
        while messages := self.world.builds.receive(10, 60):
            self.world.builds.ack([message.receipt for message in messages])
            bodies = []
            for body in (message.body for message in messages):
                fate = self._random.random() if WatchMessage.find(body) else 1.0
                if fate >= 0.3:
                    bodies.append(body)
                elif fate >= 0.1:
                    self.world.builds.send([body], 600)  # late; a tenth never comes
            self._carry_out([("build", body) for body in bodies], chance)

    def _carry_out(self, work: list[tuple[str, str]], chance: float) -> None:
        """Do all of it in any order, repeatedly where a process died."""
        while work:
            work += [item for item in work if self._random.random() < 0.2]
            self._random.shuffle(work)
            chances = [self._random.random() < chance for _ in work]
            with ThreadPoolExecutor(self.workers) as pool:
                dead = list(pool.map(self._one, work, chances))
            again = [item for item, died in zip(work, dead, strict=True) if died]
            work = [item for item in again if self._random.random() >= 0.1]

    def _one(self, item: tuple[str, str], chance: float | bool) -> bool:
        """Do one thing in a process of its own; return whether it died."""
        kind, text = item
        plan = None
        if self._random.random() < chance:
            when = self._random.choice(("before", "after"))
            plan = FaultPlan(self._random.randint(1, 25), when)
        process = self.world.process(plan)
        try:
            if kind == "event":
                process.drop.on_object_created(text)
            elif kind == "build":
                process.handle(text)
            else:
                process.drop.sweep()
                process.ingest.sweeper.sweep_all()
        except Crash:
            self.crashes += 1
            return True
        return False
