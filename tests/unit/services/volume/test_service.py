from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from ndlambda.errors import (
    CuboidDecodeError,
    InvalidStateError,
    OutOfBoundsError,
    PayloadTooLargeError,
    PreconditionFailedError,
    ReadOnlyChannelError,
    UpstreamError,
    WriteContentionError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.disk import DiskObjectStore
from ndlambda.stores.ports import Overwrite
from ndlambda.testing.counting import CountingObjectStore

DATASET = Dataset("ds", (100, 90, 80), scaling=Scaling.ISOTROPIC)
LEVEL = DATASET.pyramid.level(0)
CHANNEL = Channel("p", "c", ChannelType.IMAGE, DataType.UINT8, uid="u")
WHOLE = Region(LEVEL, LEVEL.box, (0, 1))
KEY = "p/c/u/0/0/0000000000000000"


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def objects(tmp_path):
    return DiskObjectStore(tmp_path, fsync=False)


class Meddling:
    """A store that lets a test do something before the put of a given number."""

    def __init__(self, objects, before_put=None, after_put=None):
        self._objects = objects
        self.before_put = before_put or (lambda number: None)
        self.after_put = after_put or (lambda number: None)
        self.puts = 0

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def put(self, key, data, mode):
        self.puts += 1
        self.before_put(self.puts)
        etag = self._objects.put(key, data, mode)
        self.after_put(self.puts)
        return etag


def service(objects, executor, **options) -> VolumeService:
    options.setdefault("pause", lambda seconds: None)
    return VolumeService(objects, executor, ByteBudget(1 << 30), VolumeOptions(**options))


def filled(value: int, region: Region = WHOLE) -> np.ndarray:
    return np.full(region.shape_tzyx, value, CHANNEL.dtype)


def part(*corner_and_shape) -> Region:
    corner, shape = corner_and_shape
    return Region(LEVEL, Box.at(corner, shape), (0, 1))


def test_whole_supercuboids_without_zeros_are_put_without_being_read(objects, executor):
    store = CountingObjectStore(objects)
    service(store, executor).write(CHANNEL, WHOLE, filled(7))
    assert (store.reads, store.writes) == (0, 1)


def test_writing_again_what_is_stored_puts_nothing(objects, executor):
    array = filled(7)
    array[0, 0, 0, 0] = 0
    service(objects, executor).write(CHANNEL, WHOLE, array)
    store = CountingObjectStore(objects)
    inside = part((3, 4, 5), (20, 20, 20))
    service(store, executor).write(CHANNEL, inside, filled(7, inside))
    assert store.writes == 0


def test_a_box_of_zeros_touches_nothing(objects, executor):
    store = CountingObjectStore(objects)
    service(store, executor).write(CHANNEL, WHOLE, filled(0))
    assert store.requests == 0


def test_a_lost_race_is_merged_with_the_winner(objects, executor):
    left, right = part((0, 0, 0), (10, 10, 10)), part((10, 0, 0), (10, 10, 10))
    other = service(objects, executor)

    def meddle(number):
        if number == 1:
            with ThreadPoolExecutor(1) as pool:
                service(objects, pool).write(CHANNEL, right, filled(2, right))

    service(Meddling(objects, before_put=meddle), executor).write(CHANNEL, left, filled(1, left))
    assert (other.read(DATASET, CHANNEL, left) == 1).all()
    assert (other.read(DATASET, CHANNEL, right) == 2).all()


def test_clearing_that_lost_a_race_keeps_what_the_winner_wrote(objects, executor):
    """Seen to fail with an unconditional put in ``Replacement.put``."""
    left, right = part((0, 0, 0), (10, 10, 10)), part((10, 0, 0), (10, 10, 10))
    other = service(objects, executor)
    other.write(CHANNEL, left, filled(1, left))

    def meddle(number):
        if number == 1:
            with ThreadPoolExecutor(1) as pool:
                service(objects, pool).write(CHANNEL, right, filled(2, right))

    service(Meddling(objects, before_put=meddle), executor).clear(CHANNEL, left, filled(0, left))
    assert not other.read(DATASET, CHANNEL, left).any()
    assert (other.read(DATASET, CHANNEL, right) == 2).all()


def test_a_put_whose_answer_was_lost_is_not_put_again(objects, executor):

    def lose_answer(number):
        if number == 1:
            raise PreconditionFailedError("the store tried again by itself and met its own object")

    store = Meddling(objects, after_put=lose_answer)
    box = part((1, 2, 3), (5, 5, 5))
    service(store, executor).write(CHANNEL, box, filled(9, box))
    assert store.puts == 1
    assert (service(objects, executor).read(DATASET, CHANNEL, box) == 9).all()


def test_a_whole_supercuboid_delivered_late_once_more_undoes_nothing(objects, executor):
    """Seen to fail with an unconditional put: the voxel written in between was lost."""
    sent = []

    class Recording(Meddling):
        def put(self, key, data, mode):
            sent.append((key, data, mode))
            return super().put(key, data, mode)

    for value in (7, 8):
        service(Recording(objects), executor).write(CHANNEL, WHOLE, filled(value))
    voxel = part((3, 4, 5), (1, 1, 1))
    volume = service(objects, executor)
    volume.write(CHANNEL, voxel, filled(9, voxel))
    for late in sent:
        with pytest.raises(PreconditionFailedError):
            objects.put(*late)
    assert volume.read(DATASET, CHANNEL, WHOLE)[0, 5, 4, 3] == 9


def test_what_is_hidden_whole_need_not_be_readable(objects, executor):
    objects.put(KEY, b"damaged", Overwrite())
    volume = service(objects, executor)
    volume.write(CHANNEL, WHOLE, filled(7))
    assert (volume.read(DATASET, CHANNEL, WHOLE) == 7).all()


def test_contention_ends_in_an_error_that_says_try_again(objects, executor):
    def always(number):
        raise PreconditionFailedError("somebody else")

    now = iter(range(100))
    stuck = service(
        Meddling(objects, before_put=always), executor, clock=lambda: next(now), contention_s=5
    )
    with pytest.raises(WriteContentionError) as caught:
        stuck.write(CHANNEL, WHOLE, filled(3))
    assert caught.value.retryable


def test_slow_attempts_are_made_a_few_times_all_the_same():
    now, made = [0.0], []
    options = VolumeOptions(clock=lambda: now[0], pause=lambda s: None, contention_s=60)

    def try_again_and_again():
        for attempt in options.attempts("key"):
            made.append(attempt)
            now[0] += 100  # as building a subtree may take

    with pytest.raises(WriteContentionError):
        try_again_and_again()
    assert made == [0, 1, 2, 3]


def test_a_failing_store_stops_the_call_and_a_repeat_completes_it(objects, executor):
    dataset = Dataset("big", (300, 150, 130), scaling=Scaling.ISOTROPIC)
    level = dataset.pyramid.level(0)
    region = Region(level, level.box, (0, 1))
    array = np.random.default_rng(0).integers(1, 200, region.shape_tzyx).astype("u1")

    def fail(number):
        if number == 4:
            raise UpstreamError("gone")

    with pytest.raises(UpstreamError):
        service(Meddling(objects, before_put=fail), executor).write(CHANNEL, region, array)
    healed = service(objects, executor)
    healed.write(CHANNEL, region, array)
    np.testing.assert_array_equal(healed.read(dataset, CHANNEL, region), array)


def test_a_damaged_object_is_an_error_and_never_voxels(objects, executor):
    service(objects, executor).write(CHANNEL, WHOLE, filled(5))
    body = bytearray(objects.get(KEY).data)
    body[len(body) // 2] ^= 0xFF
    objects.put(KEY, bytes(body), Overwrite())
    with pytest.raises(CuboidDecodeError):
        service(objects, executor).read(DATASET, CHANNEL, WHOLE)


def test_limits_are_enforced_before_anything_is_allocated(objects, executor):
    small = service(objects, executor, cutout_voxels=1000)
    with pytest.raises(PayloadTooLargeError) as caught:
        small.read(DATASET, CHANNEL, WHOLE)
    assert caught.value.details["limit"] == 1000
    forever = Region(LEVEL, LEVEL.box, (0, 10**15))
    with pytest.raises(PayloadTooLargeError):
        service(objects, executor).read(DATASET, CHANNEL, forever)


def test_one_voxel_at_each_of_very_many_times_is_refused(objects, executor):
    """Seen to fail without the limit: a task is made for each of 268 million objects."""
    point = Region(LEVEL, Box((0, 0, 0), (1, 1, 1)), (0, 1 << 28))
    with pytest.raises(PayloadTooLargeError, match="cuboids"):
        service(objects, executor).read(DATASET, CHANNEL, point)


def test_the_largest_plane_of_the_smallest_cuboids_is_not_refused(objects, executor):
    wide = Dataset("wide", (1 << 15, 1 << 15, 1), scaling=Scaling.ISOTROPIC).pyramid.level(0)
    plane = Region(wide, Box.at((1, 1, 0), (1 << 14, 1 << 14, 1)), (0, 1))
    service(objects, executor).check_size(plane)


@pytest.mark.parametrize("box", [Box((0, 0, 0), (101, 1, 1)), Box((-1, 0, 0), (1, 1, 1))])
def test_a_box_outside_the_volume_is_refused(objects, executor, box):
    with pytest.raises(OutOfBoundsError):
        service(objects, executor).read(DATASET, CHANNEL, Region(LEVEL, box, (0, 1)))


def test_read_only_and_propagating_channels_refuse_writes(objects, executor):
    store = CountingObjectStore(objects)
    volume = service(store, executor)
    with pytest.raises(ReadOnlyChannelError):
        volume.write(replace(CHANNEL, readonly=True), WHOLE, filled(1))
    with pytest.raises(InvalidStateError):
        volume.write(replace(CHANNEL, propagate=1), WHOLE, filled(1))
    assert store.requests == 0


def test_a_zoom_that_would_read_too_much_is_refused(objects, executor):
    deep = Dataset("deep", (60000, 60000, 100), scalinglevels=6)
    small = service(objects, executor, cutout_voxels=1 << 20)
    level = deep.pyramid.level(6)
    with pytest.raises(PayloadTooLargeError, match="propagate"):
        small.read(deep, CHANNEL, Region(level, Box((0, 0, 0), (900, 900, 1)), (0, 1)))


PYRAMIDAL = Dataset("ds", (100, 90, 80), scaling=Scaling.ISOTROPIC, scalinglevels=2)


@pytest.mark.parametrize("propagate", [0, 2])
def test_levels_finer_than_the_channels_own_are_shown_by_it_always(objects, executor, propagate):
    """Seen to fail on a propagated channel, whose finer levels nobody ever builds: zeros."""
    channel = replace(CHANNEL, resolution=1, propagate=propagate)
    volume = service(objects, executor)
    own = Region(PYRAMIDAL.pyramid.level(1), Box.at((5, 5, 5), (10, 10, 2)), (0, 1))
    volume.write(channel, own, filled(9, own))
    finer = Region(PYRAMIDAL.pyramid.level(0), Box.at((10, 10, 10), (20, 20, 4)), (0, 1))
    assert (volume.read(PYRAMIDAL, channel, finer) == 9).all()


@pytest.mark.parametrize(("propagate", "shown"), [(0, 9), (1, 0), (2, 0)])
def test_coarser_levels_are_shown_by_it_until_they_are_propagated(
    objects, executor, propagate, shown
):
    channel = replace(CHANNEL, propagate=propagate)
    volume = service(objects, executor)
    volume.write(CHANNEL, WHOLE, filled(9))
    level = PYRAMIDAL.pyramid.level(2)
    assert (volume.read(PYRAMIDAL, channel, Region(level, level.box, (0, 1))) == shown).all()
