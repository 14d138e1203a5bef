"""Objects: made, read, changed, deleted, found and merged."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ndlambda.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidStateError,
    NotFoundError,
    OutOfBoundsError,
    PayloadTooLargeError,
    PreconditionFailedError,
    ResolutionNotFoundError,
    ValidationError,
)
from ndlambda.model.dtypes import DataType
from ndlambda.model.ramon import (
    Annotation,
    Neuron,
    Node,
    Organelle,
    RegionOfInterest,
    Seed,
    Segment,
    Skeleton,
    Synapse,
)
from ndlambda.services.annotation import erasing
from ndlambda.space.box import Box
from tests.contract.annotations.contract import (
    AROUND,
    ELSEWHERE,
    EVERYWHERE,
    OUTSIDE,
    SPOT,
    WIDE,
    AnnotationContract,
    needs,
)
from tests.contract.annotations.driver import Where
from tests.contract.annotations.service import ServiceObjects
from tests.support.annotation_server import new_channel
from tests.support.app import Server

COMMON: Mapping[str, Any] = {
    "status": 2,
    "confidence": 0.75,
    "author": "é. cajal",
    "kvpairs": {"sky": "blue", 'a, "b"': "line\r\nbreak", "c d": "1=2&3"},
}
TYPES: tuple[Annotation, ...] = (
    Annotation(),
    Annotation(**COMMON),
    Synapse(
        weight=0.5,
        synapse_type=3,
        seeds=(7,),
        segments=(7, 8),
        presegments=(7,),
        postsegments=(8,),
        centroid=(1, 2, 3),
        **COMMON,
    ),
    Seed(parent=4, cubelocation=5, source=6, position=(1, 2, 3), **COMMON),
    Segment(segmentclass=1, parentseed=2, neuron=3, **COMMON),
    Neuron(**COMMON),
    Organelle(organelleclass=1, segment=2, parentseed=3, centroid=(4, 5, 6), seeds=(7,), **COMMON),
    Node(nodetype=1, parent=-1, skeleton=2, radius=1.5, location=(0.5, 1.0, 2.0), **COMMON),
    Skeleton(skeletontype=1, rootnode=2, **COMMON),
    RegionOfInterest(parent=3, **COMMON),
)


class ObjectContract(AnnotationContract):
    def test_every_type_comes_back_with_all_its_fields(self, objects):
        for number, ramon in enumerate(TYPES, 1):
            assert objects.create(ramon) == [number]
            assert objects.get(number) == replace(ramon, id=number)

    @needs("batch")
    def test_new_ids_of_a_body_are_above_the_chosen_ones(self, objects):
        ramons = [Segment(author="a"), Annotation(50), Annotation(), Annotation(7)]
        assert objects.create(*ramons) == [51, 50, 52, 7]
        assert objects.get(51) == Segment(51, author="a")

    def test_chosen_ids_are_never_given_to_others(self, objects):
        assert objects.create(Annotation(40)) == [40]
        assert objects.create(Annotation()) == [41]

    @pytest.mark.parametrize("datatype", [DataType.UINT32, DataType.UINT64])
    def test_the_largest_id_of_a_channel_is_an_id(self, make, datatype):
        objects, largest = make(datatype=datatype), int(np.iinfo(datatype.numpy).max)
        assert objects.create(Segment(largest, author="big")) == [largest]
        assert objects.get(largest).id == largest
        assert objects.query(author="big") == [largest]

    def test_an_id_that_was_used_is_not_given_again(self, objects):
        objects.create(Segment(7, author="a"))
        for _ in range(2):
            with objects.refuses(AlreadyExistsError):
                objects.create(Seed(7))
            objects.delete(7)

    @needs("doubled ids", "batch")
    def test_an_id_occurs_once_in_a_body(self, objects):
        with objects.refuses(InvalidArgumentError):
            objects.create(Seed(4), Segment(4))

    def test_an_id_that_voxels_cannot_hold_is_refused(self, objects):
        with objects.refuses(InvalidArgumentError):
            objects.create(Annotation(2**32))

    def test_values_that_cannot_be_kept_are_refused(self, objects):
        for pairs in (
            {"ann_id": "1"},
            {"seg_neuron": "2"},
            {"neuron": "2"},
            {"k" * 256: "v"},
            {"k": "v" * 20_001},
        ):
            with objects.refuses(ValidationError):
                objects.create(Segment(kvpairs=pairs))

    def test_an_object_longer_than_a_row_is_refused(self, objects):
        with objects.refuses(PayloadTooLargeError):
            objects.create(Segment(kvpairs={f"{n}": "x" * 9000 for n in range(8)}))

    @needs("batch")
    def test_one_bad_object_refuses_the_whole_body(self, objects):
        objects.create(Segment(7))
        for bad, error in ((Seed(7), AlreadyExistsError), (Seed(2**32), InvalidArgumentError)):
            with objects.refuses(error):
                objects.create(Segment(8), Segment(), bad)

    @needs("replace")
    def test_replacing_leaves_nothing_of_what_was_there(self, objects):
        objects.create(Synapse(4, weight=0.5, **COMMON))
        objects.replace(Segment(4, neuron=9, kvpairs={"k": "v"}))
        assert objects.get(4) == Segment(4, neuron=9, kvpairs={"k": "v"})
        assert objects.query(pairs={"sky": "blue"}) == objects.query(type="synapse") == []

    def test_changing_some_fields_leaves_the_others(self, objects):
        objects.create(Synapse(4, weight=0.5, segments=(7, 9), **COMMON))
        objects.change(4, status=3, segments=[5], centroid=[1, 2, 3], pairs={"by": "eve"})
        pairs = {**COMMON["kvpairs"], "by": "eve"}
        changed = Synapse(4, weight=0.5, segments=(5,), centroid=(1, 2, 3), **COMMON)
        assert objects.get(4) == replace(changed, status=3, kvpairs=pairs)
        assert objects.query(type="synapse", fields={"segments": 7}) == []
        assert objects.query(type="synapse", fields={"segments": 5}) == [4]
        for values in ({"status": "aa"}, {"status": -1}, {"pairs": {"syn_weight": "1"}}):
            with objects.refuses(ValidationError):
                objects.change(4, **values)

    @needs("defaults")
    def test_fields_go_back_to_their_defaults_and_pairs_away(self, objects):
        objects.create(Synapse(4, weight=0.5, **COMMON))
        objects.change(4, weight=None, author=None, pairs={"sky": None, "by": "eve"})
        pairs = {**COMMON["kvpairs"], "by": "eve"}
        del pairs["sky"]
        assert objects.get(4) == Synapse(4, **{**COMMON, "author": "", "kvpairs": pairs})

    @needs("versions")
    def test_a_change_that_insists_on_a_version_loses_to_a_faster_one(self, objects):
        objects.create(Segment(4))
        first = objects.version(4)
        objects.change(4, version=first, status=1)
        with objects.refuses(PreconditionFailedError):
            objects.change(4, version=first, status=2)
        objects.change(4, version=objects.version(4), status=3)
        assert objects.get(4).status == 3

    @needs("versions", "replace")
    def test_a_replacement_that_insists_on_a_version_does_too(self, objects):
        objects.create(Segment(4))
        first = objects.version(4)
        objects.replace(Segment(4, status=1), version=first)
        with objects.refuses(PreconditionFailedError):
            objects.replace(Segment(4, status=2), version=first)

    def test_what_is_not_there_is_neither_read_nor_changed(self, objects):
        objects.create(Segment(7))
        objects.delete(7)
        for number in (7, 99):
            for act in (objects.get, lambda n: objects.change(n, status=1)):
                with objects.refuses(NotFoundError):
                    act(number)

    @needs("replace")
    def test_what_is_not_there_is_not_replaced(self, objects):
        objects.create(Segment(7))
        objects.delete(7)
        for number in (7, 99):
            with objects.refuses(NotFoundError):
                objects.replace(Segment(number))

    def test_lists_that_are_not_stored_are_found(self, objects, by_hand):
        segments = Segment(6, neuron=5), Segment(7, neuron=5)
        by_hand.create(Neuron(5), *segments, Synapse(8, segments=(6,)), Organelle(9, segment=6))
        assert objects.derived(5, "segments") == [6, 7]
        assert objects.derived(6, "synapses") == [8]
        assert objects.derived(6, "organelles") == [9]

    def test_a_deleted_object_is_gone_with_its_voxels(self, objects, by_hand):
        by_hand.create(Segment(7, **COMMON), Annotation(8), Annotation(9))
        by_hand.paint_voxels(7, [SPOT, (150, 160, 40)])
        for _ in range(2):  # repeated, it is success
            assert objects.delete(7, 8)
        assert objects.query() == [9]
        assert objects.query(pairs={"sky": "blue"}) == []
        assert objects.ids(EVERYWHERE) == []
        assert objects.delete(12345)

    @needs("pending")
    def test_voxels_of_a_large_object_are_left_to_a_worker(self, objects, by_hand, monkeypatch):
        monkeypatch.setattr(erasing, "LARGE_SUPERCUBOIDS", 0)
        by_hand.create(Segment(7))
        by_hand.paint_voxels(7, [SPOT])
        assert not objects.delete(7)
        with objects.refuses(NotFoundError):
            objects.get(7)
        assert objects.ids(AROUND) == [7]
        work_off(objects.server)
        assert objects.ids(AROUND) == []
        assert objects.delete(7)

    def test_reserved_ids_follow_one_another_and_are_given_once(self, objects):
        objects.create(Annotation(7))
        assert objects.reserve(5) == 8
        assert objects.reserve(1) == 13
        assert objects.create(Annotation()) == [14]
        assert objects.create(Annotation(9)) == [9]
        with objects.refuses(InvalidStateError):
            objects.reserve(2**32)


def work_off(server: Server) -> None:
    """Do what the worker of deletions and merges does."""
    queue = server.runtime.resources.queues.erase
    while messages := queue.receive():
        for message in messages:
            server.runtime.deletion.handle(message.body)
            queue.ack([message.receipt])


LIBRARY: tuple[Annotation, ...] = (
    Synapse(
        1,
        status=2,
        confidence=0.9,
        author="ann",
        segments=(2, 3),
        kvpairs={"sky": "blue", "sea": "green"},
    ),
    Segment(2, confidence=0.4, author="ann", neuron=4, kvpairs={"sky": "grey"}),
    Segment(3, confidence=0.6, neuron=4),
    Neuron(4),
    Seed(5, author="é <b>ann</b>"),
    Node(6, parent=-1, location=(0.5, 1.0, 2.0)),
    RegionOfInterest(8, parent=4),
    Organelle(9, centroid=(1, 2, 3), kvpairs={"a b": "1=2&3"}),
)
"""With a voxel of 1 at ``SPOT``, and one of 2 beside it."""
QUESTIONS: tuple[tuple[Where, list[int]], ...] = (
    ({}, [1, 2, 3, 4, 5, 6, 8, 9]), ({"limit": 2}, [1, 2]), ({"type": "segment"}, [2, 3]),
    ({"type": "segment", "limit": 1}, [2]), ({"status": 2}, [1]), ({"author": "ann"}, [1, 2]),
    ({"confidence_gt": 0.5}, [1, 3]), ({"confidence_lt": 0.5, "author": "ann"}, [2]),
    ({"confidence_gt": 0.4, "confidence_lt": 0.9}, [3]),
    ({"type": "segment", "confidence_gt": 0.5}, [3]),
    ({"type": "segment", "author": "ann", "pairs": {"sky": "grey"}}, [2]),
    ({"pairs": {"sky": "blue"}}, [1]), ({"pairs": {"sky": "blue", "sea": "green"}}, [1]),
    ({"pairs": {"sky": "grey", "sea": "green"}}, []), ({"pairs": {"a b": "1=2&3"}}, [9]),
    ({"pairs": {"no": "such"}}, []), ({"type": "seed", "pairs": {"sky": "blue"}}, []),
    ({"type": "segment", "fields": {"neuron": 4}}, [2, 3]),
    ({"type": "synapse", "fields": {"segments": 3}}, [1]),
    ({"type": "node", "fields": {"parent": -1}}, [6]),
    ({"type": "node", "fields": {"location": "0.5,1,2"}}, [6]),
    ({"type": "roi", "fields": {"parent": 4}}, [8]),
    ({"type": "organelle", "fields": {"centroid": "1,2,3"}}, [9]), ({"box": AROUND}, [1]),
    ({"box": WIDE}, [1, 2]), ({"box": WIDE, "type": "segment"}, [2]),
    ({"box": WIDE, "limit": 1}, [1]), ({"box": ELSEWHERE}, []),
    ({"box": Box((18, 20, 8), (25, 30, 12)), "resolution": 1}, [1]),
)  # fmt: skip


@pytest.fixture(scope="module")
def library_channel(server):
    """A channel that tests only read."""
    prepared = ServiceObjects(server, new_channel(server))
    prepared.create(*LIBRARY)
    prepared.paint_voxels(1, [SPOT])
    prepared.paint_voxels(2, [(60, 50, 10)])
    return prepared.channel


class QueryContract(AnnotationContract):
    @pytest.fixture
    def library(self, server, library_channel):
        return self.driver(server, library_channel)

    def test_all_that_is_asked_must_hold(self, library):
        for where, ids in QUESTIONS:
            assert library.query(**where) == ids, where

    def test_a_box_outside_the_image_is_refused(self, library):
        with library.refuses(OutOfBoundsError):
            library.query(box=OUTSIDE)
        with library.refuses(ResolutionNotFoundError):
            library.query(box=AROUND, resolution=9)

    @needs("top_keys")
    def test_the_most_frequent_keys_come_first(self, library):
        assert library.top_keys(10) == ["sky", "a b", "sea"]
        assert library.top_keys(1) == ["sky"]
        assert library.top_keys(10, "synapse") == ["sea", "sky"]
        assert library.top_keys(10, "seed") == []


class MergeContract(AnnotationContract):
    @pytest.fixture
    def three(self, objects, by_hand):
        """Segments 5, 6, 7 with a voxel each at two resolutions, and 8, which refers to them."""
        by_hand.create(Segment(5), Segment(6), Segment(7), Synapse(8, segments=(6, 7)), Seed(9))
        for place, number in enumerate((5, 6, 7)):
            by_hand.paint_voxels(number, [(40 + place, 50, 10)])
            by_hand.paint_voxels(number, [(20 + place, 25, 10)], resolution=1)
        return objects

    def _labels(self, by_hand):
        """Return the labels of the three voxels, at resolution 0 and at 1."""
        fine = [by_hand.id_at((x, 50, 10)) for x in (40, 41, 42)]
        return fine, [by_hand.id_at((x, 25, 10), 1) for x in (20, 21, 22)]

    def test_voxels_and_references_go_to_the_first(self, three, by_hand):
        for _ in range(2):  # as after a lost answer
            three.merge([6, 7, 5])
        assert self._labels(by_hand) == ([6] * 3, [6] * 3)
        assert three.query(type="segment") == [6]
        assert three.get(8).segments == (6,)

    def test_at_a_resolution_the_others_keep_their_labels(self, three, by_hand):
        three.merge([6, 5], resolution=1)
        assert self._labels(by_hand) == ([5, 6, 7], [6, 6, 7])
        assert three.query(type="segment") == [6, 7]

    def test_in_a_box_voxels_change_and_objects_stay(self, three, by_hand):
        three.merge([6, 5, 7], box=Box((38, 48, 9), (42, 54, 13)))
        assert self._labels(by_hand) == ([6, 6, 7], [5, 6, 7])
        three.merge([6, 5, 7], resolution=1, box=Box((22, 25, 10), (23, 26, 11)))
        assert self._labels(by_hand) == ([6, 6, 7], [5, 6, 6])
        assert three.query(type="segment") == [5, 6, 7]
        assert three.get(8).segments == (6, 7)

    def test_what_cannot_be_merged_is_left_as_it_is(self, three):
        for ids, limits, error in (
            ([6, 6], {}, InvalidArgumentError),
            ([6, 99], {}, NotFoundError),
            ([99, 6], {}, NotFoundError),
            ([6, 99], {"box": AROUND}, NotFoundError),
            ([6, 7], {"resolution": 9}, ResolutionNotFoundError),
            ([6, 7], {"box": OUTSIDE}, OutOfBoundsError),
            ([6, 9], {}, InvalidArgumentError),
        ):
            with three.refuses(error):
                three.merge(ids, **limits)
