"""A TIFF file is read with every plane that it holds, or refused with the pages that are over.

Seen to fail where the first of tifffile's series was taken for the whole file: all cases named so
below came with fewer planes, or with planes moved up, and no word.
"""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from ingest_queue.sources import open_source, second_reading
from ndlambda.errors import InvalidArgumentError, MalformedBodyError
from tests.support.stacks import stack

STACK = np.random.default_rng(3).integers(1, 60_000, (6, 20, 24), dtype=np.uint16)
PREVIEW = STACK[0, ::3, ::3].copy()


def write(path, planes, options=({},), **more):
    """Write planes page by page, each with its own options, as programs that append do."""
    with tifffile.TiffWriter(path, bigtiff=more.pop("bigtiff", False)) as file:
        for n, plane in enumerate(planes):
            each = {"metadata": None} | more | options[n * len(options) // len(planes)]
            file.write(plane, contiguous=False, photometric=each.pop("photometric", 1), **each)


def with_subifds(path):
    with tifffile.TiffWriter(path) as file:
        for plane in STACK:
            file.write(plane, subifds=1, metadata=None, photometric=1)
            file.write(plane[::2, ::2].copy(), subfiletype=1, metadata=None, photometric=1)


def imagej(path, tags=None):
    """As ImageJ writes; without a scale there are no tags of resolution."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[270] = "ImageJ=1.53t\nimages=6\nslices=6\nloop=false\n"
    for tag, value in (tags or {}).items():
        info[tag] = value
    first, *rest = [Image.fromarray(plane) for plane in STACK]
    first.save(path, save_all=True, append_images=rest, tiffinfo=info)


def one_header(path, planes=6):
    """As ImageJ writes above 4 GB: one page header, in front of all planes."""
    description = "ImageJ=1.53t\nimages=6\nslices=6\n"
    tifffile.imwrite(path, STACK[0], description=description, metadata=None, photometric=1)
    with path.open("ab") as file:
        file.write(STACK[1:planes].tobytes())


DEFLATED = ({}, {"compression": "zlib"})
WHOLE = {
    "equal pages": lambda path: write(path, STACK),
    "pages of a program that names axes": lambda path: write(
        path, STACK, compression="zlib", metadata={}
    ),
    "appended with another compression": lambda path: write(path, STACK, DEFLATED),
    "appended with other strips": lambda path: write(path, STACK, ({}, {"rowsperstrip": 7})),
    "appended with another photometric": lambda path: write(path, STACK, ({}, {"photometric": 0})),
    "appended in a BigTIFF": lambda path: write(path, STACK, DEFLATED, bigtiff=True),
    "a preview that says so": lambda path: write(
        path, [PREVIEW, *STACK], [{"subfiletype": 1}, *[{}] * 6]
    ),
    "SubIFDs": with_subifds,
    "BigTIFF": lambda path: write(path, STACK, bigtiff=True),
    "LZW": lambda path: write(path, STACK, compression="lzw"),
    "ImageJ without a scale": imagej,
    "ImageJ with a scale": lambda path: imagej(path, {282: 4.0, 283: 4.0}),
    "ImageJ with one header": one_header,
}


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


LEFT_OVER = {
    "preview first": ([PREVIEW, *STACK], r":0 pages 0 \(8x7 uint16\), :1 pages 1-6 \(24x20 uint16"),
    "odd page in the middle": ([*STACK[:3], PREVIEW, *STACK[3:]], ":0 pages 0-2, 4-6 .*:1 pages 3"),
    "other dtype": ([*STACK, STACK[0].astype(np.uint8)], r":1 pages 6 \(24x20 uint8\)"),
}


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


def ome(path, files, pages=3, images=1):
    """An OME-TIFF file of planes; its XML may name other files for some of them."""
    data = "".join(
        f'<TiffData FirstZ="{n * pages}" FirstT="0" FirstC="0" IFD="0" PlaneCount="{pages}">'
        f'<UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for n, name in enumerate(files)
    )
    image = (
        '<Image ID="Image:{}"><Pixels ID="P" DimensionOrder="XYZCT" Type="uint16" SizeX="24" '
        f'SizeY="20" SizeZ="{pages * len(files)}" SizeC="1" SizeT="1" PhysicalSizeX=\'40\' '
        'PhysicalSizeXUnit="nm" PhysicalSizeY="40" PhysicalSizeYUnit="&#110;m">'
        '<Channel ID="C" SamplesPerPixel="1"/>{}</Pixels></Image>'
    )
    content = image.format(0, data)
    for n in range(1, images):
        content += image.format(n, f'<TiffData FirstZ="0" IFD="{pages * n}" PlaneCount="{pages}"/>')
    return wrapped(content, path.name)


def wrapped(content, name, before=""):
    return (
        f'{before}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="urn:uuid:{name}">{content}</OME>'
    )


def write_described(path, planes, xml):
    write(
        path,
        planes,
        [{"description": xml.encode()}, *[{"compression": "zlib"}] * 100][: len(planes)],
    )


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
