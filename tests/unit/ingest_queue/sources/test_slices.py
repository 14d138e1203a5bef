import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from ingest_queue.images import png
from ingest_queue.sources import MissingSlices, Options, open_source, second_reading
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
    with pytest.raises(InvalidArgumentError, match="lacks 2 slices: 10-11") as caught:
        open_source(folder)
    assert caught.value.details["missing"] == 2
    zeros = stack(open_source(folder, Options(gaps=MissingSlices.ZERO)))[0]
    assert np.array_equal(zeros[[0, 1, 2, 5, 6]], array[:5])
    assert not zeros[[3, 4]].any()
    closed = stack(open_source(folder, Options(gaps=MissingSlices.SKIP)))[0]
    assert np.array_equal(closed, array[:5])


def test_long_gaps_are_named_by_their_ends(tmp_path, array):
    folder = write(tmp_path / "s", array[:2], ".png", [0, 10**12])
    with pytest.raises(InvalidArgumentError, match=r"lacks 999999999999 slices: 1-999999999999"):
        open_source(folder)
    with pytest.raises(InvalidArgumentError, match="lacks 999999999999"):
        open_source(folder, Options(gaps=MissingSlices.ZERO))


def test_a_number_given_twice_is_refused(tmp_path, array):
    folder = write(tmp_path / "s", array[:3], ".png", ["1", "01", "2"])
    with pytest.raises(InvalidArgumentError, match="two slices of the number 1"):
        open_source(folder)


@pytest.mark.parametrize("names", [["a1b5", "a2b9", "a3b11"], ["top", "mid9", "low"]])
def test_names_without_one_number_are_in_natural_order_without_gaps(tmp_path, array, names):
    folder = write(tmp_path / "s", array[:3], ".png", names, "{}")
    order = [0, 1, 2] if names[0] == "a1b5" else np.argsort(names)
    assert np.array_equal(stack(open_source(folder))[0], array[:3][order])


def test_a_slice_that_grew_after_it_was_checked_is_refused(tmp_path, array):
    folder = write(tmp_path / "s", array, ".png", range(12))
    source = open_source(folder)
    Image.fromarray(array[0][:, :1]).save(folder / "em_3.png")
    with pytest.raises(ShapeMismatchError, match="is 1x20 of uint8, not 30x20 of uint8"):
        stack(source)


def two_channels(folder, array):
    """``img_c0_z000`` to ``img_c1_z003``."""
    names = [f"c{c}_z{z:03}" for c in range(2) for z in range(4)]
    return write(folder, array[:8], ".png", names, "img_{}")


def test_of_two_numbers_in_the_names_z_is_asked_for(tmp_path, array):
    """Seen to fail: channels were stored as further planes, and a missing file was not noticed."""
    folder = two_channels(tmp_path / "s", array)
    reading = r"0 to 1 after 'img_c' \(2 values\), 0 to 3 after '_z' \(4 values\).*--from-axes cz"
    with pytest.raises(InvalidArgumentError, match=reading):
        open_source(folder)
    with pytest.raises(InvalidArgumentError, match="2 channels; choose one, 0 to 1"):
        open_source(folder, Options(axes="cz"))
    for wrong in ("z", "zz", "cy", "zt"):
        with pytest.raises(InvalidArgumentError, match="with one z"):
            open_source(folder, Options(axes=wrong))
    chosen = Options(axes="cz", channel=1)
    assert np.array_equal(stack(open_source(folder, chosen))[0], array[4:8])
    every = open_source(folder, Options(gaps=MissingSlices.SKIP))
    assert np.array_equal(stack(every)[0], array[:8])
    (folder / "img_c1_z002.png").unlink()
    with pytest.raises(InvalidArgumentError, match="lacks 1 slice: 2"):
        open_source(folder, chosen)


def test_a_number_that_counts_nothing_is_left_out(tmp_path, array):
    folder = write(tmp_path / "s", array[:3], ".png", ["z1_t50", "z2_t9", "z3_t9"], "{}")
    assert np.array_equal(stack(open_source(folder, Options(axes="z-")))[0], array[:3])


def test_a_gap_is_noticed_beside_a_second_number_in_the_same_order(tmp_path, array):
    folder = write(tmp_path / "s", array[:3], ".png", ["z1_1130", "z2_1245", "z4_1300"], "{}")
    with pytest.raises(InvalidArgumentError, match="lacks 1 slice: 3"):
        open_source(folder)


def test_names_of_several_kinds_are_asked_about(tmp_path, array):
    names = ["red_1", "red_2", "green_1", "green_2"]
    folder = write(tmp_path / "s", array[:4], ".png", names, "{}")
    with pytest.raises(InvalidArgumentError, match=r"2 kinds: green_# \(2\), red_# \(2\)"):
        open_source(folder)
    every = open_source(folder, Options(gaps=MissingSlices.SKIP))
    assert np.array_equal(stack(every)[0], array[[2, 3, 0, 1]])


@pytest.mark.parametrize("names", [["z-2", "z-1", "z0", "z1"], ["z_-10", "z_-9", "z_-8", "z_-7"]])
def test_negative_numbers_ascend(tmp_path, array, names):
    """Seen to fail: the minus was taken for a word, and planes below 0 came in reverse."""
    folder = write(tmp_path / "s", array[:4], ".png", names, "{}")
    assert np.array_equal(stack(open_source(folder))[0], array[:4])


def test_a_hyphen_in_all_names_is_no_sign(tmp_path, array):
    folder = write(tmp_path / "s", array[:4], ".png", ["img-1", "img-2", "img-3", "img-4"], "{}")
    assert np.array_equal(stack(open_source(folder))[0], array[:4])


def test_a_folder_named_like_a_slice_is_no_slice_and_is_told(tmp_path, array):
    """Seen to fail: the stack was refused, since a folder is no file."""
    folder = write(tmp_path / "s", array[:3], ".png", range(3))
    (folder / "old.png").mkdir()
    source = open_source(folder)
    assert np.array_equal(stack(source)[0], array[:3])
    assert "old.png is a folder" in source.notes[0]


def test_a_path_with_braces_that_exists_is_no_pattern(tmp_path, array):
    """Seen to fail: braces made it a pattern of tiles before the path was looked at."""
    folder = write(tmp_path / "a {run1}", array[:3], ".png", range(3))
    assert np.array_equal(stack(open_source(folder))[0], array[:3])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_slices_are_read_again_by_another_way(tmp_path, array, suffix, monkeypatch):
    folder = write(tmp_path / "s", array, suffix, range(12))
    source = open_source(folder)
    assert np.array_equal(stack(second_reading(source))[0], array)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda page: array[0])
    first = (folder / f"em_0{suffix}").read_bytes()
    monkeypatch.setattr(png, "inflated", lambda file, layout: io.BytesIO(first))
    assert not np.array_equal(stack(source)[0], array)
    assert np.array_equal(stack(second_reading(source))[0], array)
