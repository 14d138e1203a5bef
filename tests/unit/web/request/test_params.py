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


def test_ranges_are_half_open_and_in_x_y_z_order():
    parsed = parse_cutout("2/10,20/30,50/5,6/")
    assert (parsed.resolution, parsed.box) == (2, Box((10, 30, 5), (20, 50, 6)))
    assert (parsed.times, parsed.neariso, parsed.window, parsed.ids) == (None, False, None, None)


def test_options_may_come_in_any_order_after_the_time():
    parsed = parse_cutout("0/0,1/0,1/1,2/4,7/filter/9,10/neariso/window/0.5,200/")
    assert parsed.times == (4, 7)
    assert parsed.neariso
    assert parsed.window == (0.5, 200)
    assert parsed.ids == {9, 10}


@pytest.mark.parametrize("rest", ["/0,1", "/0,1neariso/", "/neariso", "/0,0/"])
def test_options_without_a_final_slash_are_ignored(rest):
    """ndio sends ``…/0,1`` and ``…/0,1neariso/`` and counts on a 3-D answer."""
    parsed = parse_cutout("0/0,1/0,1/1,2" + rest)
    assert parsed.times is None
    assert not parsed.neariso


@pytest.mark.parametrize("path", [
    "", "0/1,2/3,4/", "0/-1,2/0,1/0,1/", "a/0,1/0,1/0,1/", "0/0,1/0,1/0,1x/", "0/0,1.5/0,1/0,1/",
    f"0/0,{'9' * 40}/0,1/0,1/",
])  # fmt: skip
def test_paths_outside_the_grammar_are_refused(path):
    with pytest.raises(PathSyntaxError):
        parse_cutout(path)


@pytest.mark.parametrize("path", ["0/5,5/0,1/0,1/", "0/0,1/9,3/0,1/"])
def test_empty_and_reversed_ranges_are_refused(path):
    with pytest.raises(EmptyBoxError):
        parse_cutout(path)


def test_a_reversed_range_of_a_query_is_refused():
    with pytest.raises(EmptyBoxError):
        region_of_query(DATASET, CHANNEL, {"y": "52:20"})


def test_the_offset_of_the_resolution_is_taken_away():
    region = region_of(DATASET, CHANNEL, parse_cutout("1/4,14/2,12/1,11/"))
    assert region.box == Box((0, 0, 0), (10, 10, 10))
    assert region.times == (3, 4)


@pytest.mark.parametrize("path", ["0/7,9/4,5/1,2/", "0/8,10009/4,5/1,2/", "0/8,9/4,5/0,2/"])
def test_boxes_outside_the_volume_are_refused(path):
    with pytest.raises(OutOfBoundsError):
        region_of(DATASET, CHANNEL, parse_cutout(path))


def test_a_filter_holds_every_label_of_64_bits_and_drops_what_is_none():
    """Seen to fail with 18 digits: the filter was taken for something else and ignored."""
    largest = 2**64 - 1
    path = f"0/0,1/0,1/0,1/filter/7,{largest},{10**30}/"
    assert parse_cutout(path).ids == {7, largest}


def test_unknown_resolutions_are_refused():
    with pytest.raises(ResolutionNotFoundError):
        region_of(DATASET, CHANNEL, parse_cutout("6/8,9/4,5/1,2/"))


def test_near_isotropic_boxes_are_bounded_by_the_reduced_depth():
    region = region_of(DATASET, CHANNEL, parse_cutout("5/0,1/0,1/1,24/neariso/"))
    assert region.neariso
    with pytest.raises(OutOfBoundsError):
        region_of(DATASET, CHANNEL, parse_cutout("5/0,1/0,1/1,25/neariso/"))


def test_near_isotropic_is_the_plain_level_where_its_scale_is_one():
    assert not region_of(DATASET, CHANNEL, parse_cutout("0/8,9/4,5/1,2/neariso/")).neariso


def test_axes_left_out_of_a_query_are_whole():
    region, timed = region_of_query(DATASET, CHANNEL, {"x": "10:20"})
    assert region.box == Box((2, 0, 0), (12, 10000, 1000))
    assert (region.times, timed) == ((3, 4), False)


@pytest.mark.parametrize("query", [
    {"x": "1-2"}, {"x": "-1:2"}, {"x": ""}, {"x": "10.5:74"}, {"x": f"0:{'9' * 40}"},
    {"resolution": "one"}, {"resolution": "-1"}, {"t": ":"},
])  # fmt: skip
def test_query_values_that_are_no_ranges_are_refused(query):
    with pytest.raises(InvalidArgumentError):
        region_of_query(DATASET, CHANNEL, query)


def test_an_empty_time_range_is_refused():
    with pytest.raises(OutOfBoundsError):
        region_of_query(DATASET, CHANNEL, {"t": "5:5"})


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


@pytest.mark.parametrize("text", ["", "5,", "a", "-5", str(2**64), "9" * 5000, "٥", "1_0", " 5"])
def test_words_that_are_no_ids_are_refused(text):
    with pytest.raises(InvalidArgumentError):
        parse_ids(text)


def test_more_ids_than_one_call_names_are_refused():
    assert len(parse_ids(",".join(map(str, range(MAX_IDS))))) == MAX_IDS
    with pytest.raises(PayloadTooLargeError):
        parse_ids("1," * MAX_IDS + "1")


@pytest.mark.parametrize("word", ["", "x", "-1", "1.5", "9999", "٥"])
def test_words_that_are_no_resolution_are_refused(word):
    with pytest.raises(PathSyntaxError):
        parse_resolution(word)


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
