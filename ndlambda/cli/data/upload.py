"""Cuts an opened source into slabs for a volume, after checking bounds and dtype."""

from collections.abc import Iterator
from dataclasses import dataclass

from ingest_queue.images.fitting import may_fit
from ingest_queue.sources import Source
from ingest_queue.sources.fitted import FittedSource
from ndlambda.cli.data.label_checks import refuse_grey_labels, refuse_lossy_labels
from ndlambda.client import Block, Piece, Volume
from ndlambda.errors import DataTypeMismatchError, OutOfBoundsError
from ndlambda.space.box import XYZ, Box


def fit_source(source: Source, volume: Volume, *, cast: bool, labels_said: bool) -> Source:
    """Return a source in the dtype of a volume, checked plane by plane, if it may be converted.

    Parameters
    ----------
    cast
        Whether images are converted too; integer labels always are.
    labels_said
        Whether what goes into an annotation channel may look like an image.

    Raises
    ------
    DataTypeMismatchError
        It looks like an image, and the channel holds labels.
    """
    labels = volume.geometry.channel_type == "annotation"
    if labels and not labels_said:
        refuse_grey_labels(source)
    if source.dtype == volume.dtype or not (
        cast or may_fit(source.dtype, volume.dtype, labels=labels)
    ):
        return source
    return FittedSource(source, volume.dtype)


@dataclass(frozen=True, slots=True)
class StackUpload:
    """A source and its place in a volume.

    Attributes
    ----------
    corner_xyz
        Dataset coordinates of the source's first voxel.
    start_time
        Time point of the source's first one.
    slab_bytes
        Bytes of the source read at once, but at least one plane.

    Raises
    ------
    OutOfBoundsError
        Part of the source would lie outside the volume.
    DataTypeMismatchError
        The channel has another dtype (see ``fit_source``), or it has labels and the source is
        lossy.
    """

    source: Source
    volume: Volume
    corner_xyz: XYZ
    start_time: int
    slab_bytes: int

    def __post_init__(self) -> None:
        volume, box = self.volume.box, self.box
        if not box.within(volume):
            raise OutOfBoundsError(
                f"The data would fill {box.start_xyz} to {box.stop_xyz} (x,y,z), but resolution "
                f"{self.volume.resolution} of the dataset is {volume.start_xyz} to "
                f"{volume.stop_xyz}; check --offset and --resolution."
            )
        stop_time, (first, last) = self.start_time + self.source.shape_tzyx[0], self.volume.times
        if not first <= self.start_time < stop_time <= last:
            raise OutOfBoundsError(
                f"The data has the time points {self.start_time}:{stop_time}, the channel "
                f"{first}:{last}; check --time."
            )
        if self.volume.geometry.channel_type == "annotation":
            refuse_lossy_labels(self.source)
        given, wanted = self.source.dtype, self.volume.dtype
        if given != wanted:
            raise DataTypeMismatchError(
                f"The data is {given.name}, the channel {wanted.name}; put it into another "
                "channel, or convert it (--cast, where every value fits).",
                dtype=given.name,
                expected=wanted.name,
            )

    @property
    def box(self) -> Box:
        """The source's box in dataset coordinates."""
        _, z, y, x = self.source.shape_tzyx
        return Box.at(self.corner_xyz, (x, y, z))

    @property
    def voxels(self) -> int:
        """Number of voxels over all time points."""
        return self.box.voxels * self.source.shape_tzyx[0]

    def pieces(self) -> Iterator[Piece]:
        """Read the source slab by slab; slabs end at the server's storage boundaries."""
        (x0, y0, z0), (x1, y1, _) = self.box.start_xyz, self.box.stop_xyz
        for t in range(self.source.shape_tzyx[0]):
            time = self.start_time + t
            for start, stop in self._slabs():
                planes = self.source.read(t, start - z0, stop - z0)
                array = planes[None]
                yield Piece(Block(Box((x0, y0, start), (x1, y1, stop)), (time, time + 1)), array)

    def _slabs(self) -> Iterator[tuple[int, int]]:
        plane_bytes = self.box.shape_xyz[0] * self.box.shape_xyz[1] * self.volume.dtype.itemsize
        depth = self.volume.geometry.supercuboid_xyz[2]
        while depth > 1 and depth * plane_bytes > self.slab_bytes:
            depth //= 2
        origin = self.volume.box.start_xyz[2]
        start, stop = self.box.start_xyz[2], self.box.stop_xyz[2]
        while start < stop:
            end = min(stop, origin + ((start - origin) // depth + 1) * depth)
            yield start, end
            start = end
