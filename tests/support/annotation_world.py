"""Objects with voxels without HTTP, on any stores, with the worker of deletions."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ndlambda.model.catalog import Channel, CodecSpec, Dataset, Project
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.ramon import Annotation, ObjectQuery
from ndlambda.services.annotation.adoption import Adoption
from ndlambda.services.annotation.erasing import ObjectErasure
from ndlambda.services.annotation.merger import AnnotationMerger
from ndlambda.services.annotation.merging import ObjectMerge
from ndlambda.services.annotation.reader import AnnotationReader
from ndlambda.services.annotation.service import AnnotationService
from ndlambda.services.annotation.writer import AnnotationWriter
from ndlambda.services.catalog.cascade import Cascade
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.deletion.objects import ObjectWorker
from ndlambda.services.deletion.worker import Erasure
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.merge import RamonMerge
from ndlambda.services.ramon.rows import ObjectRows
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import XYZ, Box
from ndlambda.stores.aws import AwsConfig
from ndlambda.stores.disk import DiskObjectStore, SqliteQueue, SqliteTable
from ndlambda.stores.ports import ObjectStore, Queue, Table
from ndlambda.wire.ramon.contract import AnnotationVoxels, RamonItem
from tests.support import catalog_world
from tests.support.catalog_world import GRACE_S, Clock
from tests.support.faults import FaultPlan, Faulty
from tests.support.label_world import own_labels

OFFSET: XYZ = (10, 20, 4)
DATASET = Dataset(
    "brain", (200, 150, 40), offset_xyz=OFFSET, voxelres_xyz=(4, 4, 40), scalinglevels=1
)


@dataclass(frozen=True)
class Process:
    """The services of one process."""

    labels: LabelService
    ramon: Ramon
    writer: AnnotationWriter
    annotations: AnnotationService
    erasure: Erasure
    catalog: Catalog
    adoption: Adoption


@dataclass
class AnnotationWorld:
    """Stores and threads; several worlds on the same stores are several processes."""

    objects: ObjectStore
    table: Table
    queue: Queue
    clock: Clock
    pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor]
    own: Process = field(init=False)

    def __post_init__(self) -> None:
        self.own = self.process()

    def process(
        self,
        plan: FaultPlan | None = None,
        options: VolumeOptions | None = None,
        memory_bytes: int = 1 << 30,
    ) -> Process:
        """Return the services of another process, which dies as planned."""
        stores: list[Any] = [self.objects, self.table, self.queue]
        if plan is not None:
            stores = [Faulty(store, plan) for store in stores]
        objects, table, queue = stores
        executor, row_executor = self.pools
        options = options or VolumeOptions()
        volume = VolumeService(objects, executor, ByteBudget(memory_bytes), options)
        labels = LabelService(objects, table, volume, executor, options)
        finder, jobs = CatalogRows(table), EraseJobs(table, queue, self.clock)
        eraser = ObjectErasure(finder, LabelIndex(table), labels, jobs)
        ramon = Ramon(table, eraser, executor=row_executor)
        merges = ObjectMerge(LabelIndex(table), labels, RamonMerge(table, row_executor), jobs)
        run = ObjectWorker(finder, labels, merges, jobs).run
        erasure = Erasure(table, objects, jobs, run, grace_s=GRACE_S, clock=self.clock)
        writer = AnnotationWriter(labels, ramon, ObjectRows(table), volume, self.clock)
        reader = AnnotationReader(labels, ramon, volume)
        merger = AnnotationMerger(labels, ramon, merges, volume)
        annotations = AnnotationService(writer, reader, merger)
        catalog = Catalog(table, Cascade(table, jobs), clock=self.clock)
        adoption = Adoption(LabelIndex(table), labels.ids, ObjectRows(table), volume)
        return Process(labels, ramon, writer, annotations, erasure, catalog, adoption)

    def populate(self) -> None:
        """Make the dataset and its project."""
        self.own.catalog.create_dataset(DATASET)
        self.own.catalog.create_project(Project("pr", "brain"))

    def channel(self, name: str = "labels", **changes: Any) -> Channel:
        """Make an annotation channel."""
        values = {
            "channel_type": ChannelType.ANNOTATION,
            "datatype": DataType.UINT32,
            "exceptions": True,
            "codec": CodecSpec("lz4", 1),
        }
        return self.own.catalog.create_channel(Channel("pr", name, **{**values, **changes}))

    def pump(self, process: Process | None = None) -> int:
        """Deliver the messages that are due until none is; give how many asked for a run."""
        return catalog_world.deliver(self.queue, (process or self.own).erasure.handle)

    def lose_messages(self) -> None:
        while messages := self.queue.receive():
            self.queue.ack([message.receipt for message in messages])

    def let_all_work_end(self) -> None:
        """Do what a worker and its schedule do until no job is left, for at most an hour."""
        for _ in range(60):
            self.own.erasure.sweep()
            self.pump()
            if not self.jobs:
                return
            self.clock.advance(60)

    def close(self) -> None:
        """Close the files of stores on disk."""
        stores: list[Any] = [self.table, self.queue]
        for store in stores:
            store.close()

    @property
    def erase_jobs(self) -> EraseJobs:
        return EraseJobs(self.table, self.queue, self.clock)

    @property
    def jobs(self) -> list[str]:
        return [row.sk for row in self.table.query("erase").rows]

    def image(self, channel: Channel, resolution: int = 0) -> np.ndarray:
        """Return all own labels of a resolution (z, y, x)."""
        level = DATASET.pyramid.level(resolution)
        whole = Region(level, level.box, (0, 1))
        return own_labels(self.objects, self.pools[0], DATASET, channel, whole)

    def stored(self, channel: Channel) -> list[Annotation]:
        """Return all objects, ascending."""
        ramon = self.own.ramon
        return ramon.get_many(channel, ramon.query(channel, ObjectQuery(())))


def disk_world(
    folder: Path, pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor]
) -> AnnotationWorld:
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    return AnnotationWorld(
        DiskObjectStore(folder / "objects", fsync=False),
        SqliteTable(folder / "table.sqlite", clock, fsync=False),
        SqliteQueue(folder / "queue.sqlite", "erase", clock, fsync=False),
        clock,
        pools,
    )


def moto_world(
    config: AwsConfig, pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor]
) -> AnnotationWorld:
    made = catalog_world.moto_world(config)
    return AnnotationWorld(made.objects, made.table, made.queue, made.clock, pools)


def block(ramon: Annotation, box: Box, resolution: int = 0, **changes: Any) -> RamonItem:
    """Return an object that fills a box, given zero-based and sent with the dataset's offset."""
    offset = np.array(DATASET.pyramid.level(resolution).offset_xyz)
    x, y, z = (np.array(box.start_xyz) + offset).tolist()
    mask = np.ones(box.shape_zyx, "<u4")
    values = {"corner_xyz": (x, y, z), "cutout_zyx": mask, **changes}
    return RamonItem(ramon, AnnotationVoxels(resolution, **values))


def points(ramon: Annotation, voxels: Any, resolution: int = 0) -> RamonItem:
    """Return an object of voxels, given zero-based and sent with the dataset's offset."""
    offset = np.array(DATASET.pyramid.level(resolution).offset_xyz)
    return RamonItem(ramon, AnnotationVoxels(resolution, (np.array(voxels) + offset).astype("<u4")))
