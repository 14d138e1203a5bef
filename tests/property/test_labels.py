"""Labels against a plain model: numpy for the voxels' own labels, sets for the extra ones."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ndlambda.model.catalog import Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.model.dtypes import DataType
from ndlambda.services.labels.bounding_box import cuboids_box
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.zoom import LabelView
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from tests.support.label_world import (
    LabelWorld,
    channel,
    disk_stores,
    drawn,
    labels_in,
    own_labels,
    points_of,
    region,
)

SIZE = (140, 135, 70)
DATASET = Dataset("cubes", SIZE, scaling=Scaling.ISOTROPIC)
LEVEL = DATASET.pyramid.level(0)
LABELS = {DataType.UINT32: [1, 2, 3, 2**32 - 1], DataType.UINT64: [1, 2, 2**40, 2**64 - 1]}
TIMES = 2


@st.composite
def boxes(draw):
    """Boxes that often meet at the corner of cuboids and supercuboids."""
    ends = []
    for size in SIZE:
        start = draw(st.sampled_from([n for n in (0, 50, 60, 64, 120, 127, 128) if n < size]))
        ends.append((start, min(size, start + draw(st.integers(1, 20)))))
    return Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))


class LabelMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.pools = ThreadPoolExecutor(2), ThreadPoolExecutor(2)
        self.world = LabelWorld(*disk_stores(Path(self.folder.name)), *self.pools)
        self.labels = self.world.service()
        self.own = np.zeros((TIMES, *LEVEL.box.shape_zyx), "<u8")
        self.extra = {}

    def teardown(self):
        for pool in self.pools:
            pool.shutdown()
        self.world.table.close()
        self.folder.cleanup()

    @initialize(dtype=st.sampled_from(list(LABELS)), per_axis=st.sampled_from([1, 2]))
    def create(self, dtype, per_axis):
        self.channel = channel(datatype=dtype, cuboids_per_axis=per_axis, endtime=TIMES)
        self.names = LABELS[dtype]

    @rule(
        box=boxes(),
        time=st.integers(0, TIMES - 1),
        discipline=st.sampled_from(list(Discipline)),
        density=st.sampled_from([0.05, 1.0]),
        kinds=st.integers(1, 4),
        seed=st.integers(0, 2**32 - 1),
    )
    def paint(self, box, time, discipline, density, kinds, seed):
        random = np.random.default_rng(seed)
        names = random.choice(np.array(self.names, "<u8"), kinds, replace=False)
        values = random.choice(names, box.shape_zyx)
        values[random.random(box.shape_zyx) > density] = 0
        self.labels.paint(
            self.channel,
            region(DATASET, box, time),
            values[None].astype(self.channel.dtype),
            discipline,
        )
        self._model(time, box, values, discipline)

    @rule(
        box=boxes(),
        time=st.integers(0, TIMES - 1),
        discipline=st.sampled_from(list(Discipline)),
        which=st.integers(0, 3),
        seed=st.integers(0, 2**32 - 1),
    )
    def paint_list(self, box, time, discipline, which, seed):
        random = np.random.default_rng(seed)
        points = random.integers(box.start_xyz, box.stop_xyz, (200, 3))
        label = self.names[which]
        volume = LabelVolume(self.channel, LEVEL, time)
        self.labels.paint_voxels(volume, points, label, discipline)
        values = np.zeros(box.shape_zyx, "<u8")
        values[tuple((points - box.start_xyz).T[::-1])] = label
        self._model(time, box, values, discipline)

    @rule(which=st.integers(0, 3))
    def erase(self, which):
        label = self.names[which]
        self.labels.erase_labels(DATASET, self.channel, [label])
        self.own[self.own == label] = 0
        for extra in self.extra.values():
            extra.discard(label)

    def _model(self, time, box, values, discipline):
        x0, y0, z0 = box.start_xyz
        for z, y, x in np.argwhere(values).tolist():
            label, at = int(values[z, y, x]), (time, z + z0, y + y0, x + x0)
            extra, own = self.extra.setdefault(at, set()), int(self.own[at])
            if discipline is Discipline.REDUCE:
                extra.discard(label)
                self.own[at] = 0 if own == label else own
            elif own == 0 or discipline not in {Discipline.PRESERVE, Discipline.EXCEPTION}:
                self.own[at] = label
                extra.discard(label)
            elif discipline is Discipline.EXCEPTION and own != label:
                extra.add(label)

    def _mask(self, time, label):
        mask = self.own[time] == label
        for (t, z, y, x), extra in self.extra.items():
            if t == time and label in extra:
                mask[z, y, x] = True
        return mask

    @invariant()
    def the_index_equals_the_truth(self):
        """Nobody died and nobody painted at the same time, so nothing is stale."""
        assert self.world.indexed(self.channel) == self.world.truth(DATASET, self.channel)

    @invariant()
    def no_label_is_among_the_ids_that_may_be_given(self):
        free_ids = self.labels.ids.free_ids(self.channel)
        assert not ((self.own > free_ids.last) & (self.own < free_ids.end)).any()

    @rule(time=st.integers(0, TIMES - 1), which=st.integers(0, 3))
    def a_label_is_where_the_model_has_it(self, time, which):
        label, read = self.names[which], self.labels.read
        volume, mask = LabelVolume(self.channel, LEVEL, time), self._mask(time, label)
        np.testing.assert_array_equal(drawn(self.labels, volume, [label]), mask)
        where = np.argwhere(mask)
        points = points_of(self.labels, volume, label)
        assert sorted(points.tolist()) == sorted(where[:, ::-1].tolist())
        tight = read.shapes.bounding_box(LabelView(volume), [label])
        if not where.size:
            assert tight is None
            return
        assert tight == Box(tuple(where.min(0)[::-1]), tuple(where.max(0)[::-1] + 1))
        assert tight.within(cuboids_box(read.cuboids_of(volume, label), LEVEL.cuboid_xyz))

    @rule(time=st.integers(0, TIMES - 1), box=boxes())
    def a_box_has_the_labels_of_the_model(self, time, box):
        here = region(DATASET, box, time)
        own = self.own[time][box.slices_zyx()]
        found = own_labels(self.world.objects, self.pools[0], DATASET, self.channel, here)
        np.testing.assert_array_equal(found, own)
        inside = {
            (x, y, z): labels
            for (t, z, y, x), labels in self.extra.items()
            if t == time and labels and Box((x, y, z), (x + 1, y + 1, z + 1)).within(box)
        }
        expected = set(np.unique(own).tolist()).union(*inside.values()) - {0}
        assert labels_in(self.labels, self.channel, here) == sorted(expected)
        listed = self.labels.read.exceptions_in(self.channel, here)
        lines = {
            tuple(point): (int(row[0]), {int(label) for label in row[1:]} - {0})
            for point, row in zip(listed.points_xyz.tolist(), listed.labels, strict=True)
        }
        assert lines == {
            (x, y, z): (int(self.own[time, z, y, x]), labels)
            for (x, y, z), labels in inside.items()
        }


def test_labels_are_what_numpy_and_sets_would_hold():
    run_state_machine_as_test(
        LabelMachine, settings=settings(max_examples=10, stateful_step_count=12)
    )
