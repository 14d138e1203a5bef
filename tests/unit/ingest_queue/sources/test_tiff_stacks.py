"""A TIFF file is read with every plane that it holds, or refused with the pages that are over.

Seen to fail where the first of tifffile's series was taken for the whole file: all cases named so
below came with fewer planes, or with planes moved up, and no word.
"""

import struct

import numpy as np
import pytest
import tifffile

from ingest_queue.sources import open_source, second_reading
from ndlambda.errors import InvalidArgumentError, MalformedBodyError
from tests.support.stacks import stack
from tests.support.tiff_files import (
    DEFLATED,
    LEFT_OVER,
    STACK,
    WHOLE,
    ome,
    one_header,
    wrapped,
    write,
    write_described,
)


@pytest.mark.parametrize("case", WHOLE)
def test_every_plane_is_read_and_read_again_by_another_way(tmp_path, case):
    """Seen to fail for what was appended, for axes named page by page, and ImageJ without scale."""
    path = tmp_path / "a.tif"
    WHOLE[case](path)
    source = open_source(path)
    assert np.array_equal(stack(source)[0], STACK)
    assert source.labels_allowed
    again = second_reading(source)
    assert (again is source) == (case == "ImageJ with one header")
    assert np.array_equal(stack(again)[0], STACK)


def test_another_way_is_taken_page_by_page(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", STACK, compression="lzw")
    source = open_source(tmp_path / "a.tif")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda page: STACK[0])
    assert not np.array_equal(stack(source)[0], STACK)
    assert np.array_equal(stack(second_reading(source))[0], STACK)


@pytest.mark.parametrize("case", LEFT_OVER)
def test_pages_of_another_kind_are_named_and_each_kind_can_be_chosen(tmp_path, case):
    planes, reason = LEFT_OVER[case]
    path = tmp_path / "a.tif"
    write(path, planes, DEFLATED)
    with pytest.raises(InvalidArgumentError, match=reason):
        open_source(path)
    chosen = f"{path}:{int(case == 'preview first')}"
    assert np.array_equal(stack(open_source(chosen))[0], STACK)
    for wrong in ("2", "x", "-1"):
        with pytest.raises(InvalidArgumentError, match="there are :0 pages"):
            open_source(f"{path}:{wrong}")


def test_a_set_of_ome_tiff_files_is_read_whole_or_what_is_over_is_named(tmp_path):
    files = ["a.ome.tif", "b.ome.tif"]
    first, second = (tmp_path / name for name in files)
    write_described(first, STACK[:3], ome(first, files))
    binary = '<BinaryOnly MetadataFile="a.ome.tif" UUID="urn:uuid:a.ome.tif"/>'
    write_described(second, STACK[3:], wrapped(binary, second.name))
    source = open_source(first)
    assert np.array_equal(stack(source)[0], STACK)
    assert source.voxelres_xyz == (40.0, 40.0, 40.0)
    assert np.array_equal(stack(second_reading(source))[0], STACK)
    with pytest.raises(InvalidArgumentError, match=r"one file of a set, which a\.ome\.tif describ"):
        open_source(second)
    assert np.array_equal(stack(open_source(f"{second}:0"))[0], STACK[3:])
    write_described(second, [*STACK[3:], STACK[0]], wrapped(binary, second.name))
    with pytest.raises(InvalidArgumentError, match=r"pages 3 of b\.ome\.tif\)"):
        open_source(first)


def test_every_image_of_an_ome_tiff_is_read_or_asked_for(tmp_path):
    path = tmp_path / "a.ome.tif"
    write_described(path, STACK, ome(path, ["a.ome.tif"], images=2))
    with pytest.raises(
        InvalidArgumentError, match=r"pages 3-5 of a\.ome\.tif\).*:0 ZYX 3x20x24.*:1 ZYX 3x20x24"
    ):
        open_source(path)
    assert np.array_equal(stack(open_source(f"{path}:1"))[0], STACK[3:])


@pytest.mark.parametrize(
    "before",
    [
        '<!DOCTYPE a [<!ENTITY a "nm">]>',
        '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
    ],
)
def test_ome_xml_that_declares_entities_is_refused(tmp_path, before):
    path = tmp_path / "a.ome.tif"
    write_described(path, STACK, wrapped("<!-- -->", path.name, before))
    with pytest.raises(MalformedBodyError, match="EntitiesForbidden"):
        open_source(path)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_list_of_pages_that_breaks_off_is_refused(tmp_path, bigtiff):
    """Seen to fail where tifffile ended the list: the later pages were missing without a word."""
    path = tmp_path / "a.tif"
    write(path, STACK, bigtiff=bigtiff)
    with tifffile.TiffFile(path) as file:
        third, fourth = (file.pages[n].offset for n in (2, 3))
    body = path.read_bytes()
    width = "<Q" if bigtiff else "<I"
    for wrong, reason in ((len(body) + 10, "outside of the file at page 3"), (third, "itself")):
        broken = body.replace(struct.pack(width, fourth), struct.pack(width, wrong))
        path.write_bytes(broken)
        with pytest.raises(MalformedBodyError, match=reason):
            open_source(path)


def test_an_imagej_stack_above_4_gb_has_every_plane(tmp_path):
    """A file of holes, of which the first and the last planes are read."""
    depth, first = 1100, np.full((1000, 2000), 7, np.uint16)
    described = f"ImageJ=1.53t\nimages={depth}\nslices={depth}\n"
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, first, description=described, metadata=None, photometric=1)
    with path.open("r+b") as file:
        file.seek((depth - 2) * first.nbytes, 2)
        file.write(first.tobytes())
    source = open_source(path)
    assert source.shape_tzyx == (1, depth, 1000, 2000)
    for z in (0, depth - 1):
        assert np.array_equal(source.read(0, z, z + 1)[0], first)
    assert not source.read(0, 1, 2).any()


def test_an_imagej_stack_with_one_header_that_is_cut_off_is_refused(tmp_path):
    one_header(tmp_path / "a.tif", planes=4)
    with pytest.raises(MalformedBodyError, match="declares 6 images and holds 1"):
        open_source(tmp_path / "a.tif")


def test_axes_that_a_tiff_does_not_name_are_asked_for(tmp_path):
    array = STACK.reshape(2, 3, 20, 24)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    with pytest.raises(InvalidArgumentError, match=r"\(2, 3, 20, 24\).*--from-axes"):
        open_source(tmp_path / "a.tif")
