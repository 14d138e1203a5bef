"""Painting against a plain model: a dict of each voxel's own label and its set of extra ones."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndlambda.model.discipline import Discipline
from ndlambda.space.box import Box
from ndlambda.voxels.extra_labels import ExtraLabels
from ndlambda.voxels.paint import Painted, Stroke, distinct, paint

SHAPE = (3, 4, 5)
VOXELS = 60
BIG = 2**64 - 1
LABELS = [1, 2, 3, 2**32 - 1, 2**40, BIG]

strokes = st.lists(
    st.tuples(
        st.sampled_from(list(Discipline)),
        st.dictionaries(st.integers(0, VOXELS - 1), st.sampled_from(LABELS), max_size=20),
    ),
    max_size=8,
)


@dataclass
class Model:
    """What the table in ``ndlambda/voxels/paint.py`` says, voxel by voxel."""

    own: dict[int, int] = field(default_factory=dict)
    extra: dict[int, set[int]] = field(default_factory=dict)

    def paint(self, voxel: int, label: int, discipline: Discipline) -> None:
        own, extra = self.own.get(voxel, 0), self.extra.setdefault(voxel, set())
        if discipline is Discipline.REDUCE:
            extra.discard(label)
            if own == label:
                del self.own[voxel]
        elif own == 0 or discipline not in {Discipline.PRESERVE, Discipline.EXCEPTION}:
            self.own[voxel] = label
            extra.discard(label)
        elif discipline is Discipline.EXCEPTION and own != label:
            extra.add(label)

    def labels(self) -> set[int]:
        return set(self.own.values()).union(*self.extra.values())

    def pairs(self) -> list[tuple[int, int]]:
        return [(v, label) for v in sorted(self.extra) for label in sorted(self.extra[v])]


def stroke_of(voxels: dict[int, int]) -> Stroke:
    at = sorted(voxels)
    return Stroke(np.array(at, np.int64), np.array([voxels[v] for v in at], np.uint64))


def pairs_of(extra: ExtraLabels) -> list[tuple[int, int]]:
    return list(zip(extra.at.tolist(), extra.labels.tolist(), strict=True))


@given(strokes)
def test_every_discipline_does_to_each_voxel_what_the_table_says(painted):
    base, extra, model = np.zeros(SHAPE, "<u8"), ExtraLabels.none(), Model()
    for discipline, voxels in painted:
        base.flags.writeable = False
        before, had = model.labels(), (dict(model.own), model.pairs())
        for voxel, label in voxels.items():
            model.paint(voxel, label, discipline)
        result = paint(base, extra, [stroke_of(voxels)], discipline)
        expected = np.zeros(VOXELS, "<u8")
        expected[list(model.own)] = np.array(list(model.own.values()), "<u8")
        np.testing.assert_array_equal(result.base.reshape(-1), expected)
        assert result.base.dtype == base.dtype
        assert pairs_of(result.extra) == model.pairs()
        assert result.appeared == model.labels() - before
        assert result.vanished == before - model.labels()
        unchanged = result.base is base and result.extra is extra
        assert unchanged == (had == (model.own, model.pairs()))
        base, extra = result.base, result.extra


@given(strokes, st.sampled_from(list(Discipline)))
def test_a_stroke_repeated_changes_nothing(painted, last):
    """So a request that died half-way may be sent again."""
    base, extra = np.zeros(SHAPE, "<u8"), ExtraLabels.none()
    for discipline, voxels in painted:
        once = paint(base, extra, [stroke_of(voxels)], discipline)
        twice = paint(once.base, once.extra, [stroke_of(voxels)], discipline)
        assert twice.base is once.base
        assert twice.extra is once.extra
        assert not twice.appeared | twice.vanished
        base, extra = once.base, once.extra


def painted_with(discipline: Discipline) -> Painted:
    base = np.array([[[0, 1, 2]]], "<u4")
    stroke = Stroke(np.arange(3), np.full(3, 1, "<u4"))
    return paint(base, ExtraLabels.of(np.array([0, 2]), np.array([1, 1])), [stroke], discipline)


@pytest.mark.parametrize(("discipline", "base", "extra"), [
    (Discipline.OVERWRITE, [1, 1, 1], []), (Discipline.UPDATE, [1, 1, 1], []),
    (Discipline.DATAONLY, [1, 1, 1], []), (Discipline.PRESERVE, [1, 1, 2], [(2, 1)]),
    (Discipline.EXCEPTION, [1, 1, 2], [(2, 1)]), (Discipline.REDUCE, [0, 0, 2], []),
])  # fmt: skip
def test_disciplines_by_example(discipline, base, extra):
    result = painted_with(discipline)
    assert result.base.reshape(-1).tolist() == base
    assert pairs_of(result.extra) == extra


def test_a_dense_stroke_paints_its_non_zero_voxels_where_its_part_lies():
    labels = np.array([[[0, 7], [8, 0]]], "<u4")
    stroke = Stroke.dense(labels, Box((3, 1, 2), (5, 3, 3)), SHAPE)
    block, expected = np.full(SHAPE, 9, "<u4"), np.full(SHAPE, 9, "<u4")
    block.reshape(-1)[stroke.at] = stroke.labels
    expected[2, 1:3, 3:5] = [[9, 7], [8, 9]]
    np.testing.assert_array_equal(block, expected)
    assert (np.diff(stroke.at) > 0).all()
    assert stroke.labels.tolist() == [7, 8]


def test_points_of_one_label_are_one_stroke_that_counts_repetitions_once():
    points = np.array([[4, 3, 2], [0, 1, 0], [4, 3, 2]], np.uint32)
    (stroke,) = Stroke.points(points, np.full(3, BIG, "<u8"), SHAPE)
    assert stroke.at.tolist() == [5, 59]
    assert stroke.labels.tolist() == [BIG, BIG]


def test_no_points_are_no_stroke():
    assert Stroke.points(np.empty((0, 3), int), np.empty(0, "<u8"), SHAPE) == []


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(LABELS)), max_size=12),
    st.lists(st.sampled_from([0, *LABELS]), min_size=3, max_size=3),
    st.sampled_from(list(Discipline)),
)
def test_points_are_painted_as_if_one_by_one(voxels, base, discipline):
    block = np.array(base, "<u8").reshape(1, 1, 3)
    points = np.array([[x, 0, 0] for x, _ in voxels], int).reshape(-1, 3)
    strokes = Stroke.points(points, np.array([n for _, n in voxels], "<u8"), block.shape)
    found = paint(block, ExtraLabels.none(), strokes, discipline)
    expected, extra = block, ExtraLabels.none()
    for x, label in voxels:
        stroke = Stroke(np.array([x]), np.array([label], "<u8"))
        after = paint(expected, extra, [stroke], discipline)
        expected, extra = after.base, after.extra
    np.testing.assert_array_equal(found.base, expected)
    assert pairs_of(found.extra) == pairs_of(extra)
    before = distinct(block)
    after = distinct(expected) | extra.distinct()
    assert (found.appeared, found.vanished) == (after - before, before - after)


@given(st.lists(st.sampled_from([0, *LABELS]), max_size=30))
def test_distinct_labels_leave_out_zero(labels):
    assert distinct(np.array(labels, "<u8")) == frozenset(labels) - {0}


@given(
    st.sets(st.tuples(st.integers(0, 30), st.sampled_from(LABELS))),
    st.sets(st.tuples(st.integers(0, 9), st.sampled_from(LABELS))),
)
def test_the_extra_labels_of_a_range_can_be_taken_and_replaced(pairs, other):
    def of(chosen) -> ExtraLabels:
        chosen = sorted(chosen, reverse=True)
        return ExtraLabels.of(
            np.array([at for at, _ in chosen], np.int64),
            np.array([label for _, label in chosen], np.uint64),
        )

    extra = of(pairs)
    inside = {(at - 10, label) for at, label in pairs if 10 <= at < 20}
    assert pairs_of(extra.between(10, 20)) == sorted(inside)
    outside = {(at, label) for at, label in pairs if not 10 <= at < 20}
    moved = {(at + 10, label) for at, label in other}
    assert pairs_of(extra.replaced(10, 20, of(other))) == sorted(outside | moved)
    assert pairs_of(extra.union(of(other))) == sorted(pairs | other)
