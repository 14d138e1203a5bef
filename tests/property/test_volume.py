"""The volume service against a plain numpy array."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.disk import DiskObjectStore

SIZE = (150, 140, 40)
DATASET = Dataset("ds", SIZE, voxelres_xyz=(4, 4, 40), scalinglevels=2)
ISOTROPIC = Dataset("iso", SIZE, scaling=Scaling.ISOTROPIC, scalinglevels=2)


class RangedDisk(DiskObjectStore):
    """A store whose readers ask for ranges, as they do on S3."""

    @property
    def whole_reads_are_cheap(self):
        return False


@pytest.fixture(scope="module")
def executor():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module", params=[DiskObjectStore, RangedDisk])
def volume(request, tmp_path_factory, executor):
    store = request.param(tmp_path_factory.mktemp("objects"), fsync=False)
    return VolumeService(store, executor, ByteBudget(1 << 30))


def channel(dtype, uid, **changes):
    return Channel("project", "channel", ChannelType.IMAGE, dtype, uid=uid, **changes)


@st.composite
def boxes(draw, size_xyz=SIZE):
    ends = [
        sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
        for n in size_xyz
    ]
    return Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))


writes = st.lists(
    st.tuples(boxes(), st.integers(0, 2), st.floats(0, 1), st.integers(0, 2**32 - 1)),
    min_size=1,
    max_size=4,
)


def random_voxels(shape, dtype, density, seed):
    random = np.random.default_rng(seed)
    values = random.integers(1, 120, shape).astype(dtype)
    values[random.random(shape) > density] = 0
    return values


@settings(max_examples=25)
@given(writes=writes, read=boxes(), dtype=st.sampled_from(list(DataType)), n=st.data())
def test_volume_reads_what_a_numpy_array_would_hold(volume, writes, read, dtype, n):
    uid = f"{np.random.default_rng().integers(1 << 62):x}"
    target = channel(dtype, uid, cuboids_per_axis=n.draw(st.sampled_from([1, 2, 4])))
    level = DATASET.pyramid.level(0)
    model = np.zeros((3, *level.box.shape_zyx), dtype.numpy)
    for box, time_point, density, seed in writes:
        values = random_voxels(box.shape_zyx, dtype.numpy, density, seed)
        volume.write(target, Region(level, box, (time_point, time_point + 1)), values[None])
        window = model[time_point][box.slices_zyx()]
        np.copyto(window, values, where=values != 0)
        found = volume.read(DATASET, target, Region(level, read, (time_point, time_point + 1)))
        np.testing.assert_array_equal(found[0], model[time_point][read.slices_zyx()])
    found = volume.read(DATASET, target, Region(level, read, (0, 3)))
    assert found.dtype == dtype.numpy
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, model[(slice(None), *read.slices_zyx())])


@settings(max_examples=15)
@given(
    box=st.data(),
    dataset=st.sampled_from([DATASET, ISOTROPIC]),
    base=st.integers(0, 2),
    asked=st.integers(0, 2),
    kind=st.sampled_from([ChannelType.IMAGE, ChannelType.ANNOTATION]),
)
def test_levels_not_stored_show_the_nearest_voxels_of_the_channels_own_level(
    volume, box, dataset, base, asked, kind
):
    uid = f"{np.random.default_rng().integers(1 << 62):x}"
    target = Channel("p", "c", kind, DataType.UINT32, uid=uid, resolution=base)
    source, level = dataset.pyramid.level(base), dataset.pyramid.level(asked)
    stored = random_voxels(source.box.shape_zyx, "<u4", 0.9, 7)
    volume.write(target, Region(source, source.box, (0, 1)), stored[None])
    region = Region(level, box.draw(boxes(level.imagesize_xyz)), (0, 1))
    found = volume.read(dataset, target, region)[0]

    shift = asked - base
    z_shift = shift if dataset.scaling is Scaling.ISOTROPIC else 0
    axes = []
    for lo, hi, by, size in zip(
        reversed(region.box.start_xyz),
        reversed(region.box.stop_xyz),
        (z_shift, shift, shift),
        stored.shape,
        strict=True,
    ):
        middle = 2**by // 2 if by > 0 and kind is ChannelType.IMAGE else 0
        axes.append(
            [min(i * 2**by + middle if by > 0 else i // 2**-by, size - 1) for i in range(lo, hi)]
        )
    np.testing.assert_array_equal(found, stored[np.ix_(*axes)])


def test_nearest_of_a_missing_channel_is_zero(volume):
    target = channel(DataType.UINT8, "nothing", resolution=1)
    level = DATASET.pyramid.level(0)
    assert not volume.read(DATASET, target, Region(level, level.box, (0, 1))).any()
