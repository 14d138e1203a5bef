"""``put`` reads what sources read, and labels only from what keeps them."""

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image


@pytest.fixture
def array():
    return np.random.default_rng(11).integers(1, 255, (6, 33, 47), dtype=np.uint8)


def slices(folder, array, suffix, **options):
    folder.mkdir()
    for z, plane in enumerate(array):
        Image.fromarray(plane).save(folder / f"z{z}{suffix}", **options)


def hdf5(path, array, name, **attributes):
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=array)
        file[name].parent.attrs.update(attributes)


LOCATIONS = {
    "jp2": lambda at, array: slices(at / "jp2", array, ".jp2"),
    "a.tif": lambda at, array: tifffile.imwrite(at / "a.tif", array, photometric="minisblack"),
    "a.nii.gz": lambda at, array: nibabel.save(
        nibabel.Nifti1Image(array.T, np.eye(4)), at / "a.nii.gz"
    ),
    "a.zarr": lambda at, array: zarr.create_array(at / "a.zarr", data=array),
    "a.h5:/volumes/raw": lambda at, array: hdf5(at / "a.h5", array, "volumes/raw"),
    "a.nwb --from-axes zyx": lambda at, array: hdf5(
        at / "a.nwb", array, "acquisition/em/data", neurodata_type="ImageSeries"
    ),
}


@pytest.mark.parametrize("location", LOCATIONS)
def test_files_folders_and_what_is_in_them_are_put(run, server, tmp_path, array, location):
    LOCATIONS[location](tmp_path, array)
    run.ok(f"put {location} --token demo --channel em --create")
    assert np.array_equal(server.array("demo", "em")[0], array)


def test_what_is_ignored_is_told(run, server, tmp_path, array):
    slices(tmp_path / "png", array, ".png")
    (tmp_path / "png" / "old.png").mkdir()
    done = run("put png --token demo --channel em --create")
    assert done.code == 0
    assert "old.png is a folder, not a slice" in done.err
    assert np.array_equal(server.array("demo", "em")[0], array)


def test_a_tiff_with_pages_left_over_is_not_put(run, server, tmp_path, array):
    tifffile.imwrite(tmp_path / "a.tif", array[0, ::2, ::3].copy(), metadata=None)
    tifffile.imwrite(tmp_path / "a.tif", array, append=True, metadata=None, photometric=1)
    done = run("put a.tif --token demo --channel em --create")
    assert (done.code, server.things["datasets"]) == (2, {})
    assert ":0 pages 0 (16x17 uint8), :1 pages 1-6" in done.err
    assert run("put a.tif:1 --token demo --channel em --create").code == 0
    assert np.array_equal(server.array("demo", "em")[0], array)


@pytest.mark.parametrize("create", ["--create --annotation", ""])
def test_labels_are_not_put_from_lossy_slices(run, server, tmp_path, array, create):
    colours = np.stack([array] * 3, axis=3)
    slices(tmp_path / "labels", colours, ".webp")
    if not create:
        server.add_volume((1, 6, 33, 47), "uint32", channel_type="annotation")
    done = run(f"put labels --token tok --channel ch {create}")
    assert done.code == 2
    assert "lossy" in done.err
    assert server.count("POST", "cutout") == 0
    assert server.count("POST", "datasets") == 0


def test_gaps_and_channels_are_options_of_the_command(run, server, tmp_path, array):
    slices(tmp_path / "png", array, ".png")
    whole = array.copy()
    (tmp_path / "png" / "z2.png").unlink()
    done = run("put png --token demo --channel em --create")
    assert (done.code, server.things["datasets"]) == (2, {})
    assert "lacks 1 slice: 2" in done.err
    assert run("put png --token demo --channel em --create --gaps zero").code == 0
    array[2] = 0
    assert np.array_equal(server.array("demo", "em")[0], array)
    both = np.stack([whole, whole // 2], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", both, imagej=True, metadata={"axes": "ZCYX"})
    done = run.ok("put a.tif --token two --channel em --create --from-channel 1")
    assert np.array_equal(server.array("two", "em")[0], whole // 2)
