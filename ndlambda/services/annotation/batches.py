"""What several objects of one upload paint, in as few changes of supercuboids as can be.

A body of many small objects, as detectors of synapses send it, touches the same supercuboids again
and again. Painted object by object, each of them would be read and written once an object: 1000
objects in two supercuboids took 14 seconds of work on files, and more than a minute of round trips
on S3. Small objects that follow one another are painted together, voxel by voxel in the order of
the objects, so that the outcome is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ndlambda.model.discipline import Discipline
from ndlambda.services.annotation.paintings import BYTES_A_POINT, Painting
from ndlambda.services.labels.service import LabelService

TOGETHER: Final = 1 << 18
"""Most voxels that are painted as one list; larger objects are painted by themselves."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is painted together.

    Attributes
    ----------
    paintings
        With the index of the object that each belongs to, in the order of painting.
    """

    paintings: tuple[tuple[int, Painting], ...]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that painting takes."""
        if len(self.paintings) == 1:
            return self.paintings[0][1].nbytes
        return sum(painting.count for _, painting in self.paintings) * BYTES_A_POINT

    @property
    def supercuboids(self) -> int:
        """How many supercuboids painting changes."""
        found: dict[int, set[int]] = {}
        for _, painting in self.paintings:
            for touched in painting.touched():
                found.setdefault(touched.resolution, set()).update(touched.codes)
        return sum(map(len, found.values()))

    def paint(self, labels: LabelService, ids: Sequence[int], discipline: Discipline) -> None:
        """Paint objects that have these ids. May be repeated."""
        if len(self.paintings) == 1:
            ((index, painting),) = self.paintings
            painting.paint(labels, ids[index], discipline)
            return
        # Volumes share no voxel, so only the order in each matters.
        for volume in dict.fromkeys(painting.volume for _, painting in self.paintings):
            own = [each for each in self.paintings if each[1].volume == volume]
            names = np.array([ids[index] for index, _ in own], volume.layout.dtype)
            points = [painting.points() for _, painting in own]
            each = np.repeat(names, [len(some) for some in points])
            labels.paint_voxels(volume, np.concatenate(points), each, discipline)


def batches(paintings: Sequence[Sequence[Painting]], most: int) -> list[Batch]:
    """Put what objects paint into batches, in the order of the objects.

    Parameters
    ----------
    paintings
        Of each object.
    most
        Voxels that one call may paint.
    """
    found: list[list[tuple[int, Painting]]] = []
    most, room = min(most, TOGETHER), 0
    for index, several in enumerate(paintings):
        for painting in several:
            if not found or painting.count > room:
                found.append([])
                room = most
            found[-1].append((index, painting))
            room -= painting.count
    return [Batch(tuple(some)) for some in found]
