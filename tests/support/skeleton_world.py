"""The skeletons of one channel on a table of files, with deaths as planned."""

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ndlambda.model.catalog import Channel
from ndlambda.services.annotation.skeletons import SkeletonService
from ndlambda.services.labels.ids import LabelIds
from ndlambda.services.volume.service import VolumeService
from tests.support.faults import FaultPlan, Faulty
from tests.support.ramon_world import RamonWorld, disk_world


class Writable:
    """Lets everybody write; stands where the volume is."""

    def check_writable(self, channel: Channel) -> None:
        """Refuse nothing."""


@dataclass
class SkeletonWorld:
    ramon: RamonWorld

    def skeletons(self, executor: Executor, plan: FaultPlan | None = None) -> SkeletonService:
        """Return the service of another process, which dies as planned."""
        table: Any = self.ramon.table if plan is None else Faulty(self.ramon.table, plan)
        volume = cast(VolumeService, Writable())
        return SkeletonService(self.ramon.ramon(plan), LabelIds(table), volume, executor)


def skeleton_world(folder: Path) -> SkeletonWorld:
    return SkeletonWorld(disk_world(folder))
