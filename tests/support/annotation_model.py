"""What a channel of annotations holds, as whole numpy arrays and a dictionary of objects.

It says what calls change and what readers find, by other means than the code under test: every
voxel is there, nothing is indexed, and each question looks at everything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ndlambda.model.catalog import Channel
from ndlambda.model.discipline import Discipline
from ndlambda.model.ramon import (
    Annotation,
    Neuron,
    Organelle,
    Segment,
    Synapse,
    with_references_moved,
)
from ndlambda.services.annotation.options import WriteMode
from ndlambda.space.box import Box
from ndlambda.voxels.paint import distinct
from ndlambda.wire.ramon.contract import RamonItem
from tests.support.annotation_world import DATASET
from tests.support.object_world import Model

LEVELS = DATASET.pyramid.all_levels()


@dataclass
class AnnotationModel:
    """All voxels and objects of a channel whose own resolution is 0.

    Attributes
    ----------
    times
        The voxels at each time point.
    objects
        The living ones.
    gone
        Ids of deleted objects (0), and of those that went into another one (its id).
    """

    channel: Channel
    times: list[Model] = field(init=False)
    objects: dict[int, Annotation] = field(default_factory=dict)
    gone: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.times = [
            Model(DATASET, self.channel, time_point=time)
            for time in range(self.channel.starttime, self.channel.endtime)
        ]

    # changes

    def paint(
        self, time: int, resolution: int, mask: np.ndarray, label: int, how: Discipline
    ) -> None:
        """Paint a label where a mask of the whole resolution says."""
        volume = self.times[time]
        own = volume.own[resolution]
        extra = volume.extra[resolution].setdefault(label, np.zeros(own.shape, np.bool_))
        if how is Discipline.REDUCE:
            own[mask & (own == label)] = 0
            extra[mask] = False
            return
        beside = how in {Discipline.PRESERVE, Discipline.EXCEPTION}
        written = mask & (own == 0) if beside else mask
        own[written] = label
        extra[written] = False
        if how is Discipline.EXCEPTION and self.channel.exceptions:
            extra |= mask & (own != label)

    def upload(
        self,
        ramons: Sequence[Annotation],
        masks: Iterable[tuple[int, int, np.ndarray]],
        how: WriteMode,
    ) -> None:
        """Take objects that have ids, and paint ``(label, resolution, mask)`` in this order."""
        for label, resolution, mask in masks:
            self.paint(0, resolution, mask, label, how.discipline)
        if not how.data_only:
            self.objects.update((ramon.id, ramon) for ramon in ramons)

    def delete(self, ids: Sequence[int]) -> None:
        for number in ids:
            if self.objects.pop(number, None) is not None:
                self.gone[number] = 0
            for volume in self.times:
                for resolution, own in volume.own.items():
                    own[own == number] = 0
                    volume.extra[resolution].pop(number, None)

    def merge(self, survivor: int, losers: Sequence[int], resolutions: Sequence[int]) -> None:
        for volume in self.times:
            for resolution in resolutions:
                box = LEVELS[resolution].box
                volume.relabel(resolution, survivor, list(losers), box)
        for loser in losers:
            self.objects.pop(loser, None)
            self.gone[loser] = survivor
        for number, ramon in self.objects.items():
            self.objects[number] = with_references_moved(ramon, frozenset(losers), survivor)

    # what is found

    @property
    def labels(self) -> list[int]:
        """All labels that any voxel has."""
        found: set[int] = set()
        for volume in self.times:
            for resolution, own in volume.own.items():
                masks = volume.extra[resolution].items()
                found |= distinct(own) | {label for label, mask in masks if mask.any()}
        return sorted(found)

    def labels_of(self, number: int) -> list[int]:
        """Return the labels of an object's voxels."""
        if isinstance(self.objects[number], Neuron):
            return self.derived(number)["segments"]
        return [number]

    def labels_in(self, world, time: int, resolution: int, box: Box) -> list[int]:
        """Return the labels that are shown in a box."""
        volume, where = self.times[time], box.slices_zyx()
        return [n for n in self.labels if volume.shown(world, resolution, [n])[where].any()]

    def exceptions_in(self, time: int, resolution: int, box: Box) -> dict[tuple, list[int]]:
        """Return own label and extra ones by voxel (x, y, z)."""
        volume, where = self.times[time], box.slices_zyx()
        found: dict[tuple, list[int]] = {}
        for label, mask in sorted(volume.extra[resolution].items()):
            for zyx in np.argwhere(mask[where]) + box.start_xyz[::-1]:
                z, y, x = zyx.tolist()
                own = int(volume.own[resolution][z, y, x])
                found.setdefault((x, y, z), [own]).append(label)
        return found

    def derived(self, number: int) -> dict[str, list[int]]:
        """Return the lists of an object that others refer to."""

        def referring(kind: type, name: str) -> list[int]:
            return [
                n
                for n, other in sorted(self.objects.items())
                if isinstance(other, kind) and number in np.atleast_1d(getattr(other, name))
            ]

        match self.objects[number]:
            case Neuron():
                return {"segments": referring(Segment, "neuron")}
            case Segment():
                return {
                    "synapses": referring(Synapse, "segments"),
                    "presynapses": referring(Synapse, "presegments"),
                    "postsynapses": referring(Synapse, "postsegments"),
                    "organelles": referring(Organelle, "segment"),
                }
        return {}


def assigned(items: Sequence[RamonItem], last: int) -> list[Annotation]:
    """Return the objects of a body with their ids; ``last`` is the largest that was used before."""
    last = max([last, *(item.ramon.id for item in items)])
    found = []
    for item in items:
        if item.ramon.id:
            found.append(item.ramon)
        else:
            last += 1
            found.append(replace(item.ramon, id=last))
    return found
