"""Where one supercuboid is, what it holds before it is first written, and what is said of a change.

These are the seams for what comes behind and beside a channel: another source of voxels answers in
``read_absent``; a history, a change feed or statistics listen to ``SupercuboidChange``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from ndlambda.errors import CuboidDecodeError
from ndlambda.model.catalog import Channel
from ndlambda.services.volume.region import Region, layout_of, object_key
from ndlambda.space import morton
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Level
from ndlambda.stores.ports import ObjectStore, Range, StoredObject


@dataclass(frozen=True, slots=True)
class SupercuboidPlace:
    """One supercuboid of a channel.

    Attributes
    ----------
    level, neariso
        The resolution, and whether its near-isotropic variant is meant.
    code
        Morton code of the supercuboid.
    """

    channel: Channel
    level: Level
    time_point: int
    code: int
    neariso: bool = False

    @property
    def key(self) -> str:
        """The key of its object."""
        region = Region(
            self.level, self.level.box, (self.time_point, self.time_point + 1), self.neariso
        )
        return object_key(self.channel, region, self.time_point, self.code)

    @property
    def box(self) -> Box:
        """Its voxels, zero-based, at its level; supercuboids at far edges leave the volume."""
        (x, y, z), edges = morton.decode(self.code), layout_of(self.channel, self.level)
        width, height, depth = edges.supercuboid_xyz
        return Box.at((x * width, y * height, z * depth), edges.supercuboid_xyz)

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Add the key of the object to errors of decoding it.

        Raises
        ------
        CuboidDecodeError
            The object is damaged.
        """
        try:
            yield
        except CuboidDecodeError as error:
            message = f"{error.message} The object is {self.key}."
            raise CuboidDecodeError(message, **error.details, key=self.key) from error


@dataclass(frozen=True, slots=True)
class SupercuboidChange:
    """A supercuboid was replaced.

    Attributes
    ----------
    box
        Voxels outside of it did not change; zero-based, at the place's level.
    labels
        Labels that appeared in a cuboid or vanished from one; empty for images.
    old_etag, new_etag
        Of the object before (None: it was never written) and after.
    """

    place: SupercuboidPlace
    box: Box
    labels: frozenset[int]
    old_etag: str | None
    new_etag: str


OnChange: TypeAlias = Callable[[SupercuboidChange], None]
"""Called behind every replacement, by the thread that wrote.

At least once for each, unless the process dies between the write and the call.
"""


def ignore_change(change: SupercuboidChange) -> None:
    """Do nothing about a change."""


def read_stored(
    objects: ObjectStore, place: SupercuboidPlace, part: Range | None = None
) -> StoredObject | None:
    """Read a supercuboid, or a range of its object; None where all its voxels are zero.

    Erased is not absent: erasing leaves an empty shard, which is returned.
    """
    stored = objects.get(place.key, part)
    return read_absent(place) if stored is None else stored


def read_absent(place: SupercuboidPlace) -> StoredObject | None:
    """Return what a supercuboid that was never written holds; None means zeros.

    The object has an empty ETag, since none is stored.
    """
    del place
    return None
