"""The channel and level that a job writes, as currently catalogued, and the voxel writer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_queue.jobs.grid import ChunkGrid
from ingest_queue.jobs.job import Job, Mode
from ndlambda.errors import InvalidStateError, NotFoundError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.labels.service import LabelService
from ndlambda.services.volume.region import Region, layout_of
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import XYZ, Box
from ndlambda.space.pyramid import Level


@dataclass(frozen=True, slots=True)
class Target:
    """A job's channel and level."""

    dataset: Dataset
    channel: Channel
    level: Level

    @classmethod
    def of(cls, job: Job, catalog: Catalog) -> "Target":
        """Look up a job's channel.

        Raises
        ------
        InvalidStateError
            The channel was deleted (and perhaps created again) since the job was created.
        """
        try:
            dataset = catalog.get_dataset(job.dataset)
            channel = catalog.get_channel(job.project, job.channel)
        except NotFoundError:
            channel = None
        if channel is None or channel.uid != job.channel_uid:
            raise InvalidStateError(
                f"Channel {job.channel!r} of ingest job {job.id} was deleted.", job=job.id
            )
        return cls(dataset, channel, dataset.pyramid.level(job.resolution))

    @classmethod
    def of_all(cls, jobs: Sequence[Job], catalog: Catalog) -> "dict[str, Target]":
        """Look up the channels of jobs together, by job; those whose channel is gone are omitted.

        (A batch of rows, where ``of`` reads four.)
        """
        places = {job.id: (job.dataset, job.project, job.channel) for job in jobs}
        found = catalog.slices.channels_at(set(places.values()))
        named = ((job, *found[places[job.id]]) for job in jobs if places[job.id] in found)
        return {
            job.id: cls(dataset, channel, dataset.pyramid.level(job.resolution))
            for job, dataset, channel in named
            if channel.uid == job.channel_uid
        }

    @property
    def supercuboid_xyz(self) -> XYZ:
        """Edges of a supercuboid."""
        return layout_of(self.channel, self.level).supercuboid_xyz

    def grid(self, job: Job) -> ChunkGrid:
        """Return the chunks of a job."""
        if job.mode is Mode.CHUNKS:
            return ChunkGrid.of_chunks(job.box, job.times, self.supercuboid_xyz)
        z_offset = self.level.offset_xyz[2]
        return ChunkGrid.of_slices(job.box, job.times, self.supercuboid_xyz, z_offset)

    def region(self, box: Box, time_point: int) -> Region:
        """Return a box at one time point."""
        return Region(self.level, box, (time_point, time_point + 1))


class VoxelWriter:
    """Writes voxels of image and annotation channels through their services.

    Parameters
    ----------
    max_voxels
        Larger boxes are written in pieces, each at least one supercuboid wide.
    """

    def __init__(
        self, volume: VolumeService, labels: LabelService, max_voxels: int = 1 << 27
    ) -> None:
        self._volume = volume
        self._labels = labels
        self._max_voxels = max_voxels

    def check_writable(self, channel: Channel) -> None:
        """Check that a channel accepts writes now.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
        """
        self._volume.check_writable(channel)

    def write(
        self, target: Target, region: Region, voxels_zyx: NDArray[Any], *, replace_all: bool = False
    ) -> None:
        """Write the non-zero voxels of a (z, y, x) box; labels are indexed as they are painted.

        Idempotent. With ``replace_all`` all other voxels of the box become zero.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel accepts no writes now.
        """
        for box in self._pieces(target, region.box):
            piece = replace(region, box=box)
            voxels = voxels_zyx[box.slices_zyx(region.box.start_xyz)][None]
            if target.channel.is_annotation:
                self._labels.paint(target.channel, piece, voxels, Discipline.OVERWRITE)
            else:
                self._volume.write(target.channel, piece, voxels)
            if replace_all:
                self._clear(target, piece, voxels)

    def _clear(self, target: Target, region: Region, voxels_tzyx: NDArray[Any]) -> None:
        """Erase stored voxels where the box is zero."""
        if not target.channel.is_annotation:
            self._volume.clear(target.channel, region, voxels_tzyx)
            return
        stale = self._volume.read(target.dataset, target.channel, region)
        stale[voxels_tzyx != 0] = 0
        self._labels.paint(target.channel, region, stale, Discipline.REDUCE)

    def _pieces(self, target: Target, box: Box) -> Iterator[Box]:
        """Cut a box along x into pieces of whole supercuboids."""
        depth, height, across = box.shape_zyx
        edge = target.supercuboid_xyz[0]
        width = max(1, self._max_voxels // (depth * height * edge)) * edge
        x0, y0, z0 = box.start_xyz
        end = x0 + across
        while x0 < end:
            stop = min(end, (x0 // width + 1) * width)
            yield Box((x0, y0, z0), (stop, *box.stop_xyz[1:]))
            x0 = stop

    def read(self, target: Target, region: Region) -> NDArray[Any]:
        """Read a (z, y, x) box at one time point; a large one piece by piece."""
        pieces = list(self._pieces(target, region.box))
        voxels: NDArray[Any]
        if len(pieces) == 1:
            (voxels,) = self._volume.read(target.dataset, target.channel, region)
            return voxels
        voxels = np.empty(region.box.shape_zyx, target.channel.dtype)
        for box in pieces:
            (piece,) = self._volume.read(target.dataset, target.channel, replace(region, box=box))
            voxels[box.slices_zyx(region.box.start_xyz)] = piece
        return voxels
