"""Channels that take no writes, or have no objects; skeletons and graphs."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ndlambda.errors import (
    InvalidArgumentError,
    InvalidStateError,
    MalformedBodyError,
    NotFoundError,
    OutOfBoundsError,
    ReadOnlyChannelError,
)
from ndlambda.model.dtypes import ChannelType
from ndlambda.model.propagation import PropagateState
from ndlambda.model.ramon import Annotation, Segment, Synapse
from ndlambda.space.box import Box
from tests.contract.annotations.contract import (
    AROUND,
    ELSEWHERE,
    OUTSIDE,
    SPOT,
    WAYS,
    WIDE,
    AnnotationContract,
    needs,
)
from tests.contract.annotations.service import ServiceObjects
from tests.support.annotation_server import new_channel

SWC = "# two cells\n2 3 1.5 2 3 .5 1\n1 1 0 0 0 1 -1\n7 1 9 9 9 1 -1\n"
WRITES: Mapping[str, Callable[[Any], object]] = {
    "create": lambda objects: objects.create(Segment()),
    "replace": lambda objects: objects.replace(Segment(7)),
    "guarded change": lambda objects: objects.change(7, status=1),
    "delete": lambda objects: objects.delete(7),
    "reserve": lambda objects: objects.reserve(5),
    "merge": lambda objects: objects.merge([7, 8]),
    "merge in a box": lambda objects: objects.merge([7, 8], box=AROUND),
    "put_swc": lambda objects: objects.put_swc(SWC),
}
READS: Mapping[str, Callable[[Any], object]] = {
    "get": lambda objects: objects.get(7), "query": lambda objects: objects.query(type="segment"),
    "query a box": lambda objects: objects.query(box=AROUND),
    "top_keys": lambda objects: objects.top_keys(10), "voxels": lambda objects: objects.voxels(7),
    "mask": lambda objects: objects.cutout(7, AROUND), "box": lambda objects: objects.box(7),
    "cuboids": lambda objects: objects.cuboids(7), "ids": lambda objects: objects.ids(AROUND),
    "id_at": lambda objects: objects.id_at(SPOT),
    "exceptions": lambda objects: objects.exceptions(AROUND),
    "get_swc": lambda objects: objects.get_swc(), "edges": lambda objects: objects.edges(),
}  # fmt: skip


class ChannelContract(AnnotationContract):
    def _spoken(self, acts):
        return [act for word, act in acts.items() if word not in self.driver.cannot]

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"readonly": True}, ReadOnlyChannelError),
            ({"propagate": PropagateState.UNDER_PROPAGATION}, InvalidStateError),
        ],
    )
    def test_a_channel_that_takes_no_writes_is_read_only(self, objects, by_hand, changes, error):
        by_hand.create(Segment(7), Segment(8))
        by_hand.paint_voxels(7, [SPOT])
        catalog, channel = objects.server.runtime.catalog, objects.channel
        catalog.update_channel(channel.project, channel.name, **changes)
        objects.channel = catalog.get_channel(channel.project, channel.name)
        for write in self._spoken(WRITES):
            with objects.refuses(error):
                write(objects)
        if "paint" not in objects.cannot:
            for way in WAYS.values():
                with objects.refuses(error):
                    way(objects, 7, "overwrite")
        for read in self._spoken(READS):
            read(objects)

    def test_an_image_has_no_objects(self, make):
        image = make(channel_type=ChannelType.IMAGE, exceptions=False)
        for act in self._spoken({**WRITES, **READS}):
            with image.refuses(InvalidArgumentError):
                act(image)


FIRST = ["3 1 0.0 0.0 0.0 1.0 -1", "4 3 1.5 2.0 3.0 0.5 3"]
SECOND = ["5 1 9.0 9.0 9.0 1.0 -1"]
SYNAPSES: tuple[Annotation, ...] = (
    Synapse(11, weight=0.5, confidence=0.25, segments=(101, 102)),
    Synapse(12, segments=(102, 101), presegments=(102,), postsegments=(101, 103)),
    Synapse(13, presegments=(103,), postsegments=(101,)),
    Synapse(14, segments=(101, 102, 103)),
    Synapse(15),
    *(Segment(number) for number in (101, 102, 103)),
)


@pytest.fixture(scope="module")
def circuit_channel(server):
    """A channel that tests only read: ``SYNAPSES``, and voxels of 11, 12 and 14."""
    prepared = ServiceObjects(server, new_channel(server))
    prepared.create(*SYNAPSES)
    for number, x in ((11, 40), (14, 41), (12, 60), (101, 90)):
        prepared.paint_voxels(number, [(x, 50, 10)])
    return prepared.channel


def nodes_of(swc: str) -> list[str]:
    return [line for line in swc.splitlines() if not line.startswith("#")]


class TreeContract(AnnotationContract):
    def test_skeletons_are_stored_and_read_by_their_ids(self, objects):
        assert nodes_of(objects.get_swc()) == []
        assert objects.put_swc(SWC) == [1, 2]
        assert nodes_of(objects.get_swc()) == FIRST + SECOND
        assert nodes_of(objects.get_swc(2)) == SECOND
        assert nodes_of(objects.get_swc(2, 1)) == SECOND + FIRST
        assert objects.get_swc(2).splitlines().count("# two cells") == 1
        assert objects.query(type="skeleton") == [1, 2]

    def test_what_is_no_skeleton_is_refused(self, objects, by_hand):
        by_hand.create(Segment(5))
        with objects.refuses(InvalidArgumentError):
            objects.get_swc(5)
        with objects.refuses(NotFoundError):
            objects.get_swc(6)
        with objects.refuses(MalformedBodyError):
            objects.put_swc("1 1 1\n")

    @pytest.fixture
    def circuit(self, server, circuit_channel):
        return self.driver(server, circuit_channel)

    def test_synapses_between_two_segments_are_edges(self, circuit):
        assert circuit.edges() == [(101, 102, 11), (101, 102, 12), (101, 103, 13)]

    def test_a_box_keeps_the_synapses_with_voxels_in_it(self, circuit):
        """The last has no label at all, that before no synapse: ndstore failed."""
        assert circuit.edges(WIDE) == [(101, 102, 11), (101, 102, 12)]
        assert circuit.edges(AROUND) == [(101, 102, 11)]
        for box in (Box((88, 48, 9), (94, 54, 13)), ELSEWHERE):
            assert circuit.edges(box) == []
        with circuit.refuses(OutOfBoundsError):
            circuit.edges(OUTSIDE)

    @needs("directed")
    def test_directed_edges_lead_from_the_presynaptic_segment(self, circuit):
        found = circuit.edges(directed=True)
        assert found == [(102, 101, 12), (102, 103, 12), (103, 101, 13)]
        assert circuit.edges(WIDE, directed=True) == found[:2]
