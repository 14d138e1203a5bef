"""Channels with coarser levels, and processes that build them, crash and repeat themselves.

Several ``Process`` on one world are several machines on the same stores.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.propagation import PropagateState
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.painter import LabelPainter
from ndlambda.services.labels.service import LabelService
from ndlambda.services.propagation.builder import PyramidBuilder
from ndlambda.services.propagation.marks import PropagationMarks
from ndlambda.services.propagation.service import PropagationService, PropagationStores
from ndlambda.services.propagation.worker import LevelBuilder, PropagationOptions
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.support.tries import MAX_TRIES
from ndlambda.services.support.watch import WatchMessage
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.ancestry import Ancestry
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.disk import SqliteQueue
from ndlambda.stores.ports import Message, Queue, Row
from ndlambda.voxels.downsample import Method, downsample
from tests.support import catalog_world
from tests.support.faults import Crash, FaultPlan, Faulty, Watched

OVERDUE_S = 120.0
MOST_REQUESTS = 45  # as many as the longest delivery makes in ``SLICES``; most make 14
SLICES = Dataset("ds", (260, 140, 17), voxelres_xyz=(4, 4, 12), scalinglevels=3)
"""3x2x2 supercuboids of one cuboid, 128x128x16; at level 3 slabs turn into cubes, and it has a
near-isotropic variant."""
SMALL = Dataset("ds", (90, 70, 5), voxelres_xyz=(4, 4, 40), scalinglevels=1)
"""One supercuboid a level."""
CUBES = Dataset("ds", (131, 70, 65), scaling=Scaling.ISOTROPIC, scalinglevels=2)


def image(**changes: Any) -> Channel:
    made = Channel("pr", "em", ChannelType.IMAGE, DataType.UINT8, cuboids_per_axis=1)
    return replace(made, **changes)


def labels(**changes: Any) -> Channel:
    changes = {"channel_type": ChannelType.ANNOTATION, "datatype": DataType.UINT32, **changes}
    return image(name="labels", exceptions=True, **changes)


def _is_end(row: Row) -> bool:
    return row.sk.startswith("channel#") and row.doc["fields"].get("propagate") == 2


class Noting:
    """A builder that notes what it builds, and what may happen in between."""

    def __init__(self, builder: LevelBuilder, before: Callable[[Any], None] | None = None) -> None:
        self._builder = builder
        self._before = before or (lambda root: None)
        self.roots: list[Any] = []

    def build(self, dataset: Any, channel: Any, root: Any, depth: int, method: Method) -> Any:
        self.roots.append(root)
        self._before(root)
        return self._builder.build(dataset, channel, root, depth, method)


@dataclass
class Process:
    """The services of one process."""

    catalog: Catalog
    volume: VolumeService
    labels: LabelService
    marks: PropagationMarks
    propagation: PropagationService
    builder: Noting


@dataclass
class PropagationWorld:
    """Stores (on disk unless others are given) with one dataset and project, and threads."""

    folder: Path
    dataset: Dataset
    depth: int = 2
    stores: catalog_world.World | None = None
    max_attempts: int = 10
    base: catalog_world.World = field(init=False)
    table: Watched = field(init=False)
    queue: Queue = field(init=False)
    pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor] = field(init=False)

    def __post_init__(self) -> None:
        self.base = self.stores or catalog_world.disk_world(self.folder)
        self.table = Watched(self.base.table, _is_end)
        self.queue = self.base.queue  # nothing is erased here
        if self.stores is None:
            self.queue = SqliteQueue(
                self.folder / "queue.sqlite", "propagate", self.clock, fsync=False
            )
        self.base.catalog.create_dataset(self.dataset)
        self.base.catalog.create_project(catalog_world.project(dataset=self.dataset.name))
        self.pools = (ThreadPoolExecutor(2), ThreadPoolExecutor(2))

    def close(self) -> None:
        for pool in self.pools:
            pool.shutdown()

    def copies(self, folder: Path) -> "Iterator[PropagationWorld]":
        """Iterate over worlds that hold what this one does (on disk only)."""
        for number in count():
            shutil.copytree(self.folder, folder / f"{number}")
            world = PropagationWorld(folder / f"{number}", self.dataset, self.depth)
            with closing(world) as copied:
                yield copied

    @property
    def clock(self) -> catalog_world.Clock:
        return self.base.clock

    def process(
        self, plan: FaultPlan | None = None, before_build: Callable[[Any], None] | None = None
    ) -> Process:
        """Return the services of a new process, which dies as planned."""
        ports: list[Any] = [self.table, self.base.objects, self.queue]
        if plan is not None:
            ports = [Faulty(port, plan) for port in ports]
        table, objects, queue = ports
        executor, row_executor = self.pools
        options = VolumeOptions()
        catalog = Catalog(table, self.base.cascade, clock=self.clock)
        marks = PropagationMarks(table, row_executor)
        volume = VolumeService(objects, executor, ByteBudget(1 << 30), options, marks)
        painter = LabelPainter(objects, LabelIndex(table), executor, options)
        builder = Noting(PyramidBuilder(objects, painter, options), before_build)
        propagation = PropagationService(
            PropagationStores(table, objects, queue),
            catalog,
            marks,
            builder,
            PropagationOptions(self.depth, OVERDUE_S, self.max_attempts, self.clock),
        )
        labels = LabelService(objects, table, volume, executor, options)
        return Process(catalog, volume, labels, marks, propagation, builder)

    def fill(self, channel: Channel, seed: int = 0, box: Box | None = None) -> None:
        """Write voxels everywhere, or into a box of the finest level, as any process does."""
        for time_point in range(*channel.times):
            region = self.region(channel.resolution, time_point=time_point)
            if box is not None:
                region = self.part(box)
            written = voxels(region, seed + time_point, channel.dtype)
            self.process().volume.write(channel, region, written)

    def make_filled(self, **changes: Any) -> Channel:
        channel = self.base.catalog.create_channel(image(**changes))
        self.fill(channel)
        return channel

    def start(self, name: str = "em", **how: Any) -> Process:
        """Start the propagation of a channel as it is now, and return the process."""
        process = self.process()
        process.propagation.start(self.dataset, self.channel(name), **how)
        return process

    def assert_done(self, name: str = "em", **how: Any) -> None:
        """Make sure that the channel is propagated, and of every level."""
        assert self.channel(name).propagate == PropagateState.PROPAGATED
        self.assert_levels(self.channel(name), **how)

    def touch(self, box: Box, seed: int = 9) -> None:
        self.fill(self.channel(), seed, box)

    def status(self, name: str = "em") -> Any:
        return self.process().propagation.status(self.dataset, self.channel(name))

    def channel(self, name: str = "em") -> Channel:
        return self.base.catalog.get_channel("pr", name)

    def region(self, resolution: int = 0, *, neariso: bool = False, time_point: int = 0) -> Region:
        level = self.dataset.pyramid.level(resolution)
        size = level.neariso_imagesize_xyz if neariso else level.imagesize_xyz
        return Region(level, Box((0, 0, 0), size), (time_point, time_point + 1), neariso)

    def part(self, box: Box, resolution: int = 0) -> Region:
        return Region(self.dataset.pyramid.level(resolution), box, (0, 1))

    def pump(self, process: Process | None = None, most: int | None = None) -> int:
        """Deliver messages in order, once each, until none is left; give how many."""
        process, delivered = process or self.process(), 0
        while most is None or delivered < most:
            messages = self.queue.receive(1)
            if not messages:
                return delivered
            process.propagation.run(messages[0].body, messages[0].receive_count)
            self.queue.ack([messages[0].receipt])
            delivered += 1
        return delivered

    def propagate(self, channel: Channel, **how: Any) -> Process:
        """Start and carry through in one process, and return it."""
        process = self.process()
        process.propagation.start(self.dataset, channel, **how)
        self.pump(process)
        return process

    def called(self) -> list[Message]:
        """Return the messages, that are due, for workers; they are lost."""
        found = list[Message]()
        while messages := self.queue.receive():
            found += messages
            self.queue.ack([message.receipt for message in messages])
        return [message for message in found if WatchMessage.find(message.body) is None]

    def lose_messages(self) -> None:
        while messages := self.queue.receive():
            self.queue.ack([message.receipt for message in messages])

    def stored_level(
        self, channel: Channel, resolution: int, *, neariso: bool = False, time_point: int = 0
    ) -> NDArray[Any]:
        """Return a level as it is stored, (z, y, x), with no zooming in place of what is not."""
        region = self.region(resolution, neariso=neariso, time_point=time_point)
        stored = replace(channel, propagate=2)
        return self.process().volume.read(self.dataset, stored, region)[0]

    def assert_levels(self, channel: Channel, *, method: Method = Method.MEAN) -> None:
        """Make sure that every level is what the whole level below makes of it."""
        method = Method.LABELS if channel.is_annotation else method
        ancestry = Ancestry(self.dataset.pyramid, channel.cuboids_per_axis)
        for t in range(*channel.times):
            fine = self.stored_level(channel, channel.resolution, time_point=t)
            for resolution in range(channel.resolution + 1, self.dataset.scalinglevels + 1):
                level = self.dataset.pyramid.level(resolution)
                if level.neariso_scaledown > 1:
                    found = self.stored_level(channel, resolution, neariso=True, time_point=t)
                    wanted = downsample(fine, (2, 2, 2), method, zero_is_missing_z=True)
                    wanted = wanted[: found.shape[0]]
                    np.testing.assert_array_equal(found, wanted, f"{resolution} near-isotropic")
                found = self.stored_level(channel, resolution, time_point=t)
                wanted = downsample(fine, ancestry.step(resolution).factors_xyz, method)
                np.testing.assert_array_equal(found, wanted, f"{resolution}")
                fine = found


def voxels(region: Region, seed: int, dtype: Any = "u1", top: int = 255) -> NDArray[Any]:
    """Return random non-zero voxels of a region (t, z, y, x)."""
    return np.random.default_rng(seed).integers(1, top, region.shape_tzyx).astype(dtype)


@dataclass
class Chaos:
    """Delivers messages as badly as queues may, to processes that die.

    Attributes
    ----------
    chances
        Of ``crash`` (at a random request to a store, if the process makes so many: about half
        do), ``duplicate`` and ``loss``.
    watch_chances
        Of ``loss`` and ``delay`` of watch messages; they are doubled as the others.
    workers
        Processes that run at one time. What befalls them hangs on the seed alone, whatever order
        they come in.
    """

    world: PropagationWorld
    seed: int
    chances: Mapping[str, float] = field(
        default_factory=lambda: {"crash": 0.3, "duplicate": 0.2, "loss": 0.05}
    )
    watch_chances: Mapping[str, float] = field(default_factory=lambda: {"loss": 0.1, "delay": 0.2})
    workers: int = 1
    crashes: int = 0
    processes: int = 0
    turns: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def happens(self, what: str) -> bool:
        return self.random.random() < self.chances[what]

    def process(self) -> Process:
        if not self.happens("crash"):
            return self.world.process()
        when: Literal["before", "after"] = self.random.choice(["before", "after"])
        at = int(MOST_REQUESTS ** self.random.random())  # early ones more often: all have these
        return self.world.process(FaultPlan(at, when))

    def survives(self, work: Callable[[], object]) -> bool:
        """Do something in a process, and return whether it came to the end."""
        self.processes += 1
        with suppress(Crash):
            work()
            return True
        self.crashes += 1
        return False

    def start(self, channel: Channel, **how: Any) -> None:
        """Start as somebody does who asks again where there was no answer."""
        while self.world.channel(channel.name).propagate != PropagateState.UNDER_PROPAGATION:
            start = self.process().propagation.start
            self.survives(partial(start, self.world.dataset, channel, **how))

    def deliver(self, message: Message, process: Process) -> None:
        # A process that dies is no failure of the job: only errors count.
        count = min(message.receive_count, MAX_TRIES)
        if self.survives(lambda: process.propagation.run(message.body, count)):
            self.world.queue.ack([message.receipt])

    def turn(self) -> None:
        """Deliver what is visible in any order, and let half a minute pass.

        A day has a hundred turns here: then the work is swept whose watch messages were lost.
        """
        batch = list[Message]()
        while messages := self.world.queue.receive(10, 60):
            batch += messages
        batch += [message for message in batch if self.happens("duplicate")]
        self.random.shuffle(batch)
        kept = []
        for message in batch:
            is_watch = WatchMessage.find(message.body) is not None
            if self.random.random() < (self.watch_chances if is_watch else self.chances)["loss"]:
                self.world.queue.ack([message.receipt])
            elif is_watch and self.random.random() < self.watch_chances["delay"]:
                self.world.queue.retry_later(message.receipt, 600)
            else:
                kept.append((message, self.process()))
        with ThreadPoolExecutor(self.workers) as pool:
            for delivery in [pool.submit(self.deliver, *each) for each in kept]:
                delivery.result(60)
        self.world.clock.advance(30)
        self.turns += 1
        if self.turns % 100 == 0:
            self.survives(self.process().propagation.sweep)

    def until_ended(self, name: str, turns: int = 4000) -> None:
        for _ in range(turns):
            if self.world.channel(name).propagate != PropagateState.UNDER_PROPAGATION:
                return
            self.turn()
        raise AssertionError(f"seed {self.seed}: not ended after {turns} turns")
