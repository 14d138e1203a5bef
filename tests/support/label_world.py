"""Labels without HTTP, on any stores: a channel, its services, and the truth beside the index."""

import math
from collections.abc import Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ndlambda.cuboids.label_block import LabelBlock
from ndlambda.model.catalog import Channel, CodecSpec, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.labels.index import LabelIndex, LabelLayer
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.service import LabelService
from ndlambda.services.labels.zoom import LabelView
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.disk import DiskObjectStore, SqliteTable
from ndlambda.stores.ports import ObjectStore, Table
from tests.support.faults import FaultPlan, Faulty

DATASET = Dataset("brain", (200, 150, 40), voxelres_xyz=(4, 4, 40), scalinglevels=1)
CUBES = Dataset("cubes", (150, 140, 130), scaling=Scaling.ISOTROPIC, scalinglevels=1)
MAX_INDEX_ROW_BYTES = 4096

Holders = dict[tuple[LabelLayer, int], set[int]]
"""Scope and label to Morton codes of cuboids."""


def channel(**changes: Any) -> Channel:
    values = {
        "project": "pr", "name": "labels", "channel_type": ChannelType.ANNOTATION,
        "datatype": DataType.UINT64, "uid": "u1", "exceptions": True, "codec": CodecSpec("lz4", 1),
    }  # fmt: skip
    return Channel(**{**values, **changes})


def disk_stores(folder: Path) -> tuple[ObjectStore, Table]:
    return (
        DiskObjectStore(folder / "objects", fsync=False),
        SqliteTable(folder / "table.sqlite", fsync=False),
    )


@dataclass
class LabelWorld:
    """Stores and threads; several worlds on the same stores are several processes."""

    objects: ObjectStore
    table: Table
    executor: ThreadPoolExecutor
    row_executor: ThreadPoolExecutor

    def service(
        self, plan: FaultPlan | None = None, options: VolumeOptions | None = None
    ) -> LabelService:
        """Return the service of a process, which dies as planned."""
        objects: Any = self.objects if plan is None else Faulty(self.objects, plan)
        table: Any = self.table if plan is None else Faulty(self.table, plan)
        options = options or VolumeOptions()
        volume = VolumeService(objects, self.executor, ByteBudget(1 << 30), options)
        return LabelService(objects, table, volume, self.executor, options)

    def close(self) -> None:
        """Close the file of a table on disk."""
        table: Any = self.table
        table.close()

    def truth(self, dataset: Dataset, target: Channel) -> Holders:
        """Return where labels are, from all objects of a channel."""
        found: Holders = {}
        prefix = f"{target.project}/{target.name}/{target.uid}/"
        for info in self.objects.list(prefix):
            resolution, time_point, text = info.key.removeprefix(prefix).split("/")
            if resolution.endswith("n"):
                continue  # near-isotropic variants are not indexed
            level = dataset.pyramid.level(int(resolution))
            volume = LabelVolume(target, level, int(time_point))
            stored = self.objects.get(info.key)
            assert stored is not None
            block = LabelBlock(stored.data, volume.layout)
            for slot in range(volume.layout.slots):
                for label in block.labels(slot):
                    codes = found.setdefault((volume.scope, label), set())
                    codes.add(volume.cuboid(int(text, 16), slot))
        return found

    def indexed(self, target: Channel) -> Holders:
        """Return where the index says that labels are; rows are checked for their size."""
        found: Holders = {}
        for page in LabelIndex(self.table).entries(target.uid):
            for entry in page:
                assert index_row_bytes(entry.key, entry.members) <= MAX_INDEX_ROW_BYTES
                assert max(entry.members, default=0) < 512
                if entry.members:
                    found.setdefault((entry.scope, entry.label), set()).update(entry.codes)
        return found


def index_row_bytes(key: tuple[str, str], members: Any) -> int:
    """Return the size of a row of the index as DynamoDB counts: 1 byte for 2 digits, and 1."""
    digits = sum(math.ceil(len(str(member)) / 2) + 1 for member in members)
    return len("".join(["pk", "sk", "members", "version", *key])) + digits + 12


def missing(truth: Holders, indexed: Holders) -> Holders:
    """Return what the index does not say though it is so; must be empty at any time."""
    gaps = {key: codes - indexed.get(key, set()) for key, codes in truth.items()}
    return {key: codes for key, codes in gaps.items() if codes}


def region(dataset: Dataset, box: Box, time_point: int = 0, resolution: int = 0) -> Region:
    return Region(dataset.pyramid.level(resolution), box, (time_point, time_point + 1))


def own_labels(
    objects: ObjectStore, executor: Executor, dataset: Dataset, target: Channel, place: Region
) -> np.ndarray:
    """Return the own labels (z, y, x) at one time point, as they are stored there: none zoomed."""
    volume = VolumeService(objects, executor, ByteBudget(1 << 30), VolumeOptions())
    as_stored = replace(target, resolution=place.level.resolution)
    found: np.ndarray = volume.read(dataset, as_stored, place)[0]
    return found


def labels_in(labels: LabelService, target: Channel, place: Region) -> list[int]:
    """Return the stored labels of a region at one time point, own and extra, ascending."""
    shown = LabelView(LabelVolume(target, place.level, place.times[0]))
    return sorted(labels.read.shapes.labels_in(shown, place.box))


def points_of(labels: LabelService, volume: LabelVolume, label: int) -> np.ndarray:
    """Return the stored voxels that have a label, own or extra, all of which were announced."""
    announced: list[int] = []
    found = labels.read.shapes.voxels(LabelView(volume), [label], announced.append)
    assert found.dtype == np.uint32
    assert found.shape == (sum(announced), 3)
    return found


def drawn(labels: LabelService, volume: LabelVolume, wanted: Collection[int]) -> np.ndarray:
    """Return the stored voxels (bool z, y, x) of the image that have one of some labels."""
    box = volume.level.box
    mask = np.zeros(box.shape_zyx, np.bool_)
    labels.read.shapes.draw(LabelView(volume), wanted, box, 1, mask)
    return mask


def filled(box: Box, label: int, dtype: Any = "<u8") -> np.ndarray:
    """Return labels (t, z, y, x) of a box that is one object."""
    return np.full((1, *box.shape_zyx), label, dtype)
