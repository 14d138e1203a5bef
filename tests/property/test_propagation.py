"""Every stored level against whole arrays that are halved without any grid."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndlambda.model.catalog import Channel, CodecSpec, Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.painter import LabelPainter
from ndlambda.services.propagation.builder import PyramidBuilder
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.space.pyramid import Scaling
from ndlambda.voxels.downsample import Method
from tests.support.label_world import LabelWorld, disk_stores, missing
from tests.support.pyramids import build_all, expected_levels, region_of

LEVELS = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    stores = disk_stores(Path(tmp_path_factory.mktemp("pyramids")))
    with ThreadPoolExecutor(2) as executor, ThreadPoolExecutor(2) as row_executor:
        yield LabelWorld(*stores, executor, row_executor)


def builder_of(world):
    options = VolumeOptions()
    painter = LabelPainter(world.objects, LabelIndex(world.table), world.executor, options)
    return PyramidBuilder(world.objects, painter, options)


def channel_of(kind, dtype, per_axis, resolution=0):
    """Return a propagated channel of its own."""
    uid = f"{np.random.default_rng().integers(1 << 62):x}"
    return Channel(
        "p", "c", kind, dtype, uid=uid, resolution=resolution, propagate=2,
        cuboids_per_axis=per_axis, codec=CodecSpec("lz4", 1),
    )  # fmt: skip


def lengths(longest):
    return st.integers(longest // 2, longest) | st.integers(1, longest)


# Sizes of several supercuboids an axis; between slices, 0.6 changes from slabs to cubes at once, 2
# after two levels, 10 never; below 1 a level has a near-isotropic variant.
common = {"offset_xyz": st.tuples(*[st.integers(0, 3)] * 3), "scalinglevels": st.just(LEVELS)}
isotropic = st.builds(
    Dataset,
    st.just("iso"),
    st.tuples(*[lengths(150)] * 3),
    scaling=st.just(Scaling.ISOTROPIC),
    **common,
)
slices = st.builds(
    Dataset,
    st.just("slices"),
    st.tuples(lengths(300), lengths(280), lengths(40)),
    voxelres_xyz=st.sampled_from([(1.0, 1.0, 0.6), (1.0, 1.0, 2.0), (4.0, 4.0, 40.0)]),
    **common,
)


@st.composite
def sparse_volumes(draw, dataset, dtype, labels, resolution):
    """Draw boxes of noise in an empty volume."""
    shape = dataset.pyramid.level(resolution).box.shape_zyx
    whole = np.zeros(shape, dtype)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for _ in range(draw(st.integers(1, 4))):
        ends = [sorted(random.integers(0, n + 1, 2)) for n in shape]
        part = whole[tuple(slice(a, b) for a, b in ends)]
        noise = random.integers(0, labels + 1, part.shape)
        runs = draw(st.sampled_from([1, 3]))
        noise = np.repeat(noise, runs, axis=2)[:, :, : part.shape[2]]
        part[...] = noise if dtype.kind != "f" else noise / 8
    return whole


def coarse(holders):
    return {key: codes for key, codes in holders.items() if key[0].resolution > 0}


@settings(max_examples=30)
@given(
    dataset=isotropic | slices,
    dtype=st.sampled_from(list(DataType)),
    method=st.sampled_from([Method.MEAN, Method.NEAREST]),
    per_axis=st.sampled_from([1, 2, 4]),
    base=st.integers(0, 1),
    depth=st.integers(1, 3),
    data=st.data(),
)
def test_levels_of_an_image_are_those_of_the_whole_array(
    world, dataset, dtype, method, per_axis, base, depth, data
):
    channel = channel_of(ChannelType.IMAGE, dtype, per_axis, base)
    volume = world.service()._volume
    top = 120 if dtype is DataType.INT8 else 250
    whole = data.draw(sparse_volumes(dataset, dtype.numpy, top, base))
    volume.write(replace(channel, propagate=0), region_of(dataset, base), whole[None])
    build_all(builder_of(world), world.objects, dataset, channel, method, depth)
    for region, wanted in expected_levels(dataset, channel, whole, method):
        got = volume.read(dataset, channel, region)[0]
        np.testing.assert_array_equal(got, wanted, err_msg=str(region))


@settings(max_examples=5)
@given(
    dataset=isotropic | slices,
    dtype=st.sampled_from([DataType.UINT32, DataType.UINT64]),
    per_axis=st.sampled_from([1, 2, 4]),
    depth=st.integers(1, 3),
    data=st.data(),
)
def test_levels_of_labels_are_those_of_the_whole_array_and_indexed(
    world, dataset, dtype, per_axis, depth, data
):
    channel = channel_of(ChannelType.ANNOTATION, dtype, per_axis)
    labels = world.service()
    open_channel = replace(channel, propagate=0)
    builder = builder_of(world)
    first, second = (data.draw(sparse_volumes(dataset, dtype.numpy, 4, 0)) for _ in range(2))
    for whole in (first, second):
        # What was painted before and is not painted again is reduced, so that it must vanish.
        labels.paint(open_channel, region_of(dataset, 0), first[None], Discipline.REDUCE)
        labels.paint(open_channel, region_of(dataset, 0), whole[None], Discipline.OVERWRITE)
        build_all(builder, world.objects, dataset, channel, Method.LABELS, depth)
        known = {0, *np.unique(whole).tolist()}
        for region, wanted in expected_levels(dataset, channel, whole, Method.LABELS):
            got = labels._volume.read(dataset, channel, region)[0]
            np.testing.assert_array_equal(got, wanted, err_msg=str(region))
            assert set(np.unique(got).tolist()) <= known
        truth, indexed = world.truth(dataset, channel), world.indexed(channel)
        assert missing(truth, indexed) == {}
        # Painters of level 0, several at once, may leave entries too many; one builder leaves none.
        assert coarse(truth) == coarse(indexed)
