"""How voxels of uploaded objects are cut into pieces."""

from typing import Any

import numpy as np

from ndlambda.model.discipline import Discipline
from ndlambda.services.annotation import paintings
from ndlambda.services.annotation.paintings import BlockPainting, PointPainting
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.volume.region import Region
from ndlambda.space.box import Box
from tests.support.label_world import DATASET, channel

VOLUME = LabelVolume(channel(), DATASET.pyramid.level(0), 0)


class Labels:
    """Notes what it is asked to paint."""

    def __init__(self) -> None:
        self.blocks: list[tuple[Box, np.ndarray]] = []
        self.lists: list[np.ndarray] = []

    def paint(self, _: object, region: Region, labels: np.ndarray, discipline: Discipline) -> None:
        assert discipline is Discipline.PRESERVE
        self.blocks.append((region.box, labels))

    def paint_voxels(self, _: object, points_xyz: np.ndarray, label: int, __: object) -> None:
        assert label == 7
        self.lists.append(points_xyz)


def painted(painting: BlockPainting | PointPainting) -> Labels:
    labels = Labels()
    service: Any = labels
    painting.paint(service, 7, Discipline.PRESERVE)
    return labels


def test_a_block_is_painted_in_layers_of_supercuboids_so_that_none_is_written_twice():
    box = Box((3, 4, 5), (13, 9, 40))
    mask = np.random.default_rng(1).integers(0, 2, box.shape_zyx)
    painting = BlockPainting(VOLUME, box, mask, np.count_nonzero(mask))
    blocks = painted(painting).blocks
    assert [(part.start_xyz[2], part.stop_xyz[2]) for part, _ in blocks] == [(5, 32), (32, 40)]
    assert np.array_equal(np.concatenate([labels[0] for _, labels in blocks]), mask * 7)
    assert all(labels.dtype == np.dtype("<u8") for _, labels in blocks)
    assert painting.nbytes >= max(labels.nbytes for _, labels in blocks)


def test_the_memory_of_a_block_does_not_grow_with_its_depth():
    shallow, deep = (
        BlockPainting(VOLUME, box, np.zeros(box.shape_zyx, "?"), 0)
        for box in (Box((0, 0, 0), (9, 9, 32)), Box((0, 0, 0), (9, 9, 1000)))
    )
    assert deep.nbytes == shallow.nbytes


def test_the_memory_of_a_list_does_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(paintings, "_POINTS_A_PIECE", 4)
    voxels = np.arange(33, dtype="<u4").reshape(11, 3)
    long, short = PointPainting(VOLUME, voxels), PointPainting(VOLUME, voxels[:4])
    assert long.nbytes == short.nbytes
    lists = painted(long).lists
    assert [len(some) for some in lists] == [4, 4, 3]
    assert np.array_equal(np.concatenate(lists), voxels)
