"""Voxels: painted by every discipline, and read in every form."""

import numpy as np
import pytest

from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    NotFoundError,
    OutOfBoundsError,
    PayloadTooLargeError,
    ResolutionNotFoundError,
    ShapeMismatchError,
)
from ndlambda.model.dtypes import DataType
from ndlambda.model.ramon import Neuron, Seed, Segment
from ndlambda.space.box import Box
from tests.contract.annotations.contract import (
    AROUND,
    BLOCK,
    CORNER,
    ELSEWHERE,
    EVERYWHERE,
    LAST,
    MASK,
    OUTSIDE,
    POINTS,
    SPOT,
    WAYS,
    AnnotationContract,
    needs,
    rows,
)
from tests.contract.annotations.service import ServiceObjects
from tests.support.annotation_server import CUBOID, OFFSET, new_channel


class PaintContract(AnnotationContract):
    @needs("paint")
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("how", ["overwrite", "preserve", "exception", "reduce"])
    def test_a_discipline_meets_voxels_as_it_says(self, objects, by_hand, how, way):
        half = np.zeros(MASK.shape, np.uint32)
        half[:, :4] = 3
        by_hand.create(Segment(3), Segment(7))
        by_hand.paint(3, CORNER, half)
        if how == "reduce":
            by_hand.paint(7, CORNER, half == 0)
        WAYS[way](objects, 7, how)
        expected = {
            "overwrite": np.where(MASK, 7, half),
            "reduce": np.where(half, 3, np.where(MASK, 0, 7)),
        }.get(how, np.where((half == 0) & (MASK != 0), 7, half))
        own = by_hand.image(BLOCK)
        np.testing.assert_array_equal(own, expected)
        shown = MASK != 0 if how == "exception" else own == 7
        np.testing.assert_array_equal(objects.cutout(7, BLOCK), shown)
        assert rows(objects.voxels(7)) == rows((np.argwhere(shown)[:, ::-1] + CORNER).astype("u4"))

    @needs("paint")
    def test_without_exceptions_a_list_leaves_other_labels_and_a_mask_is_refused(self, make):
        objects = make(exceptions=False)
        objects.create(Segment(3))
        objects.create(Segment(7))
        objects.paint_voxels(3, [SPOT])
        with objects.refuses(InvalidArgumentError):
            objects.paint(7, SPOT, np.ones((1, 1, 2), "u1"), "exception")
        objects.paint_voxels(7, [SPOT, (41, 50, 10)], "exception")
        assert objects.id_at(SPOT) == 3
        assert objects.id_at((41, 50, 10)) == 7

    @needs("paint")
    def test_masks_and_lists_may_be_of_any_integers(self, objects):
        """What is not 0 in a mask belongs to the object; a voxel that is listed twice is one."""
        objects.create(Segment(1))
        for kind in ("u1", ">i4", "<i8"):
            objects.paint(1, CORNER, MASK.astype(kind))
            np.testing.assert_array_equal(objects.cutout(1, BLOCK), MASK != 0)
            objects.paint(1, CORNER, np.asfortranarray(MASK), "reduce")
            objects.paint_voxels(1, np.array([SPOT, SPOT, (41, 50, 10)], kind))
            assert rows(objects.voxels(1)) == {SPOT, (41, 50, 10)}
            objects.paint_voxels(1, [SPOT, (41, 50, 10)], "reduce")
            assert rows(objects.voxels(1)) == set()

    @needs("paint")
    def test_coordinates_are_those_of_their_resolution(self, objects, by_hand):
        objects.create(Segment(7))
        objects.paint(7, (5, 10, 5), np.ones((1, 1, 1), "u1"), resolution=1)
        objects.paint_voxels(7, [(6, 11, 5)], resolution=1)
        assert rows(objects.voxels(7, 1)) == {(5, 10, 5), (6, 11, 5)}
        assert objects.box(7, 1) == Box((5, 10, 5), (7, 12, 6))
        assert not by_hand.image(EVERYWHERE).any()

    @needs("paint")
    def test_the_first_and_the_last_voxel_of_the_image_are_painted_from_a_list(self, objects):
        objects.create(Segment(7))
        objects.paint_voxels(7, [OFFSET, LAST])
        assert rows(objects.voxels(7)) == {OFFSET, LAST}

    @needs("paint")
    def test_labels_of_64_bits_are_exact(self, make):
        objects, number = make(datatype=DataType.UINT64), 2**63 + 1
        objects.create(Segment(number))
        objects.create(Segment(number + 1))
        objects.paint(number, CORNER, MASK)
        objects.paint_voxels(number + 1, POINTS[:1], "exception")
        np.testing.assert_array_equal(objects.cutout(number, BLOCK), MASK != 0)
        assert objects.id_at(tuple(POINTS[0].tolist())) == number
        assert objects.ids(BLOCK) == [number, number + 1]
        first = tuple(POINTS[0].tolist())
        assert objects.exceptions(BLOCK) == {first: [number, number + 1]}

    @needs("paint")
    def test_what_is_no_place_changes_nothing(self, objects, by_hand):
        objects.create(Segment(7))
        objects.create(Seed(8))
        objects.create(Neuron(9))
        one = np.ones((1, 1, 1), "u1")
        for number, points, error in (
            (7, [[9, 50, 10]], OutOfBoundsError),
            (7, [[40, 19, 10]], OutOfBoundsError),
            (7, [[40, 50, 2**21 + 5]], OutOfBoundsError),
            (7, [SPOT, LAST, np.add(LAST, (0, 0, 1))], OutOfBoundsError),
            (7, np.ones((5, 2), "u4"), ShapeMismatchError),
            (7, np.full((2, 3), 40.5), DataTypeMismatchError),
            (8, [SPOT], InvalidArgumentError),
            (9, [SPOT], InvalidArgumentError),
        ):
            with objects.refuses(error):
                objects.paint_voxels(number, np.asarray(points), "overwrite")
        with objects.refuses(ResolutionNotFoundError):
            objects.paint_voxels(7, [SPOT], resolution=9)
        for number, corner, mask, error in (
            (7, (9, 50, 10), one, OutOfBoundsError),
            (7, (209, 50, 10), np.ones((1, 1, 2), "u1"), OutOfBoundsError),
            (7, SPOT, np.ones((3, 4), "u1"), ShapeMismatchError),
            (8, SPOT, one, InvalidArgumentError),
            (9, SPOT, one, InvalidArgumentError),
        ):
            with objects.refuses(error):
                objects.paint(number, corner, mask)

    @needs("paint", "mask of reals")
    def test_a_mask_is_of_integers(self, objects):
        objects.create(Segment(7))
        with objects.refuses(DataTypeMismatchError):
            objects.paint(7, SPOT, np.ones((1, 1, 1)))


class ReadContract(AnnotationContract):
    @needs("mask", "cuboids", "id_at", "exceptions")
    def test_an_object_is_shown_in_every_form(self, objects, by_hand):
        by_hand.create(Segment(3), Segment(7))
        by_hand.paint(3, CORNER, MASK == 0)
        by_hand.paint(7, CORNER, MASK)
        assert rows(objects.voxels(7)) == set(map(tuple, POINTS.tolist()))
        np.testing.assert_array_equal(objects.cutout(7, BLOCK), MASK != 0)
        corner, mask = objects.tight_cutout(7)
        assert corner == OFFSET
        assert mask.shape == tuple(2 * edge for edge in CUBOID[::-1])
        within = BLOCK.slices_zyx(OFFSET)
        np.testing.assert_array_equal(mask[within], MASK != 0)
        assert mask.sum() == len(POINTS)
        x, y, z = OFFSET
        assert objects.cuboids(7) == {
            (x + i, y + j, z + k) for i in (0, 128) for j in (0, 128) for k in (0, 16)
        }
        assert objects.id_at(tuple(POINTS[0].tolist())) == 7
        assert objects.exceptions(BLOCK) == {}

    def test_a_box_is_exact_and_a_list_complete(self, objects, by_hand):
        by_hand.create(Segment(7), Segment(8))
        by_hand.paint_voxels(7, [(74, 90, 8), (80, 86, 69)])
        by_hand.paint_voxels(8, [(10, 20, 5)])
        assert objects.box(7) == Box((74, 86, 8), (81, 91, 70))
        assert rows(objects.voxels(7)) == {(74, 90, 8), (80, 86, 69)}
        assert objects.box(7, 1) == Box((37, 43, 8), (41, 46, 70))

    def test_an_object_without_voxels_has_none(self, objects):
        objects.create(Segment(7))
        assert objects.voxels(7).shape == (0, 3)
        assert objects.box(7) is None
        assert objects.box(7, 1) is None
        assert objects.ids(AROUND) == []

    @needs("mask", "cuboids", "id_at", "exceptions")
    def test_an_object_without_voxels_has_no_block(self, objects):
        objects.create(Segment(7))
        assert not objects.cutout(7, AROUND).any()
        assert objects.tight_cutout(7) is None
        assert objects.cuboids(7) == set()
        assert objects.id_at(SPOT) == 0
        assert objects.exceptions(AROUND) == {}

    def test_the_voxels_of_a_neuron_are_those_of_its_segments(self, objects, by_hand):
        by_hand.create(Neuron(5), Segment(6, neuron=5), Segment(7, neuron=5), Segment(8))
        for number, point in ((6, SPOT), (7, (41, 51, 11)), (8, (40, 51, 10))):
            by_hand.paint_voxels(number, [point])
        assert rows(objects.voxels(5)) == {SPOT, (41, 51, 11)}
        assert objects.box(5) == Box(SPOT, (42, 52, 12))
        if "mask" not in objects.cannot:
            found = np.argwhere(objects.cutout(5, Box(SPOT, (42, 52, 12)))).tolist()
            assert found == [[0, 0, 0], [1, 1, 1]]
            assert objects.cuboids(5) == {OFFSET}

    def test_voxels_are_shown_at_resolutions_where_none_was_painted(self, objects, by_hand):
        by_hand.create(Segment(7))
        by_hand.paint_voxels(7, [(x, y, 6) for x in (20, 21) for y in (30, 31)])
        assert rows(objects.voxels(7, 1)) == {(10, 15, 6)}
        assert objects.ids(Box((10, 15, 6), (11, 16, 7)), 1) == [7]
        if "id_at" not in objects.cannot:
            assert objects.id_at((10, 15, 6), 1) == 7

    def test_the_labels_of_a_box_are_ascending_with_extra_ones(self, objects, by_hand):
        by_hand.create(*(Segment(number) for number in (30, 5, 6, 2_000_000_000)))
        by_hand.paint_voxels(30, [SPOT, (41, 50, 10)])
        by_hand.paint_voxels(5, [(43, 53, 12)])
        by_hand.paint_voxels(2_000_000_000, [SPOT], "exception")
        by_hand.paint_voxels(6, [(44, 50, 10)])  # beside the box
        assert objects.ids(AROUND) == [5, 30, 2_000_000_000]
        assert objects.ids(ELSEWHERE) == []

    @needs("exceptions")
    def test_voxels_with_several_labels_come_with_all_of_them(self, objects, by_hand):
        by_hand.create(Segment(30), Segment(20), Segment(7))
        by_hand.paint_voxels(30, [SPOT, (41, 50, 10), (42, 50, 10)])
        by_hand.paint_voxels(20, [SPOT], "exception")
        by_hand.paint_voxels(7, [SPOT, (41, 50, 10)], "exception")
        assert objects.exceptions(AROUND) == {SPOT: [30, 7, 20], (41, 50, 10): [30, 7]}
        assert objects.exceptions(ELSEWHERE) == {}
        objects.delete(7)
        assert objects.exceptions(AROUND) == {SPOT: [30, 20]}

    def test_voxels_of_a_label_need_no_object(self, objects, by_hand):
        """As those of a segmentation that was ingested, or painted in one piece."""
        points = [SPOT, (41, 50, 10), (140, 50, 40)]
        by_hand.paint_label(7, points)
        assert rows(objects.voxels(7)) == set(points)
        assert objects.box(7) == Box((40, 50, 10), (141, 51, 41))
        if "mask" not in objects.cannot:
            assert np.count_nonzero(objects.cutout(7, AROUND)) == 2
            assert objects.tight_cutout(7)[1].sum() == 3
        if "cuboids" not in objects.cannot:
            assert len(objects.cuboids(7)) == 2
        assert 7 in objects.ids(AROUND)
        with objects.refuses(NotFoundError):
            objects.get(7)
        by_hand.create(Segment(8))
        by_hand.paint_label(8, [(60, 60, 10)])
        by_hand.delete(8)
        with objects.refuses(NotFoundError):
            objects.box(8)

    @needs("adopt")
    def test_labels_without_an_object_get_one(self, objects, by_hand):
        by_hand.create(Segment(7, author="ada"), Segment(8))
        by_hand.delete(8)
        for number in (7, 8, 9, 30, 2**32 - 1):
            by_hand.paint_label(number, [(40 + number % 16, 50, 10)])
        assert objects.adopt("organelle") == 3
        assert by_hand.query(type="organelle") == [9, 30, 2**32 - 1]
        assert objects.get(7) == Segment(7, author="ada")
        assert rows(objects.voxels(30)) == {(54, 50, 10)}
        with objects.refuses(NotFoundError):  # an id of a deleted object is not used again
            objects.get(8)
        assert objects.adopt("segment") == 0
        with objects.refuses(InvalidArgumentError):
            objects.adopt("neuron")

    def test_what_has_no_voxels_or_is_not_there_is_refused(self, objects):
        objects.create(Segment(7))
        objects.create(Seed(8))
        for number, resolution, error in (
            (8, 0, InvalidArgumentError),
            (99, 0, NotFoundError),
            (7, 9, ResolutionNotFoundError),
        ):
            for word, act in {
                "voxels": objects.voxels,
                "box": objects.box,
                "mask": getattr(objects, "tight_cutout", None),
            }.items():
                if word not in objects.cannot:
                    with objects.refuses(error):
                        act(number, resolution)
            if "mask" not in objects.cannot:
                with objects.refuses(error):
                    objects.cutout(number, AROUND, resolution)
        if "cuboids" not in objects.cannot:
            with objects.refuses(NotFoundError):
                objects.cuboids(99)

    def test_places_outside_the_image_are_refused(self, objects):
        objects.create(Segment(7))
        with objects.refuses(OutOfBoundsError):
            objects.ids(OUTSIDE)
        with objects.refuses(ResolutionNotFoundError):
            objects.ids(AROUND, 9)

    @needs("mask", "id_at", "exceptions")
    def test_blocks_and_voxels_outside_the_image_are_refused(self, objects):
        objects.create(Segment(7))
        for act in (lambda: objects.cutout(7, OUTSIDE), lambda: objects.exceptions(OUTSIDE)):
            with objects.refuses(OutOfBoundsError):
                act()
        for point in ((9, 50, 10), (210, 50, 10), (40, 19, 10), (40, 50, 75)):
            with objects.refuses(OutOfBoundsError):
                objects.id_at(point)
        with objects.refuses(ResolutionNotFoundError):
            objects.id_at(SPOT, 3)

    def test_what_is_read_at_once_is_limited(self, small_server):
        by_hand = ServiceObjects(small_server, new_channel(small_server))
        by_hand.create(Segment(7))
        by_hand.paint_voxels(7, [SPOT])
        objects = self.driver(small_server, by_hand.channel)
        large = {
            "ids": lambda: objects.ids(EVERYWHERE),
            "query": lambda: objects.query(box=EVERYWHERE),
            "exceptions": lambda: objects.exceptions(EVERYWHERE),
            "mask": lambda: objects.cutout(7, EVERYWHERE),
            "cuboids": lambda: objects.tight_cutout(7),
        }
        for word, act in large.items():
            if word not in objects.cannot:
                with objects.refuses(PayloadTooLargeError):
                    act()
        assert objects.ids(AROUND) == [7]
