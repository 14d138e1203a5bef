"""The RAMON objects of one channel on any table, with an eraser that only takes notes."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ndlambda.model.catalog import Channel
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.ramon import Annotation
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.annotation.writer import AnnotationWriter
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.merge import RamonMerge
from ndlambda.services.ramon.rows import ObjectRows
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.service import VolumeService
from ndlambda.stores.disk import DiskObjectStore, SqliteTable
from ndlambda.stores.ports import ObjectStore, Put, Row, Table
from ndlambda.wire.ramon.contract import RamonItem
from tests.support.faults import FaultPlan, Faulty
from tests.support.label_world import DATASET

CHANNEL = Channel("pr", "anno", ChannelType.ANNOTATION, DataType.UINT32, uid="uid-1")
JOBS = "erase"
"""The partition of jobs."""


@dataclass
class Eraser:
    """Notes ids; those in ``large`` are left to a job, which is a row without contents."""

    erased: set[int] = field(default_factory=set)
    large: set[int] = field(default_factory=set)

    def begin_actions(self, channel: Channel, groups: Sequence[Sequence[int]]) -> list[Put]:
        return [Put(Row(JOBS, ",".join(map(str, ids)))) for ids in groups]

    def erase(
        self,
        channel: Channel,
        groups: Sequence[Sequence[int]],
        others: Sequence[int],
        merged: Collection[int],
    ) -> list[int]:
        self.erased |= {*chain(*groups), *others}
        return sorted(self.large & self.erased)


@dataclass
class RamonWorld:
    table: Table
    objects: ObjectStore
    eraser: Eraser = field(default_factory=Eraser)

    def ramon(self, plan: FaultPlan | None = None) -> Ramon:
        """Return the service of another process, which dies as planned."""
        table, _, eraser = self._ports(plan)
        return Ramon(table, eraser)

    def merges(self, plan: FaultPlan | None = None) -> RamonMerge:
        return RamonMerge(self._ports(plan)[0])

    def upload(
        self,
        *ramons: Annotation | RamonItem,
        channel: Channel = CHANNEL,
        plan: FaultPlan | None = None,
    ) -> list[int]:
        """Upload new objects in another process, which dies as planned, and return their ids."""
        table, objects, eraser = self._ports(plan)
        executor, options = ThreadPoolExecutor(1), VolumeOptions()
        volume = VolumeService(objects, executor, ByteBudget(1 << 30), options)
        labels = LabelService(objects, table, volume, executor, options)
        writer = AnnotationWriter(labels, Ramon(table, eraser), ObjectRows(table), volume)
        items = [RamonItem(item) if isinstance(item, Annotation) else item for item in ramons]
        with executor:
            return writer.upload(DATASET, channel, items, WriteMode())

    def rows(self, uid: str = CHANNEL.uid) -> list[Row]:
        """Return all rows of a channel's objects."""
        from ndlambda.services.ramon.keys import partitions

        return [row for pk in partitions(uid) for row in self.table.query(pk).rows]

    def jobs(self) -> list[str]:
        """Return the ids whose voxels are still to be erased."""
        return [row.sk for row in self.table.query(JOBS).rows]

    def index(self, uid: str = CHANNEL.uid) -> set[tuple[str, str]]:
        """Return the keys of the index rows."""
        keys = {(row.pk, row.sk) for row in self.rows(uid)}
        kinds = ("#field#", "#refer#", "#pair#")
        return {key for key in keys if any(kind in key[0] for kind in kinds)}

    def _ports(self, plan: FaultPlan | None) -> tuple[Any, Any, Any]:
        if plan is None:
            return self.table, self.objects, self.eraser
        return Faulty(self.table, plan), Faulty(self.objects, plan), Faulty(self.eraser, plan)


def disk_world(folder: Path) -> RamonWorld:
    folder.mkdir(parents=True, exist_ok=True)
    return RamonWorld(
        SqliteTable(folder / "ramon.sqlite", fsync=False),
        DiskObjectStore(folder / "objects", fsync=False),
    )
