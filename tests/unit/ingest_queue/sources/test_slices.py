import numpy as np
import pytest
from PIL import Image

from ingest_queue.sources import MissingSlices, Options, open_source
from ndlambda.errors import InvalidArgumentError, ShapeMismatchError
from tests.support.stacks import stack


@pytest.fixture
def array():
    return np.random.default_rng(3).integers(0, 255, (12, 20, 30), dtype=np.uint8)


def write(folder, array, suffix, numbers, name="em_{}", **options):
    folder.mkdir()
    for number, plane in zip(numbers, array, strict=True):
        Image.fromarray(plane).save(folder / (name.format(number) + suffix), **options)
    return folder


@pytest.mark.parametrize(("suffix", "lossy"), [(".jp2", False), (".jpg", True), (".jpeg", True)])
def test_folders_of_jpegs_are_read(tmp_path, array, suffix, lossy):
    folder = write(tmp_path / "s", array, suffix, range(12))
    source = open_source(folder)
    assert source.labels_allowed != lossy
    for z, plane in enumerate(stack(source)[0]):
        assert np.array_equal(plane, Image.open(folder / f"em_{z}{suffix}"))


@pytest.mark.parametrize("lossless", [True, False])
def test_folders_of_colours_are_read(tmp_path, lossless):
    colours = np.random.default_rng(4).integers(0, 255, (3, 8, 9, 3), dtype=np.uint8)
    folder = write(tmp_path / "s", colours, ".webp", range(3), lossless=lossless)
    source = open_source(folder)
    assert (source.dtype, source.labels_allowed) == (np.dtype("<u4"), lossless)
    r, g, b = (colours[..., n].astype(np.uint32) for n in range(3))
    same = np.array_equal(stack(source)[0], r | g << 8 | b << 16 | 0xFF000000)
    assert same == lossless


def test_a_missing_number_is_named_unless_it_is_allowed(tmp_path, array):
    numbers = [7, 8, 9, 12, 13]
    folder = write(tmp_path / "s", array[:5], ".png", numbers, "s2_z{:03}_x")
    with pytest.raises(InvalidArgumentError, match="lacks 2 slices: 10, 11") as caught:
        open_source(folder)
    assert caught.value.details["missing"] == 2
    zeros = stack(open_source(folder, Options(gaps=MissingSlices.ZERO)))[0]
    assert np.array_equal(zeros[[0, 1, 2, 5, 6]], array[:5])
    assert not zeros[[3, 4]].any()
    closed = stack(open_source(folder, Options(gaps=MissingSlices.SKIP)))[0]
    assert np.array_equal(closed, array[:5])


def test_long_gaps_are_named_by_their_first_numbers(tmp_path, array):
    folder = write(tmp_path / "s", array[:2], ".png", [0, 10**12])
    with pytest.raises(InvalidArgumentError, match=r"lacks 999999999999 slices: 1, 2, \.\.\."):
        open_source(folder)
    with pytest.raises(InvalidArgumentError, match="lacks 999999999999"):
        open_source(folder, Options(gaps=MissingSlices.ZERO))


def test_a_number_given_twice_is_refused(tmp_path, array):
    folder = write(tmp_path / "s", array[:3], ".png", ["1", "01", "2"])
    with pytest.raises(InvalidArgumentError, match="two slices of the number 1"):
        open_source(folder)


@pytest.mark.parametrize("names", [["a1b5", "a2b9", "a4b1"], ["top", "mid9", "low"]])
def test_names_without_one_number_are_in_natural_order_without_gaps(tmp_path, array, names):
    folder = write(tmp_path / "s", array[:3], ".png", names, "{}")
    order = np.argsort(names)
    assert np.array_equal(stack(open_source(folder))[0], array[:3][order])


def test_a_slice_that_grew_after_it_was_checked_is_refused(tmp_path, array):
    folder = write(tmp_path / "s", array, ".png", range(12))
    source = open_source(folder)
    Image.fromarray(array[0][:, :1]).save(folder / "em_3.png")
    with pytest.raises(ShapeMismatchError, match="is 1x20 of uint8, not 30x20 of uint8"):
        stack(source)
