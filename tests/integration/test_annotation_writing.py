"""Objects uploaded with their voxels, on files and on the AWS stores."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ndlambda.errors import (
    AlreadyExistsError,
    DataTypeMismatchError,
    InvalidArgumentError,
    InvalidStateError,
    NDLambdaError,
    NotFoundError,
    OutOfBoundsError,
    PayloadTooLargeError,
    ReadOnlyChannelError,
    ResolutionNotFoundError,
    ShapeMismatchError,
    ValidationError,
)
from ndlambda.model.discipline import Discipline
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.propagation import PropagateState
from ndlambda.model.ramon import Annotation, Neuron, Seed, Segment, Synapse
from ndlambda.services.annotation import batches, paintings
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.space.box import Box
from ndlambda.space.morton import AXIS_LIMIT
from ndlambda.stores.ports import MAX_TRANSACTION
from ndlambda.wire.ramon.contract import AnnotationVoxels, CuboidPart, RamonItem
from tests.support.annotation_world import (
    DATASET,
    OFFSET,
    AnnotationWorld,
    block,
    points,
)
from tests.support.label_world import points_of

NEW = WriteMode()
UPDATE = WriteMode(update=True)
DATA_ONLY = WriteMode(data_only=True)
REDUCE = WriteMode.from_words(["reduce"])
BOX = Box((100, 100, 10), (140, 140, 36))
"""In eight cuboids, of two layers of supercuboids."""


@pytest.fixture
def disk(annotations_on_disk: AnnotationWorld) -> AnnotationWorld:
    return annotations_on_disk


@pytest.fixture(params=["disk", "moto"])
def world(request: pytest.FixtureRequest) -> AnnotationWorld:
    on_store: AnnotationWorld = request.getfixturevalue(f"annotations_on_{request.param}")
    return on_store


def everything(world: AnnotationWorld) -> Any:
    """Return all that is stored on disk."""
    table: Any = world.table
    with table._database.reading() as connection:
        rows = connection.execute("SELECT * FROM rows ORDER BY pk, sk").fetchall()
    objects = [(info.key, world.objects.get(info.key)) for info in world.objects.list("")]
    return rows, [(key, stored and stored.etag) for key, stored in objects]


def test_new_objects_get_ids_in_a_row_and_are_found_with_their_voxels(
    world: AnnotationWorld,
) -> None:
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


def test_ids_of_a_body_are_reserved_at_once_above_those_that_were_chosen(
    disk: AnnotationWorld,
) -> None:
    channel, writer = disk.channel(), disk.own.writer
    items = [RamonItem(Annotation(number)) for number in (0, 50, 0, 7)]
    assert writer.upload(DATASET, channel, items, NEW) == [51, 50, 52, 7]
    assert writer.reserve(channel, 10) == 53
    assert writer.upload(DATASET, channel, [RamonItem(Annotation())], NEW) == [63]


def test_the_later_object_of_a_body_lies_over_the_earlier(disk: AnnotationWorld) -> None:
    channel = disk.channel()
    items = [block(Segment(9), BOX), points(Segment(3), [BOX.start_xyz]), block(Segment(5), BOX)]
    disk.own.writer.upload(DATASET, channel, items[:2], NEW)
    assert disk.image(channel)[10, 100, 100] == 3
    disk.own.writer.upload(DATASET, channel, items[2:], NEW)
    assert set(np.unique(disk.image(channel))) == {0, 5}


def test_preserve_and_exception_meet_voxels_as_they_say(disk: AnnotationWorld) -> None:
    channel, writer = disk.channel(), disk.own.writer
    over = Box((138, 138, 10), (142, 142, 12))
    writer.upload(DATASET, channel, [block(Segment(1), BOX)], NEW)
    preserve, exception = (WriteMode(Discipline(word)) for word in ("preserve", "exception"))
    writer.upload(DATASET, channel, [block(Segment(2), over)], preserve)
    image = disk.image(channel)
    assert (image == 1).sum() == BOX.voxels
    assert (image == 2).sum() == over.voxels - 2 * 2 * 2
    writer.upload(DATASET, channel, [block(Segment(3), over)], exception)
    volume = LabelVolume(channel, DATASET.pyramid.level(0), 0)
    assert len(points_of(disk.own.labels, volume, 3)) == over.voxels
    assert (disk.image(channel) == 1).sum() == BOX.voxels


def test_without_exceptions_a_list_leaves_other_labels_and_a_block_is_refused(
    disk: AnnotationWorld,
) -> None:
    channel, writer = disk.channel(exceptions=False), disk.own.writer
    mode = WriteMode(Discipline.EXCEPTION)
    writer.upload(DATASET, channel, [points(Segment(1), [[0, 0, 0]])], NEW)
    writer.upload(DATASET, channel, [points(Segment(2), [[0, 0, 0], [1, 0, 0]])], mode)
    assert disk.image(channel)[0, 0, :3].tolist() == [1, 2, 0]
    with pytest.raises(InvalidArgumentError, match="no exceptions"):
        writer.upload(DATASET, channel, [block(Segment(3), BOX)], mode)


@pytest.mark.parametrize("dtype", ["u1", "<i2", "<u8", "?"])
def test_every_voxel_of_a_block_that_is_not_zero_belongs_to_the_object(
    disk: AnnotationWorld, dtype: str
) -> None:
    """Zeros may reach over the image's edge, as those of whole cuboids do."""
    channel = disk.channel()
    box = Box((128, 128, 32), (256, 256, 48))
    mask = np.zeros(box.shape_zyx, dtype)
    mask[1, 2, 3:70] = 1
    mask[7, 2, 3] = 100
    disk.own.writer.upload(DATASET, channel, [block(Segment(6), box, cutout_zyx=mask)], NEW)
    z, y, x = np.nonzero(disk.image(channel))
    assert set(zip(x.tolist(), y.tolist(), z.tolist(), strict=True)) == {
        *((x, 130, 33) for x in range(131, 198)),
        (131, 130, 39),
    }
    disk.own.writer.upload(
        DATASET, channel, [block(Segment(7), box, cutout_zyx=np.zeros_like(mask))], NEW
    )
    assert [ramon.id for ramon in disk.stored(channel)] == [6, 7]


def test_coordinates_are_absolute_at_their_own_resolution(disk: AnnotationWorld) -> None:
    channel = disk.channel()
    mask = np.ones((1, 1, 1), "<u4")
    data = AnnotationVoxels(
        1, np.array([[6, 11, 5]], "<u4"), corner_xyz=(5, 10, 4), cutout_zyx=mask
    )
    disk.own.writer.upload(DATASET, channel, [RamonItem(Segment(8), data)], NEW)
    z, y, x = np.nonzero(disk.image(channel, 1))
    assert set(zip(x.tolist(), y.tolist(), z.tolist(), strict=True)) == {(0, 0, 0), (1, 1, 1)}
    assert not disk.image(channel, 0).any()


def test_voxels_of_a_list_may_lie_outside_the_image(disk: AnnotationWorld) -> None:
    """As ndstore's own test of update paints them."""
    channel = disk.channel()
    far = [[5, 5, 1848], [AXIS_LIMIT - 1, 0, 0]]
    disk.own.writer.upload(DATASET, channel, [points(Segment(8), far)], NEW)
    volume = LabelVolume(channel, DATASET.pyramid.level(0), 0)
    found = points_of(disk.own.labels, volume, 8)
    assert sorted(found.tolist()) == sorted(far)


def test_a_long_list_is_painted_in_parts(
    disk: AnnotationWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paintings, "_POINTS_AT_ONCE", 4)
    channel = disk.channel()
    line = [[x, 0, 0] for x in range(11)]
    disk.own.writer.upload(DATASET, channel, [points(Segment(8), line)], NEW)
    assert disk.image(channel)[0, 0, :12].tolist() == [8] * 11 + [0]


def test_an_update_replaces_the_object_wholly_and_adds_its_voxels(world: AnnotationWorld) -> None:
    channel, writer = world.channel(), world.own.writer
    first = points(Segment(4, author="a", kvpairs={"k": "v"}), [[0, 0, 0]])
    writer.upload(DATASET, channel, [first, RamonItem(Annotation(5))], NEW)
    update = [points(Synapse(4, weight=0.5), [[1, 0, 0]]), RamonItem(Annotation(5, status=2))]
    assert writer.upload(DATASET, channel, update, UPDATE) == [4, 5]
    assert world.stored(channel) == [Synapse(4, weight=0.5), Annotation(5, status=2)]
    assert world.image(channel)[0, 0, :3].tolist() == [4, 4, 0]


def test_voxels_alone_need_no_object_and_change_none(disk: AnnotationWorld) -> None:
    channel, writer = disk.channel(), disk.own.writer
    writer.upload(DATASET, channel, [RamonItem(Segment(4, author="a"))], NEW)
    items = [points(Annotation(4), [[0, 0, 0], [1, 0, 0]]), points(Annotation(9), [[2, 0, 0]])]
    assert writer.upload(DATASET, channel, items, DATA_ONLY) == []
    assert disk.image(channel)[0, 0, :4].tolist() == [4, 4, 9, 0]
    assert writer.upload(DATASET, channel, [points(Annotation(4), [[1, 0, 0]])], REDUCE) == []
    assert disk.image(channel)[0, 0, :4].tolist() == [4, 0, 9, 0]
    assert disk.stored(channel) == [Segment(4, author="a")]
    assert writer.reserve(channel, 1) == 10


def part(shape: tuple[int, ...]) -> CuboidPart:
    return CuboidPart((0, 0, 0), np.ones(shape, "<u4"))


def bare(ramon: Annotation, **values: Any) -> RamonItem:
    return RamonItem(ramon, AnnotationVoxels(**{"resolution": 0, **values}))


ONE = np.ones((1, 1, 1), "<u4")
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
    "block without corner": (
        NEW,
        RamonItem(Segment(), ignored=("CUTOUT",)),
        InvalidArgumentError,
    ),
    "block with no corner": (NEW, bare(Segment(), cutout_zyx=ONE), InvalidArgumentError),
    "cuboids": (NEW, bare(Segment(), cuboids=(part((1, 16, 128, 128)),)), InvalidArgumentError),
    "block before the offset": (
        NEW,
        bare(Segment(), corner_xyz=(OFFSET[0] - 1, 30, 30), cutout_zyx=ONE),
        OutOfBoundsError,
    ),
    "block behind the image": (
        NEW,
        block(Segment(), Box((199, 0, 0), (201, 1, 1))),
        OutOfBoundsError,
    ),
    "voxel before the offset": (
        NEW,
        bare(Segment(), voxels_xyz=np.array([[30, 30, 3]], "<u4")),
        OutOfBoundsError,
    ),
    "voxel too far": (NEW, points(Segment(), [[0, AXIS_LIMIT, 0]]), OutOfBoundsError),
    "voxels of two columns": (
        NEW,
        bare(Segment(), voxels_xyz=np.ones((1, 2), "<u4")),
        ShapeMismatchError,
    ),
    "voxels of no integers": (
        NEW,
        bare(Segment(), voxels_xyz=np.ones((1, 3), "<f4")),
        DataTypeMismatchError,
    ),
    "block of two axes": (
        NEW,
        bare(Segment(), corner_xyz=OFFSET, cutout_zyx=ONE[0]),
        ShapeMismatchError,
    ),
    "block of no integers": (
        NEW,
        bare(Segment(), corner_xyz=OFFSET, cutout_zyx=ONE.astype("<f4")),
        DataTypeMismatchError,
    ),
    "unknown resolution": (
        NEW,
        bare(Segment(), resolution=2, voxels_xyz=np.array([[50, 50, 50]], "<u4")),
        ResolutionNotFoundError,
    ),
    "refused value": (NEW, RamonItem(Segment(kvpairs={"ann_id": "1"})), ValidationError),
    "object longer than a row": (
        NEW,
        RamonItem(Segment(kvpairs={f"{number}": "x" * 9000 for number in range(8)})),
        PayloadTooLargeError,
    ),
    "more voxels than a call paints": (
        NEW,
        points(Segment(), np.zeros((10_001, 3), int)),
        PayloadTooLargeError,
    ),
    "voxels in more supercuboids than a call paints": (
        NEW,
        points(Segment(), [[256 * n, 0, 0] for n in range(10)]),
        PayloadTooLargeError,
    ),
    "block larger than a call paints": (NEW, block(Segment(), BOX), PayloadTooLargeError),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_last_item_leaves_everything_as_it_was(
    disk: AnnotationWorld, name: str
) -> None:
    channel = disk.channel()
    writer = disk.process(options=VolumeOptions(10_000, paint_supercuboids=9)).writer
    known = [points(Annotation(number), [[number, 0, 0]]) for number in (1, 3, 30)]
    writer.upload(DATASET, channel, known, NEW)
    writer.delete(channel, [3])
    mode, item, error = FAULTS[name]
    good = points(Segment(30 if mode.update else 20), [[9, 9, 9]])
    before = everything(disk)
    with pytest.raises(error):
        writer.upload(DATASET, channel, [good, item], mode)
    assert everything(disk) == before


def test_supercuboids_of_all_objects_of_a_body_are_counted(
    disk: AnnotationWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Voxels painted together count a supercuboid once; painted one by one, each time."""
    channel = disk.channel()
    writer = disk.process(options=VolumeOptions(paint_supercuboids=4)).writer
    spots = [points(Segment(), [[n, 0, 0], [n + 256, 0, 0]]) for n in range(3)]
    assert writer.upload(DATASET, channel, [*spots, block(Segment(), BOX)], NEW) == [1, 2, 3, 4]
    monkeypatch.setattr(batches, "TOGETHER", 1)
    before = everything(disk)
    with pytest.raises(PayloadTooLargeError, match="6 supercuboids"):
        writer.upload(DATASET, channel, spots, NEW)
    assert everything(disk) == before


def test_an_upload_that_needs_more_memory_than_there_is_leaves_everything_as_it_was(
    disk: AnnotationWorld,
) -> None:
    channel = disk.channel()
    small = disk.process(memory_bytes=100_000).writer
    before = everything(disk)
    with pytest.raises(PayloadTooLargeError, match="memory"):
        small.upload(
            DATASET, channel, [points(Segment(1), [[0, 0, 0]]), block(Segment(2), BOX)], NEW
        )
    assert everything(disk) == before


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"readonly": True}, ReadOnlyChannelError),
        ({"propagate": PropagateState.UNDER_PROPAGATION}, InvalidStateError),
    ],
)
def test_a_channel_that_takes_no_writes_refuses_all(
    disk: AnnotationWorld, changes: dict[str, Any], error: type[NDLambdaError]
) -> None:
    channel, writer = disk.channel(), disk.own.writer
    writer.upload(DATASET, channel, [points(Annotation(1), [[0, 0, 0]])], NEW)
    closed = replace(channel, **changes)
    before = everything(disk)
    calls: list[Callable[[], object]] = [
        lambda: writer.upload(DATASET, closed, [RamonItem(Annotation())], NEW),
        lambda: writer.upload(DATASET, closed, [RamonItem(Annotation(1))], UPDATE),
        lambda: writer.upload(DATASET, closed, [points(Annotation(1), [[1, 0, 0]])], DATA_ONLY),
        lambda: writer.reserve(closed, 1),
        lambda: writer.delete(closed, [1]),
    ]
    for call in calls:
        with pytest.raises(error):
            call()
    assert everything(disk) == before


def test_an_image_channel_has_no_objects(disk: AnnotationWorld) -> None:
    changes = {"channel_type": ChannelType.IMAGE, "datatype": DataType.UINT32, "exceptions": False}
    channel, writer = disk.channel("em", **changes), disk.own.writer
    with pytest.raises(InvalidArgumentError, match="no annotation channel"):
        writer.upload(DATASET, channel, [], NEW)
    with pytest.raises(InvalidArgumentError, match="no annotation channel"):
        writer.reserve(channel, 1)
    with pytest.raises(InvalidArgumentError, match="no annotation channel"):
        writer.delete(channel, [1])


def test_an_upload_of_nothing_is_nothing(disk: AnnotationWorld) -> None:
    assert disk.own.writer.upload(DATASET, disk.channel(), [], NEW) == []


def test_a_body_that_was_stored_in_part_is_completed_and_a_complete_one_is_refused(
    disk: AnnotationWorld,
) -> None:
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


def test_more_objects_than_one_transaction_takes_are_all_stored(world: AnnotationWorld) -> None:
    channel = world.channel()
    pairs = [{f"{key}": f"{number}" for key in range(6)} for number in range(20)]
    assert len(pairs) * len(pairs[0]) > MAX_TRANSACTION  # each pair is a row
    items = [RamonItem(Segment(kvpairs=each)) for each in pairs]
    assert world.own.writer.upload(DATASET, channel, items, NEW) == list(range(1, 21))
    assert [ramon.kvpairs for ramon in world.stored(channel)] == pairs
