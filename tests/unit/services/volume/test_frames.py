"""What a volume asks of a store that serves ranges, and that it never believes an old index."""

import numpy as np
import pytest

from ndlambda.cuboids import supercuboid
from ndlambda.cuboids.layout import cuboid_box, needed_slots
from ndlambda.errors import CuboidDecodeError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume import frames
from ndlambda.services.volume.region import Region, layout_of
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.disk import DiskObjectStore
from ndlambda.stores.ports import Overwrite, Range, Suffix

DATASET = Dataset("ds", (128, 128, 128), scaling=Scaling.ISOTROPIC)
LEVEL = DATASET.pyramid.level(0)
CHANNEL = Channel("p", "c", ChannelType.IMAGE, DataType.UINT8, uid="u")
LAYOUT = layout_of(CHANNEL, LEVEL)
KEY = "p/c/u/0/0/0000000000000000"
CUBOID = Box((0, 0, 0), (64, 64, 64))
HALF = Box((0, 0, 0), (128, 128, 64))
WHOLE = LEVEL.box


class Ranged:
    """Files whose readers ask for ranges as they do on S3; notes what they ask for."""

    whole_reads_are_cheap = False

    def __init__(self, objects: DiskObjectStore) -> None:
        self._objects = objects
        self.asked: list[type] = []
        self.before_get = lambda number: None

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def get(self, key, byte_range=None, *, if_match=None):
        self.asked.append(type(byte_range))
        self.before_get(len(self.asked))
        return self._objects.get(key, byte_range, if_match=if_match)

    def asked_since_last(self) -> list[type]:
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def objects(tmp_path):
    return DiskObjectStore(tmp_path, fsync=False)


@pytest.fixture
def store(objects):
    return Ranged(objects)


@pytest.fixture
def volume(store, executor):
    return VolumeService(store, executor, ByteBudget(1 << 30))


def voxels(seed: int, *slots: int) -> np.ndarray:
    array = np.zeros(WHOLE.shape_zyx, CHANNEL.dtype)
    for slot in slots or range(8):
        where = cuboid_box(LAYOUT, slot)
        random = np.random.default_rng([seed, slot])
        array[where.slices_zyx()] = random.integers(1, 99, where.shape_zyx)
    return array


def store_again(objects, array: np.ndarray, write: int = 1) -> None:
    boxes = {slot: cuboid_box(LAYOUT, slot) for slot in range(8)}
    cuboids = {slot: np.array(array[box.slices_zyx()]) for slot, box in boxes.items()}
    objects.put(KEY, supercuboid.splice(None, LAYOUT, cuboids, bytes([write]) * 16), Overwrite())


def read(volume, box: Box) -> np.ndarray:
    return volume.read(DATASET, CHANNEL, Region(LEVEL, box, (0, 1)))[0]


def test_a_small_object_is_read_whole_once_and_by_one_range_from_then_on(volume, store, objects):
    array = voxels(1)
    store_again(objects, array)
    later = [(box, Range) for box in (HALF, CUBOID, HALF.shifted((0, 0, 64)))]
    for box, asked in [(HALF, type(None)), *later, (WHOLE, type(None))]:
        np.testing.assert_array_equal(read(volume, box), array[box.slices_zyx()])
        assert store.asked_since_last() == [asked]


@pytest.fixture
def of_large_objects(monkeypatch):
    monkeypatch.setattr(frames, "WHOLE_UP_TO_BYTES", 0)


@pytest.mark.usefixtures("of_large_objects")
def test_of_a_large_object_the_index_is_read_first(volume, store, objects):
    array = voxels(1)
    store_again(objects, array)
    for asked in ([Suffix, Range], [Range]):
        np.testing.assert_array_equal(read(volume, CUBOID), array[:64, :64, :64])
        assert store.asked_since_last() == asked


@pytest.mark.parametrize("box", [CUBOID, HALF, WHOLE])
def test_what_others_wrote_since_is_read(volume, objects, box):
    """Seen to fail when ranges are asked for without the ETag of the index: a damaged frame."""
    for turn in range(3):
        array = voxels(turn)
        store_again(objects, array, turn)
        np.testing.assert_array_equal(read(volume, box), array[box.slices_zyx()])


@pytest.mark.parametrize("box", [CUBOID, HALF])
def test_a_cuboid_that_others_stored_since_or_an_object_deleted_since_is_read_so(
    volume, store, objects, box
):
    """Seen to fail when a remembered index without the cuboid is believed: zeros."""
    store_again(objects, voxels(1, 7))
    assert not read(volume, box).any()
    array = voxels(2)
    store_again(objects, array, 2)
    np.testing.assert_array_equal(read(volume, box), array[box.slices_zyx()])
    objects.delete(KEY)
    assert not read(volume, box).any()


def test_that_a_cuboid_is_still_not_stored_costs_the_index_only(volume, store, objects):
    store_again(objects, voxels(1, 7))
    read(volume, CUBOID)
    store.asked_since_last()
    assert not read(volume, CUBOID).any()
    assert store.asked_since_last() == [Suffix]


@pytest.mark.usefixtures("of_large_objects")
@pytest.mark.parametrize(("writes", "last", "asked"), [
    ([2], 2, [Suffix, Range] * 2), (range(1, 9), 7, [*[Suffix, Range] * 3, type(None)]),
], ids=["is read again", "always, is read whole"])  # fmt: skip
def test_a_ranged_read_torn_by_a_writer(volume, store, objects, writes, last, asked):
    store_again(objects, voxels(100), 100)
    write = lambda number: number in writes and store_again(objects, voxels(number), number)  # noqa: E731
    store.before_get = write
    np.testing.assert_array_equal(read(volume, CUBOID), voxels(last)[:64, :64, :64])
    assert store.asked == asked


def test_damage_is_an_error_with_a_remembered_index_too(volume, objects):
    store_again(objects, voxels(1))
    read(volume, CUBOID)
    body = bytearray(objects.get(KEY).data)
    body[len(body) // 16] ^= 1
    objects.put(KEY, bytes(body), Overwrite())
    for _ in range(2):  # the second time the index is remembered
        with pytest.raises(CuboidDecodeError):
            read(volume, CUBOID)


def test_of_many_objects_the_ones_read_last_are_remembered(store, objects, monkeypatch):
    """Seen to fail without the bound."""
    monkeypatch.setattr(frames, "_MAX_ENTRIES", 16)
    store_again(objects, voxels(1))
    keys = [f"p/c/u/0/0/{number:016x}" for number in range(3)]
    for key in keys[1:]:
        objects.put(key, objects.get(KEY).data, Overwrite())
    reader = frames.FrameReader(store)
    parts = needed_slots(LAYOUT, CUBOID)

    def asked_for(key: str) -> list[type]:
        reader.read(key, LAYOUT, parts)
        return store.asked_since_last()

    assert [asked_for(key) for key in keys] == [[type(None)]] * 3
    assert asked_for(keys[2]) == asked_for(keys[1]) == [Range]
    assert asked_for(keys[0]) == [type(None)]
    assert asked_for(keys[1]) == [Range]
    assert asked_for(keys[2]) == [type(None)]


def test_an_old_index_is_not_believed_where_the_store_overlooks_the_condition(
    volume, store, objects, monkeypatch
):
    """Some look-alikes of S3 do. Seen to fail without the look at the ETag of the answer."""
    store_again(objects, voxels(1))
    read(volume, CUBOID)
    get = lambda key, byte_range=None, *, if_match=None: objects.get(key, byte_range)  # noqa: E731
    monkeypatch.setattr(store, "get", get)
    array = voxels(2)
    store_again(objects, array, 2)
    np.testing.assert_array_equal(read(volume, CUBOID), array[:64, :64, :64])
