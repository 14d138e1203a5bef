"""Objects with voxels against a plain model: whole arrays, and a dictionary of objects.

Uploads go to the first of two time points and to both resolutions, cutouts to all of them. Objects
in more than one supercuboid are left to the worker, so that deletions go both ways.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ndlambda.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from ndlambda.model.discipline import Discipline
from ndlambda.model.dtypes import DataType
from ndlambda.model.ramon import Neuron, Seed, Segment, parse_query
from ndlambda.services.annotation import erasing
from ndlambda.services.annotation.options import (
    Cuboids,
    NoData,
    RegionCutout,
    TightBox,
    TightCutout,
    Voxels,
    WriteMode,
)
from ndlambda.services.labels.index import LabelIndex, LabelLayer
from ndlambda.services.volume.region import Region
from tests.support.annotation_model import LEVELS, AnnotationModel, assigned
from tests.support.annotation_strategies import boxes, items, predicate
from tests.support.annotation_world import DATASET, disk_world
from tests.support.label_world import LabelWorld, missing

TIMES = 2
IDS = st.integers(1, 9)
PLACES = st.tuples(st.integers(0, TIMES - 1), st.integers(0, 1))  # time point, resolution
MODES = [
    WriteMode.from_words(words)
    for how in ([], ["overwrite"], ["preserve"], ["exception"])
    for words in (how, how, [*how, "update"], [*how, "dataonly"])
] + [WriteMode.from_words(["reduce"])]


def region(resolution, box, time):
    return Region(LEVELS[resolution], box, (time, time + 1))


class AnnotationMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.pools = ThreadPoolExecutor(2), ThreadPoolExecutor(2)
        self.world = disk_world(Path(self.folder.name), self.pools)
        self.world.populate()
        self.labels = self.world.own.labels
        self.service = self.world.own.annotations
        self.look = LabelWorld(self.world.objects, self.world.table, *self.pools)

    def teardown(self):
        for pool in self.pools:
            pool.shutdown()
        self.world.close()
        self.folder.cleanup()

    @initialize(
        dtype=st.sampled_from([DataType.UINT32, DataType.UINT64]),
        per_axis=st.sampled_from([1, 2]),
        exceptions=st.sampled_from([True, True, False]),
    )
    def create(self, dtype, per_axis, exceptions):
        self.channel = self.world.channel(
            datatype=dtype, cuboids_per_axis=per_axis, exceptions=exceptions, endtime=TIMES
        )
        self.model = AnnotationModel(self.channel)

    @rule(several=st.lists(items(), min_size=1, max_size=4), mode=st.sampled_from(MODES))
    def upload(self, several, mode):
        sent = [item for item, _ in several]
        last = self.labels.ids.free_ids(self.channel).last
        upload = self.service.upload
        error = self._fault_of(sent, mode)
        if error is not None:
            with pytest.raises(error):
                upload(DATASET, self.channel, sent, mode)
            assert self.labels.ids.free_ids(self.channel).last == last
            return
        ramons = assigned(sent, last)
        found = upload(DATASET, self.channel, sent, mode)
        assert found == ([] if mode.data_only else [ramon.id for ramon in ramons])
        painted = [
            (ramon.id, resolution, mask)
            for ramon, (_, masks) in zip(ramons, several, strict=True)
            for resolution, mask in masks
        ]
        self.model.upload(ramons, painted, mode)

    def _fault_of(self, sent, mode):
        """Say why an upload is refused, by the contract."""
        without_id = (mode.update or mode.data_only) and not all(item.ramon.id for item in sent)
        bare = any(item.data and isinstance(item.ramon, Seed | Neuron) for item in sent)
        blocks = any(item.data and item.data.cutout_zyx is not None for item in sent)
        beside = mode.discipline is Discipline.EXCEPTION and not self.channel.exceptions
        if without_id or bare or (blocks and beside):
            return InvalidArgumentError
        chosen = [item.ramon for item in sent if item.ramon.id]
        if mode.data_only:
            return None
        if len({ramon.id for ramon in chosen}) < len(chosen):
            return InvalidArgumentError
        living, gone = self.model.objects, self.model.gone
        if mode.update:
            return None if all(ramon.id in living for ramon in chosen) else NotFoundError
        used = [ramon for ramon in chosen if ramon.id in living or ramon.id in gone]
        # A body of which some objects are stored as they are in it is one that broke off.
        if used and (len(used) == len(chosen) or any(living.get(r.id) != r for r in used)):
            return AlreadyExistsError
        return None

    @rule(
        at=PLACES,
        data=st.data(),
        discipline=st.sampled_from(list(Discipline)),
        names=st.lists(IDS, min_size=1, max_size=3, unique=True),
        seed=st.integers(0, 2**32 - 1),
    )
    def paint(self, at, data, discipline, names, seed):
        (time, resolution), box = at, data.draw(boxes(at[1]))
        random = np.random.default_rng(seed)
        values = random.choice(np.array([0, *names], self.channel.dtype), box.shape_zyx)
        place = region(resolution, box, time)
        if discipline is Discipline.EXCEPTION and not self.channel.exceptions:
            with pytest.raises(InvalidArgumentError):
                self.labels.paint(self.channel, place, values[None], discipline)
            return
        self.labels.paint(self.channel, place, values[None], discipline)
        for name in names:
            mask = np.zeros(LEVELS[resolution].box.shape_zyx, np.bool_)
            mask[box.slices_zyx()] = values == name
            self.model.paint(time, resolution, mask, name, discipline)

    @rule(ids=st.lists(IDS, min_size=1, max_size=3))
    def delete(self, ids):
        pending = self.service.delete(self.channel, ids)
        assert [f"{self.channel.uid}#{number}" for number in sorted(pending)] == self.world.jobs
        for number in ids:
            with pytest.raises(NotFoundError):
                self.service.read(DATASET, self.channel, [number], NoData())
        self.world.pump()
        assert not self.world.jobs
        self.model.delete(ids)

    @rule(ids=st.lists(IDS, min_size=1, max_size=3), where=st.sampled_from([None, 0, 1]))
    def merge(self, ids, where):
        survivor, *losers = dict.fromkeys(ids)

        def merge():
            return self.service.merge(DATASET, self.channel, ids, resolution=where)

        known = [n in self.model.objects or self.model.gone.get(n) == survivor for n in losers]
        error = None
        if losers and not (survivor in self.model.objects and all(known)):
            error = NotFoundError
        elif not losers or self._is_mixed([survivor, *losers]):
            error = InvalidArgumentError
        if error is not None:
            with pytest.raises(error):
                merge()
            return
        pending = merge()
        suffix = "all" if where is None else where
        jobs = [f"{self.channel.uid}#{number}#merge#{suffix}" for number in sorted(pending)]
        assert self.world.jobs == jobs
        assert self.service.delete(self.channel, pending) == pending
        self.world.pump()
        assert not self.world.jobs
        self.model.merge(survivor, losers, [0, 1] if where is None else [where])

    def _is_mixed(self, ids):
        types = {type(self.model.objects[n]) for n in ids if n in self.model.objects}
        return len(types) > 1 and bool(types & {Seed, Neuron})

    @rule(ids=st.lists(IDS, min_size=2, max_size=3, unique=True), at=PLACES, data=st.data())
    def merge_in(self, ids, at, data):
        (time, resolution), box = at, data.draw(boxes(at[1], 60))
        place = region(resolution, box, time)
        known = set(ids) <= self.model.objects.keys()
        if not known or self._is_mixed(ids):
            with pytest.raises(InvalidArgumentError if known else NotFoundError):
                self.service.merge(DATASET, self.channel, ids, region=place)
            return
        assert self.service.merge(DATASET, self.channel, ids, region=place) == []
        self.model.times[time].relabel(resolution, ids[0], ids[1:], box)

    @rule(number=IDS, field=st.sampled_from(["status", "neuron", "k"]), value=st.integers(0, 9))
    def set_field(self, number, field, value):
        old, set_field = self.model.objects.get(number), self.world.own.ramon.set_field
        if old is None:
            with pytest.raises(NotFoundError):
                set_field(self.channel, number, field, f"{value}")
            return
        if field == "status" or (field == "neuron" and isinstance(old, Segment)):
            new = replace(old, **{field: value})
        else:
            new = replace(old, kvpairs={**old.kvpairs, field: f"{value}"})
        assert set_field(self.channel, number, field, f"{value}") == new
        self.model.objects[number] = new

    @rule(count=st.integers(1, 2))
    def reserve(self, count):
        last = self.labels.ids.free_ids(self.channel).last
        assert self.service.reserve(self.channel, count) == last + 1
        assert self.labels.ids.free_ids(self.channel).last == last + count

    @rule(label=IDS, at=PLACES, cuboids=st.sets(st.integers(0, 31), min_size=1))
    def die_before_painting(self, label, at, cuboids):
        """Leave entries of the index behind that no voxel bears out."""
        scope = LabelLayer(self.channel.uid, at[1], at[0])
        LabelIndex(self.world.table).add(scope, 0, {label: cuboids})

    @rule()
    def sweep(self):
        assert self.labels.sweeper.sweep(DATASET, self.channel).left == 0
        assert self.look.indexed(self.channel) == self.look.truth(DATASET, self.channel)

    @invariant()
    def the_index_misses_nothing(self):
        assert not missing(self.look.truth(DATASET, self.channel), self.look.indexed(self.channel))

    @invariant()
    def the_counter_is_above_all_ids(self):
        highest = max([0, *self.model.labels, *self.model.objects, *self.model.gone])
        assert self.labels.ids.free_ids(self.channel).last >= highest

    @precondition(lambda self: self.model.objects)
    @rule(data=st.data(), resolution=st.integers(0, 1))
    def objects_are_those_of_the_model(self, data, resolution):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.model.objects)), max_size=2))
        time, box = data.draw(st.integers(0, TIMES - 1)), data.draw(boxes(resolution, 60))
        plain = self._read(ids, NoData())
        assert [item.ramon for item in plain] == [self.model.objects[n] for n in ids]
        for item in plain:
            found = {name: list(each) for name, each in item.derived.items()}
            assert found == self.model.derived(item.ramon.id)
        cut = RegionCutout(region(resolution, box, time))
        if any(isinstance(self.model.objects[number], Seed) for number in ids):
            with pytest.raises(InvalidArgumentError):
                self._read(ids, cut)
            return
        for number, item in zip(ids, self._read(ids, cut), strict=True):
            part = self._mask(time, resolution, number)[box.slices_zyx()]
            np.testing.assert_array_equal(item.data.cutout_zyx, part * number)
            assert self._zero_based(resolution, item.data.corner_xyz) == box.start_xyz
        self._check_shapes(ids, resolution)

    def _check_shapes(self, ids, resolution):
        """Compare the forms of objects that are read without a region."""
        shapes = [
            self._read(ids, wanted(resolution))
            for wanted in (Voxels, TightBox, TightCutout, Cuboids)
        ]
        for number, listed, boxed, tight, cuboids in zip(ids, *shapes, strict=True):
            mask = self._mask(0, resolution, number)
            where = np.argwhere(mask)[:, ::-1]
            if not len(where):
                assert listed.data.voxels_xyz is boxed.box is tight.data.cutout_zyx is None
                assert not cuboids.data.cuboids
                continue
            offset = np.array(LEVELS[resolution].offset_xyz)
            voxels = listed.data.voxels_xyz.astype(int) - offset
            assert sorted(voxels.tolist()) == sorted(where.tolist())
            start, stop = where.min(0), where.max(0) + 1
            assert self._zero_based(resolution, boxed.box.corner_xyz) == tuple(start)
            assert boxed.box.size_xyz == tuple(stop - start)
            edges = np.array(LEVELS[resolution].cuboid_xyz)
            corner = start // edges * edges
            assert self._zero_based(resolution, tight.data.corner_xyz) == tuple(corner)
            block = tight.data.cutout_zyx
            assert block.shape[::-1] == tuple(-(-stop // edges) * edges - corner)
            x, y, z = (where - corner).T
            expected = np.zeros(block.shape, block.dtype)
            expected[z, y, x] = number
            np.testing.assert_array_equal(block, expected)
            for part in cuboids.data.cuboids:
                (array,), at = part.labels_tzyx, part.corner_xyz - corner
                own = tuple(slice(a, a + e) for a, e in zip(at[::-1], edges[::-1], strict=True))
                assert array.any()
                np.testing.assert_array_equal(array, expected[own])
                expected[own] = 0
            assert not expected.any()

    def _mask(self, time, resolution, number):
        labels = self.model.labels_of(number)
        return self.model.times[time].shown(self.look, resolution, labels)

    def _read(self, ids, wanted):
        """Read objects, and give one for each id."""
        found = self.service.read(DATASET, self.channel, ids, wanted)
        by_id = {item.ramon.id: item for item in found}
        assert list(by_id) == list(dict.fromkeys(ids))
        return [by_id[number] for number in ids]

    @staticmethod
    def _zero_based(resolution, corner_xyz):
        offset = np.array(LEVELS[resolution].offset_xyz)
        return tuple((np.array(corner_xyz, int) - offset).tolist())

    @rule(at=PLACES, data=st.data())
    def a_box_holds_what_the_model_has_there(self, at, data):
        (time, resolution), box = at, data.draw(boxes(at[1], 60))
        place, offset = region(resolution, box, time), LEVELS[resolution].offset_xyz
        expected = self.model.labels_in(self.look, time, resolution, box)
        assert self.service.labels_in(DATASET, self.channel, place) == expected
        own = self.model.times[time].shown_own(self.look, resolution)
        for x, y, z in (box.start_xyz, tuple(end - 1 for end in box.stop_xyz)):
            point = (x + offset[0], y + offset[1], z + offset[2])
            found = self.service.label_at(DATASET, self.channel, resolution, point, time)
            assert found == own[z, y, x]
        listed = self.service.exceptions(self.channel, place)
        lines = {
            tuple(point.tolist()): [own, *(label for label in extra if label)]
            for point, (own, *extra) in zip(listed.points_xyz, listed.labels.tolist(), strict=True)
        }
        assert lines == self.model.exceptions_in(time, resolution, box)

    @rule(
        kind=st.sampled_from(["type", "status", "lt", "gt", "k", "seg_neuron", "syn_segments", ""]),
        value=st.integers(0, 5),
        limit=st.sampled_from([None, None, 1, 2]),
        within=st.booleans(),
        data=st.data(),
    )
    def queries_find_what_the_model_finds(self, kind, value, limit, within, data):
        words, holds = predicate(kind, value)
        words += [] if limit is None else ["limit", f"{limit}"]
        expected = [n for n, ramon in sorted(self.model.objects.items()) if holds(ramon)]
        place = None
        if within:
            resolution, box = data.draw(st.integers(0, 1)), data.draw(boxes(0, 60))
            box = box.intersection(LEVELS[resolution].box)
            if box is None:
                return
            place = region(resolution, box, 0)
            there = self.model.labels_in(self.look, 0, resolution, box)
            expected = [number for number in expected if number in there]
        found = self.service.query(DATASET, self.channel, parse_query(words), place)
        assert found == expected[:limit]


def test_annotations_are_what_arrays_and_a_dictionary_would_hold(monkeypatch):
    monkeypatch.setattr(erasing, "LARGE_SUPERCUBOIDS", 1)
    run_state_machine_as_test(
        AnnotationMachine, settings=settings(max_examples=10, stateful_step_count=25)
    )
