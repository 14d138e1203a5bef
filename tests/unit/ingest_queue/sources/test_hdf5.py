import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from ingest_queue.sources import MissingSlices, Options, open_source, other_files
from ndlambda.errors import InvalidArgumentError, MalformedBodyError, NotFoundError
from tests.support.stacks import stack


@pytest.fixture
def array():
    return np.random.default_rng(3).integers(0, 60_000, (5, 30, 40), dtype=np.uint16)


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "uint64", "float32"])
def test_the_only_image_of_a_file_is_read(tmp_path, array, dtype):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("deep/raw", data=array.astype(dtype), chunks=True, compression="gzip")
        file["deep/name"] = "text"
        file["deep/line"] = np.arange(5)
    source = open_source(tmp_path / "a.h5")
    assert source.voxelres_xyz is None
    assert np.array_equal(stack(source)[0], array.astype(dtype))


def test_a_dataset_of_several_must_be_named(tmp_path, array):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["volumes/raw"], file["volumes/labels"] = array, array // 2
    path = f"{tmp_path}/a.hdf5"
    with pytest.raises(InvalidArgumentError, match="/volumes/labels, /volumes/raw"):
        open_source(path)
    assert np.array_equal(stack(open_source(f"{path}:/volumes/labels"))[0], array // 2)
    assert np.array_equal(stack(open_source(f"{path}:volumes/raw"))[0], array)
    for missing in ("/volumes", "/none"):
        with pytest.raises(NotFoundError, match=f"no dataset {missing}"):
            open_source(f"{path}:{missing}")


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        ("resolution", [40, 5, 4], (4.0, 5.0, 40.0)),
        ("element_size_um", [0.04, 0.005, 0.004], (4.0, 5.0, 40.0)),
        ("resolution", [40], None),
        ("resolution", [0, 0, 0], None),
    ],
)
def test_voxel_sizes_of_cremi_and_fiji_are_known(tmp_path, array, name, sizes, expected):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = array
        file["raw"].attrs[name] = np.array(sizes, float)
    assert open_source(tmp_path / "a.h5").voxelres_xyz == expected


def test_axes_can_be_given_and_channels_chosen(tmp_path, array):
    both = np.stack([array.T, array.T // 2])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = both
    source = open_source(tmp_path / "a.h5", Options(axes="cxyz", channel=1))
    assert np.array_equal(stack(source)[0], array // 2)


def test_only_the_chunks_of_the_planes_asked_for_are_read(tmp_path, array):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        raw = file.create_dataset("raw", data=array, chunks=(1, 30, 40), compression="gzip")
        at = raw.id.get_chunk_info(4).byte_offset
    body = bytearray(path.read_bytes())
    body[at : at + 100] = bytes(100)
    path.write_bytes(body)
    source = open_source(path)
    assert np.array_equal(source.read(0, 0, 4), array[:4])
    with pytest.raises(MalformedBodyError, match=r"a\.h5"):
        source.read(0, 4, 5)


def test_what_is_no_hdf5_or_no_image_is_refused(tmp_path, array):
    (tmp_path / "a.h5").write_bytes(b"x" * 600)
    with pytest.raises(MalformedBodyError, match=r"a\.h5"):
        open_source(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["records"] = np.zeros((3, 3), [("a", "u1"), ("b", "u1")])
        file["raw"] = array
    body = (tmp_path / "b.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(body[: len(body) // 2])
    with pytest.raises(MalformedBodyError, match=r"cut\.h5"):
        open_source(tmp_path / "cut.h5")
    with pytest.raises(InvalidArgumentError, match="no voxels are made"):
        open_source(f"{tmp_path}/b.h5:/records")


def characters(value):
    return np.frombuffer(str(value).encode(), "S1")


def imaris(path, array, padded, number=(0, 0, 0)):
    """What Imaris writes: chunks filled up, sizes and extents as arrays of characters.

    ``number`` is of the resolution, the time point and the channel.
    """
    level, time, channel = number
    with h5py.File(path, "a") as file:
        data = np.full(padded, 9, array.dtype)
        data[tuple(slice(size) for size in array.shape)] = array
        group = file.create_group(
            f"DataSet/ResolutionLevel {level}/TimePoint {time}/Channel {channel}"
        )
        group["Data"] = data
        image = file.require_group("DataSetInfo/Image")
        for n, axis in enumerate("XYZ"):
            group.attrs[f"ImageSize{axis}"] = characters(array.shape[2 - n])
            if level == 0:
                image.attrs[f"ExtMin{n}"] = characters(1.5)
                image.attrs[f"ExtMax{n}"] = characters(1.5 + array.shape[2 - n] * (n + 1) / 4)
        image.attrs["Unit"] = characters("um")


def test_the_padding_of_imaris_is_no_data_and_its_extents_give_the_voxel_size(tmp_path, array):
    """Seen to fail: the padding was stored, and the voxel size unknown."""
    imaris(tmp_path / "a.ims", array, (8, 32, 64))
    source = open_source(tmp_path / "a.ims")
    assert np.array_equal(stack(source)[0], array)
    assert source.voxelres_xyz == (250.0, 500.0, 750.0)
    imaris(tmp_path / "b.ims", array, array.shape)
    with h5py.File(tmp_path / "b.ims", "r+") as file:
        file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"].attrs["ImageSizeX"] = "99"
    with pytest.raises(MalformedBodyError, match="for an image of"):
        open_source(tmp_path / "b.ims")


def test_resolutions_time_points_and_channels_of_imaris_are_chosen(tmp_path, array):
    """Seen to fail: all datasets were listed, one of which had to be named."""
    path = tmp_path / "a.ims"
    numbers = [(level, time, channel) for level in (0, 1) for time in (0, 1) for channel in (0, 1)]
    for n, number in enumerate(numbers):
        imaris(path, (array + n)[:, :: 1 + number[0]], (8, 32, 64), number)
    copied = shutil.copy(path, tmp_path / "b.ims")
    with pytest.raises(InvalidArgumentError, match="2 channels; choose one"):
        open_source(path)
    for level, step in ((0, 1), (1, 2)):
        for channel in (0, 1):
            source = open_source(path, Options(level=level, channel=channel))
            expected = [(array + level * 4 + time * 2 + channel)[:, ::step] for time in (0, 1)]
            assert np.array_equal(stack(source), expected)
            assert source.voxelres_xyz == (250.0, 500.0 * step, 750.0)
    with pytest.raises(InvalidArgumentError, match="levels 0 to 1"):
        open_source(path, Options(level=2))
    named = f"{path}:/DataSet/ResolutionLevel 0/TimePoint 1/Channel 0/Data"
    assert np.array_equal(stack(open_source(named))[0], array + 2)
    with h5py.File(copied, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 1"]
        file["DataSet/ResolutionLevel 1/TimePoint 1/Channel 1"].attrs["ImageSizeX"] = "3"
    with pytest.raises(MalformedBodyError, match=r"time points of \[1, 2\] channels"):
        open_source(copied, Options(channel=0))
    with pytest.raises(MalformedBodyError, match=r"TimePoint 1/Channel 1/Data is \("):
        open_source(copied, Options(channel=0, level=1))


def test_shorts_of_bigdataviewer_are_unsigned(tmp_path, array):
    """Seen to fail: values above 32767 came out negative."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t00000/s00/0/cells"] = array.view(np.int16)
    source = open_source(tmp_path / "a.h5")
    assert source.dtype == np.uint16
    assert np.array_equal(stack(source)[0], array)


@pytest.mark.parametrize("by", ["axistags", "labels"])
def test_axes_that_the_file_names_are_taken(tmp_path, array, by):
    """Seen to fail: x, y, z was read as z, y, x."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = array.T
        if by == "axistags":
            file["raw"].attrs["axistags"] = '{"axes": [{"key": "x"}, {"key": "y"}, {"key": "z"}]}'
        else:
            for dimension, name in zip(file["raw"].dims, "xyz", strict=True):
                dimension.label = name
    assert np.array_equal(stack(open_source(tmp_path / "a.h5"))[0], array)


def test_voxels_that_are_nowhere_are_no_zeros(tmp_path, array):
    """Seen to fail: a dataset never written, and one whose other file is gone, were all zeros."""
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["raw"] = array
    layout = h5py.VirtualLayout(array.shape, array.dtype)
    layout[...] = h5py.VirtualSource("part.h5", "raw", array.shape)
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    assert np.array_equal(stack(open_source(tmp_path / "whole.h5"))[0], array)
    (tmp_path / "part.h5").unlink()
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_dataset("raw", array.shape, array.dtype, chunks=True)
    for name, reason in (
        ("whole", r"from part\.h5, which is not there"),
        ("empty", "ever written"),
    ):
        with pytest.raises(InvalidArgumentError, match=f"{reason}.*--gaps zero"):
            open_source(tmp_path / f"{name}.h5")
        zeros = open_source(tmp_path / f"{name}.h5", Options(gaps=MissingSlices.ZERO))
        assert not stack(zeros).any()


def virtual(path, array, file_name, name="raw", take=slice(None)):
    """A virtual dataset of planes of another one; ``take`` of them are selected."""
    shape = array.shape
    source = h5py.VirtualSource(file_name, name, shape)
    layout = h5py.VirtualLayout(array[take].shape, array.dtype)
    layout[...] = source if take == slice(None) else source[take]
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("raw", layout)


@pytest.mark.parametrize(
    ("planes", "name", "take", "reason"),
    [
        (4, "other", slice(None), "has no dataset raw"),
        (3, "raw", slice(None), "more voxels from raw of less.h5 than are there"),
        (3, "raw", slice(1, 4), "more voxels from raw of less.h5 than are there"),
        (0, "raw", slice(None), "no voxel of /raw was ever written"),
    ],
)
def test_a_virtual_dataset_whose_voxels_are_not_all_there_is_no_zeros(
    tmp_path, array, planes, name, take, reason
):
    """Seen to fail: it was its fill value where the other file was there, but not its voxels."""
    virtual(tmp_path / "a.h5", array, "between.h5", take=take)
    virtual(tmp_path / "between.h5", array, "part.h5")
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["raw"] = array
    source = open_source(tmp_path / "a.h5")
    assert np.array_equal(stack(source)[0], array[take])
    assert {each.name for each in other_files(source)} == {"between.h5", "part.h5"}
    virtual(tmp_path / "b.h5", array, "less.h5", take=take)
    with h5py.File(tmp_path / "less.h5", "w") as file:
        if planes:
            file[name] = array[:planes]
        else:
            file.create_dataset(name, array.shape, array.dtype, chunks=True)
    with pytest.raises(InvalidArgumentError, match=f"{reason}.*--gaps zero"):
        open_source(tmp_path / "b.h5")
    open_source(tmp_path / "b.h5", Options(gaps=MissingSlices.ZERO))


def test_external_voxels_are_all_there(tmp_path, array, monkeypatch):
    """Seen to fail: zeros where a file is too short."""
    monkeypatch.chdir(tmp_path)
    half = array.nbytes // 2
    files = [("a.raw", 8, half), ("b.raw", 0, h5py.h5f.UNLIMITED)]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", array.shape, array.dtype, external=files)
    body = array.tobytes()
    (tmp_path / "a.raw").write_bytes(bytes(8) + body[:half])
    for rest in (body[half:], body[half:-1], None):
        (tmp_path / "b.raw").write_bytes(rest) if rest else (tmp_path / "b.raw").unlink()
        if rest == body[half:]:
            source = open_source("a.h5")
            assert np.array_equal(stack(source)[0], array)
            assert other_files(source) == (Path("a.raw"), Path("b.raw"))
        else:
            with pytest.raises(InvalidArgumentError, match=r"bytes at 0 from b\.raw, which is not"):
                open_source("a.h5")


def test_a_filter_that_is_not_installed_is_named_with_its_dataset(tmp_path, array):
    """Seen to fail: the message was about a folder of plugins."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk(array.shape)
        layout.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (2, 2))
        space = h5py.h5s.create_simple(array.shape)
        made = h5py.h5d.create(file.id, b"volume", h5py.h5t.NATIVE_UINT16, space, layout)
        made.write_direct_chunk((0, 0, 0), bytes(64))
    with pytest.raises(InvalidArgumentError, match=r"/volume.* filter 32001 \(blosc\)"):
        open_source(tmp_path / "a.h5")


def write_nwb(path, series, **more):
    """The layout of NWB 2: groups with a neurodata_type, an imaging plane linked to the series."""
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.7.0"
        file.attrs["neurodata_type"] = "NWBFile"
        plane = file.create_group("general/optophysiology/plane")
        plane.attrs["neurodata_type"] = "ImagingPlane"
        spacing = plane.create_dataset("grid_spacing", data=more.get("spacing", [2e-6, 3e-6]))
        spacing.attrs["unit"] = more.get("unit", "meters")
        for name, (kind, data) in series.items():
            group = file.create_group(f"acquisition/{name}")
            group.attrs["neurodata_type"] = kind
            group["data"] = data
            group["timestamps"] = np.arange(len(data)) / 30
            group["imaging_plane"] = h5py.SoftLink("/general/optophysiology/plane")
            if "external" in more:
                group["external_file"] = np.array([b"movie.avi"])


def test_nwb_series_are_time_points_of_x_y_and_z(tmp_path, array):
    movie = np.stack([array.T, array.T // 2])
    write_nwb(
        tmp_path / "a.nwb", {"volume": ("TwoPhotonSeries", movie)}, spacing=[1, 2, 3], unit="um"
    )
    source = open_source(tmp_path / "a.nwb")
    assert source.voxelres_xyz == (1000.0, 2000.0, 3000.0)
    assert np.array_equal(stack(source), np.stack([array, array // 2]))
    write_nwb(tmp_path / "b.nwb", {"plane": ("OnePhotonSeries", array.transpose(0, 2, 1))})
    source = open_source(tmp_path / "b.nwb")
    assert source.voxelres_xyz == (2000.0, 3000.0, 2000.0)
    assert np.array_equal(stack(source)[:, 0], array)


def test_one_of_several_nwb_series_must_be_named(tmp_path, array):
    series = {name: ("ImageSeries", array + n) for n, name in enumerate(("left", "right"))}
    write_nwb(tmp_path / "a.nwb", series | {"trace": ("TimeSeries", np.arange(5))})
    path = f"{tmp_path}/a.nwb"
    with pytest.raises(InvalidArgumentError, match="/acquisition/left, /acquisition/right"):
        open_source(path)
    for inside in ("/acquisition/right", "/acquisition/right/data"):
        source = open_source(f"{path}:{inside}", Options(axes="tyx"))
        assert np.array_equal(stack(source)[:, 0], array + 1)


def test_nwb_with_its_images_elsewhere_or_damage_is_refused(tmp_path):
    nothing = np.zeros((0, 0, 0), np.uint8)
    write_nwb(tmp_path / "a.nwb", {"movie": ("ImageSeries", nothing)}, external=True)
    with pytest.raises(InvalidArgumentError, match="in other files"):
        open_source(tmp_path / "a.nwb")
    (tmp_path / "b.nwb").write_bytes(b"x" * 600)
    with pytest.raises(MalformedBodyError, match=r"b\.nwb"):
        open_source(tmp_path / "b.nwb")
