"""Objects uploaded with their voxels, on files and on the AWS stores."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from ndlambda.errors import (
    AlreadyExistsError,
    DataTypeMismatchError,
    InvalidArgumentError,
    NDLambdaError,
    NotFoundError,
    OutOfBoundsError,
    PayloadTooLargeError,
    ResolutionNotFoundError,
    ShapeMismatchError,
    ValidationError,
)
from ndlambda.model.ramon import Annotation, Neuron, Seed, Segment, Synapse
from ndlambda.services.annotation import paintings
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.space.box import XYZ, Box
from ndlambda.space.morton import AXIS_LIMIT
from ndlambda.stores.ports import MAX_TRANSACTION
from ndlambda.wire.ramon.contract import AnnotationVoxels, CuboidPart, RamonItem
from tests.support.annotation_world import DATASET, OFFSET, AnnotationWorld, block, points

NEW = WriteMode()
UPDATE = WriteMode(update=True)
DATA_ONLY = WriteMode(data_only=True)
REDUCE = WriteMode.from_words(["reduce"])
BOX = Box((100, 100, 10), (140, 140, 36))
"""In eight cuboids, of two layers of supercuboids."""


@pytest.fixture
def disk(annotations_on_disk):
    return annotations_on_disk


@pytest.fixture(params=["disk", "moto"])
def world(request):
    return request.getfixturevalue(f"annotations_on_{request.param}")


def everything(world: AnnotationWorld) -> Any:
    """Return all that is stored on disk."""
    table: Any = world.table
    with table._database.reading() as connection:
        rows = connection.execute("SELECT * FROM rows ORDER BY pk, sk").fetchall()
    objects = [(info.key, world.objects.get(info.key)) for info in world.objects.list("")]
    return rows, [(key, stored and stored.etag) for key, stored in objects]


def test_new_objects_get_ids_in_a_row_and_are_found_with_their_voxels(world):
    channel, writer = world.channel(), world.own.writer
    spots = [[1, 2, 3], [150, 2, 3], [150, 2, 3]]
    items = [
        block(Segment(author="a"), BOX),
        points(Synapse(segments=(1, 2)), spots),
        RamonItem(Seed(position=(1, 2, 3))),
    ]
    assert writer.upload(DATASET, channel, items, NEW) == [1, 2, 3]
    assert world.stored(channel) == [
        Segment(1, author="a"),
        Synapse(2, segments=(1, 2)),
        Seed(3, position=(1, 2, 3)),
    ]
    expected = np.zeros(DATASET.pyramid.level(0).box.shape_zyx, "<u4")
    expected[BOX.slices_zyx()] = 1
    expected[3, 2, [1, 150]] = 2
    assert np.array_equal(world.image(channel), expected)
    assert writer.upload(DATASET, channel, [RamonItem(Annotation())], NEW) == [4]


def test_the_later_object_of_a_body_lies_over_the_earlier(disk, monkeypatch):
    monkeypatch.setattr(paintings, "_POINTS_A_PIECE", 4)  # of a list, in parts
    channel, upload = disk.channel(), disk.own.writer.upload
    items = [block(Segment(9), BOX), points(Segment(3), [BOX.start_xyz]), block(Segment(5), BOX)]
    upload(DATASET, channel, items[:2], NEW)
    assert disk.image(channel)[10, 100, 100] == 3
    assert upload(DATASET, channel, [], NEW) == []
    line = points(Segment(8), [[x, 0, 0] for x in range(11)])
    upload(DATASET, channel, [items[2], line], NEW)
    assert disk.image(channel)[0, 0, :12].tolist() == [8] * 11 + [0]
    assert set(np.unique(disk.image(channel))) == {0, 5, 8}


def part(shape: tuple[int, ...]) -> CuboidPart:
    return CuboidPart((0, 0, 0), np.ones(shape, "<u4"))


def bare(ramon: Annotation, **values: Any) -> RamonItem:
    return RamonItem(ramon, AnnotationVoxels(**{"resolution": 0, **values}))


def listed(voxels: Any, dtype: str = "<u4", resolution: int = 0) -> RamonItem:
    return bare(Segment(), resolution=resolution, voxels_xyz=np.array(voxels, dtype))


def placed(cutout: np.ndarray, corner: XYZ = OFFSET) -> RamonItem:
    return bare(Segment(), corner_xyz=corner, cutout_zyx=cutout)


ONE = np.ones((1, 1, 1), "<u4")
BEFORE = (OFFSET[0] - 1, 30, 30)
LONG_PAIRS = {f"{number}": "x" * 9000 for number in range(8)}
FAULTS: dict[str, tuple[WriteMode, RamonItem, type[NDLambdaError]]] = {
    "used id": (NEW, RamonItem(Annotation(1, author="b")), AlreadyExistsError),
    "id of a deleted object": (NEW, RamonItem(Annotation(3)), AlreadyExistsError),
    "id wider than the voxels": (NEW, RamonItem(Annotation(1 << 32)), InvalidArgumentError),
    "id given twice": (NEW, RamonItem(Annotation(20)), InvalidArgumentError),
    "update of nothing": (UPDATE, RamonItem(Annotation(2)), NotFoundError),
    "update of a deleted object": (UPDATE, RamonItem(Annotation(3)), NotFoundError),
    "update without id": (UPDATE, RamonItem(Annotation()), InvalidArgumentError),
    "voxels without id": (DATA_ONLY, points(Annotation(), [[0, 0, 0]]), InvalidArgumentError),
    "seed with voxels": (NEW, points(Seed(), [[0, 0, 0]]), InvalidArgumentError),
    "neuron with voxels": (NEW, block(Neuron(), BOX), InvalidArgumentError),
    "block without corner": (NEW, RamonItem(Segment(), ignored=("CUTOUT",)), InvalidArgumentError),
    "block with no corner": (NEW, bare(Segment(), cutout_zyx=ONE), InvalidArgumentError),
    "cuboids": (NEW, bare(Segment(), cuboids=(part((1, 16, 128, 128)),)), InvalidArgumentError),
    "block before the offset": (NEW, placed(ONE, BEFORE), OutOfBoundsError),
    "block behind": (NEW, block(Segment(), Box((199, 0, 0), (201, 1, 1))), OutOfBoundsError),
    "voxel before the offset": (NEW, listed([[30, 30, 3]]), OutOfBoundsError),
    "voxel behind the image": (NEW, points(Segment(), [[0, 0, 0], [200, 0, 0]]), OutOfBoundsError),
    "voxel too far": (NEW, points(Segment(), [[0, AXIS_LIMIT, 0]]), OutOfBoundsError),
    "voxels of two columns": (NEW, listed([[1, 1]]), ShapeMismatchError),
    "voxels of no integers": (NEW, listed([[1, 1, 1]], "<f4"), DataTypeMismatchError),
    "block of two axes": (NEW, placed(ONE[0]), ShapeMismatchError),
    "block of no integers": (NEW, placed(ONE.astype("<f4")), DataTypeMismatchError),
    "unknown resolution": (NEW, listed([[50, 50, 50]], resolution=2), ResolutionNotFoundError),
    "refused value": (NEW, RamonItem(Segment(kvpairs={"ann_id": "1"})), ValidationError),
    "longer than a row": (NEW, RamonItem(Segment(kvpairs=LONG_PAIRS)), PayloadTooLargeError),
    "too many voxels": (NEW, points(Segment(), np.zeros((10_001, 3), int)), PayloadTooLargeError),
    "too many supercuboids": (
        NEW,
        points(Segment(), list(product((0, 128), (0, 128), (0, 16, 32)))),
        PayloadTooLargeError,
    ),
    "too large a block": (NEW, block(Segment(), BOX), PayloadTooLargeError),
}


def test_a_fault_in_the_last_item_leaves_everything_as_it_was(disk):
    channel = disk.channel(cuboids_per_axis=1)
    writer = disk.process(options=VolumeOptions(10_000, paint_supercuboids=9)).writer
    known = [points(Annotation(number), [[number, 0, 0]]) for number in (1, 3, 30)]
    writer.upload(DATASET, channel, known, NEW)
    writer.delete(channel, [3])
    before = everything(disk)
    for name, (mode, item, error) in FAULTS.items():
        good = points(Segment(30 if mode.update else 20), [[9, 9, 9]])
        with pytest.raises(error):
            writer.upload(DATASET, channel, [good, item], mode)
        assert everything(disk) == before, name


def test_zeros_of_a_block_may_reach_over_the_edge_as_those_of_whole_cuboids_do(disk):
    channel = disk.channel()
    box = Box((128, 128, 32), (256, 256, 48))
    mask = np.zeros(box.shape_zyx, np.bool_)
    mask[7, 2, 3:70] = True
    upload = disk.own.writer.upload
    upload(DATASET, channel, [block(Segment(6), box, cutout_zyx=mask)], NEW)
    assert np.argwhere(disk.image(channel)).tolist() == [[39, 130, x] for x in range(131, 198)]
    upload(DATASET, channel, [block(Segment(7), box, cutout_zyx=np.zeros_like(mask))], NEW)
    assert [ramon.id for ramon in disk.stored(channel)] == [6, 7]


def test_supercuboids_of_all_objects_of_a_body_are_counted(disk, monkeypatch):
    """Voxels painted together count a supercuboid once; painted one by one, each time."""
    channel = disk.channel()
    writer = disk.process(options=VolumeOptions(paint_supercuboids=4)).writer
    spots = [points(Segment(), [[n, 0, 0], [n, 0, 32]]) for n in range(3)]
    assert writer.upload(DATASET, channel, [*spots, block(Segment(), BOX)], NEW) == [1, 2, 3, 4]
    monkeypatch.setattr(paintings, "MAX_BATCH_VOXELS", 1)
    before = everything(disk)
    with pytest.raises(PayloadTooLargeError, match="6 supercuboids"):
        writer.upload(DATASET, channel, spots, NEW)
    assert everything(disk) == before


def test_an_upload_that_needs_more_memory_than_there_is_leaves_everything_as_it_was(disk):
    channel = disk.channel()
    small = disk.process(memory_bytes=100_000).writer
    before = everything(disk)
    with pytest.raises(PayloadTooLargeError, match="memory"):
        small.upload(
            DATASET, channel, [points(Segment(1), [[0, 0, 0]]), block(Segment(2), BOX)], NEW
        )
    assert everything(disk) == before


def test_a_body_that_was_stored_in_part_is_completed_and_a_complete_one_is_refused(disk):
    channel, writer = disk.channel(), disk.own.writer
    items = [points(Annotation(5, author="a"), [[0, 0, 0]]), points(Annotation(6), [[1, 0, 0]])]
    writer.upload(DATASET, channel, items[:1], NEW)
    changed = RamonItem(replace(items[0].ramon, author="b"))
    with pytest.raises(AlreadyExistsError):
        writer.upload(DATASET, channel, [changed, items[1]], NEW)
    assert writer.upload(DATASET, channel, items, NEW) == [5, 6]
    assert disk.stored(channel) == [item.ramon for item in items]
    with pytest.raises(AlreadyExistsError):
        writer.upload(DATASET, channel, items, NEW)


def test_more_objects_than_one_transaction_takes_are_all_stored(world):
    channel = world.channel()
    pairs = [{f"{key}": f"{number}" for key in range(6)} for number in range(20)]
    assert len(pairs) * len(pairs[0]) > MAX_TRANSACTION  # each pair is a row
    items = [RamonItem(Segment(kvpairs=each)) for each in pairs]
    assert world.own.writer.upload(DATASET, channel, items, NEW) == list(range(1, 21))
    assert [ramon.kvpairs for ramon in world.stored(channel)] == pairs
