"""One supercuboid's labels when one label takes the place of others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndlambda.cuboids.label_block import Change, LabelBlock
from ndlambda.cuboids.layout import CuboidLayout, cuboid_box
from ndlambda.model.catalog import CodecSpec
from ndlambda.model.discipline import Discipline
from ndlambda.space.box import Box
from ndlambda.voxels.extra_labels import ExtraLabels
from ndlambda.voxels.paint import Stroke

LAYOUT = CuboidLayout(np.dtype("<u4"), (8, 8, 4), 2, CodecSpec("lz4", 1))
WHOLE = Box((0, 0, 0), LAYOUT.supercuboid_xyz)
WRITE_ID = bytes(range(16))


def block_of(own: np.ndarray, extra: dict[int, np.ndarray]) -> LabelBlock:
    """Return the supercuboid of whole arrays (z, y, x): own labels, and masks by extra label."""
    cuboids = {
        slot: np.ascontiguousarray(own[cuboid_box(LAYOUT, slot).slices_zyx()])
        for slot in range(LAYOUT.slots)
    }
    pairs = [(np.empty(0, np.int64), np.empty(0, np.uint64))]
    for slot in range(LAYOUT.slots):
        for label, mask in extra.items():
            at = np.flatnonzero(mask[cuboid_box(LAYOUT, slot).slices_zyx()])
            pairs.append((at + slot * 256, np.full(at.size, label, np.uint64)))
    at, labels = (np.concatenate(column) for column in zip(*pairs, strict=True))
    change = Change(cuboids, ExtraLabels.of(at, labels))
    return LabelBlock(memoryview(LabelBlock(None, LAYOUT).rewritten(change, WRITE_ID)), LAYOUT)


def arrays_of(block: LabelBlock) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    own = np.zeros(WHOLE.shape_zyx, "<u4")
    extra: dict[int, np.ndarray] = {}
    for slot in range(LAYOUT.slots):
        where = cuboid_box(LAYOUT, slot).slices_zyx()
        own[where] = block.cuboid(slot)
        pairs = block.extra_of(slot)
        for label in pairs.distinct():
            mask = extra.setdefault(label, np.zeros(own.shape, np.bool_))
            part = np.zeros(256, np.bool_)
            part[pairs.at[pairs.labels == label]] = True
            mask[where] = part.reshape(LAYOUT.cuboid_shape_zyx)
    return own, extra


@st.composite
def boxes(draw) -> Box:
    ends = [sorted(draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in (16, 16, 8)]
    return Box(tuple(a for a, _ in ends), tuple(max(a + 1, b) for a, b in ends))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.integers(2, 6),
    losers=st.sets(st.sampled_from([2, 3, 4, 2**32 + 1]), min_size=1),
    box=st.none() | boxes(),
)
def test_one_label_takes_the_place_of_others(seed, kinds, losers, box):
    """Own and extra, each voxel once, and the index is told which cuboids gain and lose labels."""
    random, shape = np.random.default_rng(seed), WHOLE.shape_zyx
    own = random.integers(0, kinds, shape).astype("<u4")
    own[random.random(shape) < 0.5] = 0
    masks = {label: (random.random(shape) < 0.1) & (own != label) for label in (1, 2, 3, 4)}
    block = block_of(own, masks)
    change = block.relabelled(np.array(sorted(losers), np.uint64), 1, box)

    where = (box or WHOLE).slices_zyx()
    expected = own.copy()
    expected[where][np.isin(own[where], [n for n in losers if n < 2**32])] = 1
    for loser in losers & masks.keys():
        masks[1][where] |= masks[loser][where]
        masks[loser][where] = False
    masks[1] &= expected != 1
    after = LabelBlock(memoryview(block.rewritten(change, WRITE_ID)), LAYOUT)
    found, extra = arrays_of(after)
    np.testing.assert_array_equal(found, expected)
    assert extra.keys() == {label for label, mask in masks.items() if mask.any()}
    for label, mask in extra.items():
        np.testing.assert_array_equal(mask, masks[label])

    for slot in range(LAYOUT.slots):
        before, now = block.labels(slot), after.labels(slot)
        assert {label for label, slots in change.appeared.items() if slot in slots} == now - before
        assert {label for label, slots in change.vanished.items() if slot in slots} == before - now
    assert after.relabelled(np.array(sorted(losers), np.uint64), 1, box).is_none


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    gone=st.sets(st.sampled_from([2, 3, 4, 2**32 + 1]), min_size=1),
)
def test_labels_are_erased_together_as_by_reducing_each(seed, gone):
    """Own and extra ones, and extra labels of a voxel that loses its own stay."""
    random, shape = np.random.default_rng(seed), WHOLE.shape_zyx
    own = random.integers(0, 5, shape).astype("<u4")
    masks = {label: (random.random(shape) < 0.1) & (own != label) for label in (1, 2, 3, 4)}
    block = block_of(own, masks)
    change = block.erased(np.array(sorted(gone), np.uint64))

    one_by_one = block
    vanished: dict[int, set[int]] = {}
    for label in sorted(gone - {2**32 + 1}):
        every = Stroke(np.arange(256), np.full(256, label, "<u4"))
        strokes = {slot: [every] for slot in range(LAYOUT.slots)}
        step = one_by_one.painted(strokes, Discipline.REDUCE)
        one_by_one = LabelBlock(memoryview(one_by_one.rewritten(step, WRITE_ID)), LAYOUT)
        vanished |= step.vanished
    after = LabelBlock(memoryview(block.rewritten(change, WRITE_ID)), LAYOUT)
    for slot in range(LAYOUT.slots):
        np.testing.assert_array_equal(after.cuboid(slot), one_by_one.cuboid(slot))
        pairs, expected = after.extra_of(slot), one_by_one.extra_of(slot)
        np.testing.assert_array_equal(pairs.at, expected.at)
        np.testing.assert_array_equal(pairs.labels, expected.labels)
    assert (change.appeared, change.vanished) == ({}, vanished)
    assert after.erased(np.array(sorted(gone), np.uint64)).is_none


def test_what_has_no_loser_does_not_change():
    own = np.full(WHOLE.shape_zyx, 5, "<u4")
    block = block_of(own, {6: np.ones(WHOLE.shape_zyx, np.bool_)})
    assert block.relabelled(np.array([2, 3], np.uint64), 6).is_none
    assert LabelBlock(None, LAYOUT).relabelled(np.array([2], np.uint64), 6).is_none
    corner = Box((0, 0, 0), (1, 1, 1))
    own[0, 0, 1] = 2
    assert block_of(own, {}).relabelled(np.array([2], np.uint64), 6, corner).is_none


@pytest.mark.parametrize("labels", [[1], [1, 2], [2**32 + 1], []])
def test_voxels_of_any_of_some_labels_are_found(labels):
    own = np.zeros(WHOLE.shape_zyx, "<u4")
    own[0, 0, 0], own[0, 0, 1] = 1, 3
    beside = np.zeros(own.shape, np.bool_)
    beside[0, 0, 1] = True
    found = block_of(own, {2: beside}).has_any(0, np.array(labels, np.uint64))
    assert np.argwhere(found)[:, 2].tolist() == [n - 1 for n in labels if n < 3]


@pytest.mark.parametrize("change", ["erased", "relabelled"])
def test_cuboids_that_are_not_stored_are_not_looked_at(monkeypatch, change):
    """An object that is sparse in large supercuboids would cost as much as one that fills them."""
    own = np.zeros(WHOLE.shape_zyx, "<u4")
    own[0, 0, 0] = 7  # in the first cuboid
    extra = np.zeros(own.shape, np.bool_)
    extra[-1, -1, -1] = True  # in the last, which is not stored
    block = block_of(own, {7: extra})
    looked: list[int] = []
    cuboid = LabelBlock.cuboid
    monkeypatch.setattr(
        LabelBlock, "cuboid", lambda self, slot: looked.append(slot) or cuboid(self, slot)
    )
    losers = np.array([7], np.uint64)
    made = block.erased(losers) if change == "erased" else block.relabelled(losers, 8)
    assert looked == [0, LAYOUT.slots - 1]
    assert made.vanished == {7: {0, LAYOUT.slots - 1}}
