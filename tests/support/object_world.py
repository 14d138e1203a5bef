"""Objects read and merged with their voxels, without HTTP, and what numpy says that they are."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.services.annotation.merger import AnnotationMerger
from ndlambda.services.annotation.merging import ObjectMerge
from ndlambda.services.annotation.reader import AnnotationReader
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.merge import RamonMerge
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import Box
from ndlambda.stores.ports import Queue
from tests.support.faults import FaultPlan, Faulty
from tests.support.label_world import LabelWorld, disk_stores, filled, region
from tests.support.ramon_world import Eraser


@dataclass(frozen=True)
class Process:
    """The services of one process."""

    labels: LabelService
    ramon: Ramon
    volume: VolumeService
    reader: AnnotationReader
    merger: AnnotationMerger


@dataclass
class ObjectWorld(LabelWorld):
    """Stores and threads; several worlds on the same stores are several processes.

    Nobody works off its queue.
    """

    queue: Any = field(default_factory=lambda: MagicMock(spec=Queue))

    def process(
        self,
        plan: FaultPlan | None = None,
        options: VolumeOptions | None = None,
        memory_bytes: int = 1 << 30,
    ) -> Process:
        """Return the services of a process, which dies as planned."""
        objects: Any = self.objects if plan is None else Faulty(self.objects, plan)
        table: Any = self.table if plan is None else Faulty(self.table, plan)
        options = options or VolumeOptions()
        volume = VolumeService(objects, self.executor, ByteBudget(memory_bytes), options)
        labels = LabelService(objects, table, volume, self.executor, options)
        ramon = Ramon(table, Eraser())
        jobs = EraseJobs(table, self.queue)
        merges = ObjectMerge(LabelIndex(table), labels, RamonMerge(table), jobs)
        return Process(
            labels,
            ramon,
            volume,
            AnnotationReader(labels, ramon, volume),
            AnnotationMerger(labels, ramon, merges, volume),
        )


def disk_world(folder: Path, pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor]) -> ObjectWorld:
    return ObjectWorld(*disk_stores(folder), *pools)


@dataclass
class Model:
    """All labels of a channel at one time point, as whole arrays of each resolution.

    ``own`` are the voxels' labels, ``extra`` masks of voxels by extra label.
    """

    dataset: Dataset
    channel: Channel
    own: dict[int, np.ndarray] = field(default_factory=dict)
    extra: dict[int, dict[int, np.ndarray]] = field(default_factory=dict)
    time_point: int = 0

    def __post_init__(self) -> None:
        for level in self.dataset.pyramid.all_levels():
            self.own[level.resolution] = np.zeros(level.box.shape_zyx, self.channel.dtype)
            self.extra[level.resolution] = {}

    def paint(self, labels: LabelService, resolution: int, box: Box, label: int) -> None:
        """Overwrite a box, here and there."""
        where = box.slices_zyx()
        self.own[resolution][where] = label
        if label in self.extra[resolution]:
            self.extra[resolution][label][where] = False
        self._send(labels, resolution, box, label, Discipline.OVERWRITE)

    def add(self, labels: LabelService, resolution: int, box: Box, label: int) -> None:
        """Paint exceptions in a box, here and there."""
        own = self.own[resolution][box.slices_zyx()]
        masks = self.extra[resolution]
        mask = masks.setdefault(label, np.zeros(self.own[resolution].shape, np.bool_))
        mask[box.slices_zyx()] |= (own != 0) & (own != label)
        own[own == 0] = label
        self._send(labels, resolution, box, label, Discipline.EXCEPTION)

    def relabel(self, resolution: int, survivor: int, losers: list[int], box: Box) -> None:
        """Do what a merge does to a box, here only."""
        where, own = box.slices_zyx(), self.own[resolution]
        masks = self.extra[resolution]
        kept = masks.setdefault(survivor, np.zeros(own.shape, np.bool_))
        for loser in losers:
            own[where][own[where] == loser] = survivor
            if loser in masks:
                kept[where] |= masks[loser][where]
                masks[loser][where] = False
        kept &= own != survivor

    def mask(self, resolution: int, labels: list[int]) -> np.ndarray:
        """Return the voxels that are stored with one of some labels."""
        found = np.isin(self.own[resolution], np.array(labels, self.channel.dtype))
        for label in labels:
            found |= self.extra[resolution].get(label, np.False_)
        return found

    def shown(self, world: LabelWorld, resolution: int, labels: list[int]) -> np.ndarray:
        """Return the voxels that are shown with one of some labels."""
        base = self.mask(self.channel.resolution, labels)
        return self._zoomed(world, resolution, self.mask(resolution, labels), base)

    def shown_own(self, world: LabelWorld, resolution: int) -> np.ndarray:
        """Return the labels that a plain cutout of a whole resolution shows."""
        base = self.own[self.channel.resolution]
        return self._zoomed(world, resolution, self.own[resolution], base)

    def _zoomed(
        self, world: LabelWorld, resolution: int, found: np.ndarray, source: np.ndarray
    ) -> np.ndarray:
        """Return what a resolution shows of what it and the channel's own resolution hold."""
        base = self.channel.resolution
        finer = resolution < base
        if not (finer or (resolution > base and self.channel.propagate == 0)):
            return found
        for axis in range(3):
            if found.shape[axis] != source.shape[axis]:
                index = np.arange(found.shape[axis])
                shift = abs(resolution - base)
                source = source.take(index >> shift if finer else index << shift, axis)
        stored = self._is_stored(world, resolution)
        return np.where(stored, found, source)

    def _is_stored(self, world: LabelWorld, resolution: int) -> np.ndarray:
        level = self.dataset.pyramid.level(resolution)
        stored = np.zeros(level.box.shape_zyx, np.bool_)
        target = self.channel
        prefix = f"{target.project}/{target.name}/{target.uid}/{resolution}/{self.time_point}/"
        for info in world.objects.list(prefix):
            code = int(info.key.removeprefix(prefix), 16)
            start = [0, 0, 0]
            for bit in range(63):
                start[bit % 3] |= (code >> bit & 1) << bit // 3
            edges = [edge * target.cuboids_per_axis for edge in level.cuboid_xyz]
            x, y, z = (slice(n * e, (n + 1) * e) for n, e in zip(start, edges, strict=True))
            stored[z, y, x] = True
        return stored

    def _send(
        self, labels: LabelService, resolution: int, box: Box, label: int, how: Discipline
    ) -> None:
        place = region(self.dataset, box, self.time_point, resolution)
        labels.paint(self.channel, place, filled(box, label, self.channel.dtype), how)
