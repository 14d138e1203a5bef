import numpy as np
import pytest
import tifffile

from ingest_queue.sources import Options, open_source
from ndlambda.errors import InvalidArgumentError, MalformedBodyError
from tests.support.stacks import stack


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib", "tile": (16, 16)}, {"compression": "lzw"}]
)
def test_bigtiff_is_read(tmp_path, rng, options):
    array = rng.integers(0, 999, (4, 30, 40), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, bigtiff=True, photometric="minisblack", **options)
    source = open_source(tmp_path / "a.tif")
    assert source.labels_allowed
    assert np.array_equal(stack(source)[0], array)


@pytest.mark.parametrize(
    ("axes", "compression"),
    [("TCZYX", None), ("TZCYX", "zlib"), ("CTZYX", "zlib"), ("ZTCYX", None)],
)
def test_ome_tiff_gives_one_channel_all_times_and_the_voxel_size(tmp_path, rng, axes, compression):
    sizes = {"T": 2, "C": 3, "Z": 4, "Y": 5, "X": 6}
    array = rng.integers(0, 999, [sizes[axis] for axis in axes], dtype=np.uint16)
    metadata = {
        "axes": axes,
        "PhysicalSizeX": 0.25,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 250,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 0.002,
        "PhysicalSizeZUnit": "mm",
    }
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, array, ome=True, metadata=metadata, compression=compression)
    with pytest.raises(InvalidArgumentError, match="3 channels; choose one, 0 to 2"):
        open_source(path)
    with pytest.raises(InvalidArgumentError, match="channels 0 to 2, not 3"):
        open_source(path, Options(channel=3))
    source = open_source(path, Options(channel=1))
    assert source.voxelres_xyz == (250.0, 250.0, 2000.0)
    order = [axes.index(axis) for axis in "CTZYX"]
    assert np.array_equal(stack(source), array.transpose(order)[1])


def test_an_ome_tiff_in_several_files_is_one_volume_and_lacks_no_plane(tmp_path, rng):
    array = rng.integers(0, 999, (2, 4, 5, 6), dtype=np.uint16)
    pixels = (
        '<Pixels ID="P" DimensionOrder="XYZTC" Type="uint16" SizeX="6" SizeY="5" SizeZ="4" '
        'SizeT="2" SizeC="1"><Channel ID="C" SamplesPerPixel="1"/>{}</Pixels>'
    )
    data = "".join(
        f'<TiffData FirstT="{t}" FirstZ="0" FirstC="0" IFD="0" PlaneCount="4">'
        f'<UUID FileName="t{t}.ome.tif">urn:uuid:0000000{t}-0000-0000-0000-000000000000</UUID>'
        "</TiffData>"
        for t in range(2)
    )
    for t in range(2):
        xml = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:0000000{t}-0000-0000-0000-000000000000"><Image ID="I">'
            f"{pixels.format(data)}</Image></OME>"
        )
        tifffile.imwrite(
            tmp_path / f"t{t}.ome.tif",
            array[t],
            description=xml,
            metadata=None,
            compression="zlib",
            photometric="minisblack",
        )
    source = open_source(tmp_path / "t0.ome.tif")
    assert np.array_equal(stack(source), array)
    (tmp_path / "t1.ome.tif").unlink()
    with pytest.raises(MalformedBodyError, match="4 of 8 planes are in no file"):
        open_source(tmp_path / "t0.ome.tif")


@pytest.mark.parametrize("axes", ["ZCYX", "TZYX", "TZCYX", "ZYX"])
def test_imagej_hyperstacks_are_read_with_their_voxel_size(tmp_path, rng, axes):
    sizes = {"T": 2, "C": 3, "Z": 4, "Y": 5, "X": 6}
    array = rng.integers(0, 999, [sizes[axis] for axis in axes], dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        imagej=True,
        resolution=(4.0, 2.0),
        metadata={"axes": axes, "spacing": 3.0, "unit": "um"},
    )
    source = open_source(tmp_path / "a.tif", Options(channel=2 if "C" in axes else None))
    assert source.voxelres_xyz == (250.0, 500.0, 3000.0)
    chosen = array.take(2, axes.index("C")) if "C" in axes else array
    assert np.array_equal(stack(source).reshape(chosen.shape), chosen)


def test_levels_of_a_pyramid_can_be_chosen(tmp_path, rng):
    array = rng.integers(0, 999, (3, 32, 48), dtype=np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(array, subifds=1, tile=(16, 16), metadata={"axes": "ZYX"})
        writer.write(array[:, ::2, ::2], subfiletype=1, tile=(16, 16))
    assert np.array_equal(stack(open_source(tmp_path / "a.ome.tif"))[0], array)
    coarse = open_source(tmp_path / "a.ome.tif", Options(level=1))
    assert np.array_equal(stack(coarse)[0], array[:, ::2, ::2])
    with pytest.raises(InvalidArgumentError, match="levels 0 to 1"):
        open_source(tmp_path / "a.ome.tif", Options(level=2))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_colour_pages_are_one_uint32_a_voxel(tmp_path, rng, options):
    array = rng.integers(0, 255, (3, 4, 5, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", **options)
    source = open_source(tmp_path / "a.tif")
    r, g, b = (array[..., n].astype(np.uint32) for n in range(3))
    assert np.array_equal(stack(source)[0], r | g << 8 | b << 16 | 0xFF000000)


def test_pages_of_jpeg_are_no_labels(tmp_path, rng):
    array = rng.integers(0, 255, (3, 32, 32), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", compression="jpeg")
    assert not open_source(tmp_path / "a.tif").labels_allowed


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_a_stack_cut_short_is_named(tmp_path, rng, options):
    array = rng.integers(0, 255, (6, 64, 64), dtype=np.uint8)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for plane in array:
            writer.write(plane, contiguous=False, metadata=None, **options)
    body = path.read_bytes()
    path.write_bytes(body[: len(body) - 2000])
    with pytest.raises((MalformedBodyError, InvalidArgumentError), match=r"a\.tif"):
        stack(open_source(path))
    tifffile.imwrite(path, array, photometric="minisblack")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(MalformedBodyError, match=r"a\.tif"):
        stack(open_source(path))
