import numpy as np
import pytest

from ndlambda.errors import (
    EmptyBoxError,
    InvalidArgumentError,
    OutOfBoundsError,
    PathSyntaxError,
    PayloadTooLargeError,
    ResolutionNotFoundError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.space.box import Box
from ndlambda.web.request.params import (
    MAX_IDS,
    absolute_points,
    parse_cutout,
    parse_ids,
    parse_region,
    parse_resolution,
    region_of,
    region_of_corner,
    region_of_query,
)

DATASET = Dataset(
    "ds", (10000, 10000, 1000), offset_xyz=(8, 4, 1), voxelres_xyz=(4, 4, 3), scalinglevels=5
)
CHANNEL = Channel("p", "c", ChannelType.TIMESERIES, DataType.UINT8, starttime=3, endtime=9)


@pytest.mark.parametrize(("path", "times", "neariso", "window", "ids"), [
    ("", None, False, None, None),
    ("4,7/filter/9,10/neariso/window/0.5,200/", (4, 7), True, (0.5, 200), {9, 10}),
    # ndio sends "…/0,1" and "…/0,1neariso/" and counts on a 3-D answer.
    ("0,1", None, False, None, None), ("0,1neariso/", None, False, None, None),
    ("neariso", None, False, None, None), ("0,0/", None, False, None, None),
])  # fmt: skip
def test_ranges_are_half_open_and_options_come_in_any_order(path, times, neariso, window, ids):
    parsed = parse_cutout("2/10,20/30,50/5,6/" + path)
    assert (parsed.resolution, parsed.box) == (2, Box((10, 30, 5), (20, 50, 6)))
    assert (parsed.times, parsed.neariso, parsed.window, parsed.ids) == (
        times, neariso, window, ids,
    )  # fmt: skip


@pytest.mark.parametrize(("path", "error"), [
    *((path, PathSyntaxError) for path in (
        "", "0/1,2/3,4/", "0/-1,2/0,1/0,1/", "a/0,1/0,1/0,1/", "0/0,1/0,1/0,1x/",
        "0/0,1.5/0,1/0,1/", f"0/0,{'9' * 40}/0,1/0,1/")),
    ("0/5,5/0,1/0,1/", EmptyBoxError), ("0/0,1/9,3/0,1/", EmptyBoxError),
])  # fmt: skip
def test_paths_outside_the_grammar_and_empty_ranges_are_refused(path, error):
    with pytest.raises(error):
        parse_cutout(path)


@pytest.mark.parametrize(("query", "error"), [
    *((query, InvalidArgumentError) for query in (
        {"x": "1-2"}, {"x": "-1:2"}, {"x": ""}, {"x": "10.5:74"}, {"x": f"0:{'9' * 40}"},
        {"resolution": "one"}, {"resolution": "-1"}, {"t": ":"})),
    ({"y": "52:20"}, EmptyBoxError), ({"t": "5:5"}, OutOfBoundsError),
])  # fmt: skip
def test_query_values_that_are_no_ranges_are_refused(query, error):
    with pytest.raises(error):
        region_of_query(DATASET, CHANNEL, query)


def test_the_offset_of_the_resolution_is_taken_away():
    region = region_of(DATASET, CHANNEL, parse_cutout("1/4,14/2,12/1,11/"))
    assert region.box == Box((0, 0, 0), (10, 10, 10))
    assert region.times == (3, 4)


@pytest.mark.parametrize(("path", "error"), [
    ("0/7,9/4,5/1,2/", OutOfBoundsError), ("0/8,10009/4,5/1,2/", OutOfBoundsError),
    ("0/8,9/4,5/0,2/", OutOfBoundsError), ("6/8,9/4,5/1,2/", ResolutionNotFoundError),
    ("5/0,1/0,1/1,25/neariso/", OutOfBoundsError),  # bounded by the reduced depth
])  # fmt: skip
def test_boxes_outside_the_volume_are_refused(path, error):
    with pytest.raises(error):
        region_of(DATASET, CHANNEL, parse_cutout(path))


@pytest.mark.parametrize(("path", "neariso"), [
    ("5/0,1/0,1/1,24/neariso/", True), ("0/8,9/4,5/1,2/neariso/", False),
])  # fmt: skip
def test_near_isotropic_is_the_plain_level_where_its_scale_is_one(path, neariso):
    assert region_of(DATASET, CHANNEL, parse_cutout(path)).neariso is neariso


def test_a_filter_holds_every_label_of_64_bits_and_drops_what_is_none():
    """Seen to fail with 18 digits: the filter was taken for something else and ignored."""
    largest = 2**64 - 1
    path = f"0/0,1/0,1/0,1/filter/7,{largest},{10**30}/"
    assert parse_cutout(path).ids == {7, largest}


def test_axes_left_out_of_a_query_are_whole():
    region, timed = region_of_query(DATASET, CHANNEL, {"x": "10:20"})
    assert region.box == Box((2, 0, 0), (12, 10000, 1000))
    assert (region.times, timed) == ((3, 4), False)


def test_a_region_is_a_box_and_maybe_a_time_with_or_without_a_final_slash():
    for end in ("", "/"):
        parsed = parse_region("2/10,20/30,50/5,6" + end)
        assert (parsed.resolution, parsed.times) == (2, None)
        assert parsed.box == Box((10, 30, 5), (20, 50, 6))
        assert parse_region("0/0,1/0,1/1,2/4,7" + end).times == (4, 7)


@pytest.mark.parametrize("path", [
    "", "0", "0/0,1/0,1/1,2/neariso", "0/0,1/0,1/1,2/4,7/filter/9", "0/0,1/0,1/1,2//",
    "0/a,1/0,1/1,2",
])  # fmt: skip
def test_a_region_is_nothing_else(path):
    with pytest.raises(PathSyntaxError):
        parse_region(path)


def test_ids_come_once_in_the_order_of_the_path():
    assert parse_ids(f"7,{2**64 - 1},007,5") == [7, 2**64 - 1, 5]


@pytest.mark.parametrize(("parse", "error", "words"), [
    (parse_ids, InvalidArgumentError,
     ["", "5,", "a", "-5", str(2**64), "9" * 5000, "٥", "1_0", " 5"]),
    (parse_resolution, PathSyntaxError, ["", "x", "-1", "1.5", "9999", "٥"]),
], ids=["ids", "resolution"])  # fmt: skip
def test_words_that_are_no_numbers_are_refused(parse, error, words):
    for word in words:
        with pytest.raises(error):
            parse(word)


def test_more_ids_than_one_call_names_are_refused():
    assert len(parse_ids(",".join(map(str, range(MAX_IDS))))) == MAX_IDS
    with pytest.raises(PayloadTooLargeError):
        parse_ids("1," * MAX_IDS + "1")


def test_a_region_at_a_corner_has_the_offset_of_its_resolution_taken_away():
    region = region_of_corner(DATASET, CHANNEL, 1, (4, 2, 1), (10, 20, 5))
    assert region.box == Box((0, 0, 0), (10, 20, 5))
    assert region.times == (3, 4)
    assert absolute_points(region, np.array([[0, 1, 2]], np.uint32)).tolist() == [[4, 3, 3]]


@pytest.mark.parametrize(("corner", "size", "error"), [
    ((3, 2, 1), (1, 1, 1), OutOfBoundsError), ((4, 2, 1), (1, 1, 2000), OutOfBoundsError),
    ((4, 2, 1), (1, 0, 1), EmptyBoxError),
])  # fmt: skip
def test_regions_at_a_corner_outside_the_volume_are_refused(corner, size, error):
    with pytest.raises(error):
        region_of_corner(DATASET, CHANNEL, 1, corner, size)
