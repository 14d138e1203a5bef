"""Supercuboids against numpy: any dtype, any presence, any box, any series of writes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ndlambda.cuboids.codec import is_zero
from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.cuboids.supercuboid import (
    decode_box,
    decode_part,
    extras,
    fetch_frames,
    is_empty,
    needed_slots,
    plan_ranges,
    read_index,
    splice,
    write_id,
)
from ndlambda.model.catalog import CodecSpec
from ndlambda.model.dtypes import DataType
from ndlambda.space import morton
from ndlambda.space.box import Box

Cuboids = dict[int, NDArray[np.generic] | None]

codecs = st.builds(
    CodecSpec,
    cname=st.sampled_from(["zstd", "lz4"]),
    clevel=st.sampled_from([1, 5]),
    shuffle=st.sampled_from([0, 1, 2]),
)


@st.composite
def layouts(draw):
    edge = st.integers(1, 9)
    return CuboidLayout(
        draw(st.sampled_from(DataType)).numpy,
        draw(st.tuples(edge, edge, edge)),
        draw(st.sampled_from([1, 2, 4])),
        draw(codecs),
    )


@st.composite
def boxes(draw, layout):
    ranges = [
        sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
        for n in layout.supercuboid_xyz
    ]
    x, y, z = ranges
    return Box((x[0], y[0], z[0]), (x[1], y[1], z[1]))


@st.composite
def cuboids(draw, layout):
    slots = draw(st.sets(st.integers(0, layout.slots - 1), max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return {slot: _cuboid(rng, layout) for slot in slots}


def _cuboid(rng, layout):
    """Return None, zeros, few labels, or noise of all bits (NaN among the floats)."""
    shape_zyx = layout.cuboid_shape_zyx
    match int(rng.integers(4)):
        case 0:
            return None
        case 1:
            return np.zeros(shape_zyx, layout.dtype)
        case 2:
            return rng.integers(0, 3, shape_zyx).astype(layout.dtype)
        case _:
            return np.frombuffer(rng.bytes(layout.cuboid_bytes), layout.dtype).reshape(shape_zyx)


def paste(model, layout, written):
    for slot, cuboid in written.items():
        ix, iy, iz = morton.decode(slot)
        x, y, z = layout.cuboid_xyz
        where = Box.at((ix * x, iy * y, iz * z), layout.cuboid_xyz).slices_zyx()
        model[where] = 0 if cuboid is None else cuboid


def empty_model(layout):
    return np.zeros(layout.supercuboid_xyz[::-1], layout.dtype)


def read_whole(data, layout, box):
    out = np.full(box.shape_zyx, 1, layout.dtype)
    decode_box(data, layout, box, out)
    return out


def read_ranged(data, layout, box):
    index = read_index(data[-layout.index_bytes :], layout, len(data))
    out = np.full(box.shape_zyx, 1, layout.dtype)
    parts = needed_slots(layout, box)
    frames = fetch_frames(index, plan_ranges(index, parts), lambda start, stop: data[start:stop])
    for piece in parts:
        decode_part(frames.get(piece.slot), layout, piece, out)
    return out


@given(st.data())
def test_any_box_reads_as_the_numpy_slice_whole_and_ranged(data):
    layout = data.draw(layouts())
    written = data.draw(cuboids(layout))
    model = empty_model(layout)
    paste(model, layout, written)
    stored = memoryview(splice(None, layout, written, bytes(16)))
    assert len(stored) <= layout.max_object_bytes
    box = data.draw(boxes(layout))
    right = model[box.slices_zyx()]
    np.testing.assert_array_equal(read_whole(stored, layout, box), right)
    np.testing.assert_array_equal(read_ranged(stored, layout, box), right)


@given(st.data())
def test_any_series_of_splices_reads_as_the_numpy_model(data):
    layout = data.draw(layouts())
    model, section = empty_model(layout), b""
    stored = None
    for _ in range(data.draw(st.integers(1, 5))):
        written = data.draw(cuboids(layout))
        new_section = data.draw(st.none() | st.binary(max_size=40))
        name = data.draw(st.binary(min_size=16, max_size=16))
        stored = memoryview(splice(stored, layout, written, name, new_section))
        paste(model, layout, written)
        section = section if new_section is None else new_section
        assert write_id(stored) == name
        assert extras(stored) == section
        assert is_empty(stored) == is_zero(model)
        whole = Box((0, 0, 0), layout.supercuboid_xyz)
        np.testing.assert_array_equal(read_whole(stored, layout, whole), model)
