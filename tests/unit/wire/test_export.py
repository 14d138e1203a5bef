from dataclasses import replace
from xml.etree import ElementTree as ET

import h5py
import nibabel
import numpy as np
import pytest
import tifffile

from ingest_queue.sources import open_source
from ndlambda.errors import InvalidArgumentError, UnknownNameError
from ndlambda.wire.export import Cutout, known_suffixes, suffix_of, write_cutout

ZYX, TZYX = (3, 4, 5), (2, 3, 4, 5)
ARRAYS = [("uint8", ZYX), ("int16", TZYX), ("uint32", ZYX), ("uint64", TZYX), ("float32", ZYX)]


@pytest.fixture(params=[*ARRAYS, ("int64", TZYX)], ids=str)
def cutout(request):
    dtype, shape = request.param
    array = np.random.default_rng(5).integers(0, 99, shape).astype(dtype)
    return Cutout(array, "em", "image", (10, 20, 30), (4.0, 4.0, 40.0))


def test_npy_and_npz_hold_the_array(tmp_path, cutout):
    for name, read in (("a.npy", np.load), ("a.npz", lambda path: np.load(path)["cutout"])):
        write_cutout(tmp_path / name, cutout)
        assert np.array_equal(read(tmp_path / name), cutout.array)


def test_hdf5_has_ndstores_layout(tmp_path, cutout):
    write_cutout(tmp_path / "a.h5", cutout)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["em/CUTOUT"][:], cutout.array)
        assert file["em/CUTOUT"].dtype == cutout.array.dtype
        assert file["em/CHANNELTYPE"].asstr()[0] == "image"
        assert file["em/DATATYPE"].asstr()[0] == cutout.array.dtype.name
        assert tuple(file["em"].attrs["corner_xyz"]) == (10, 20, 30)


def test_tiff_has_a_page_a_plane(tmp_path, cutout):
    write_cutout(tmp_path / "a.tif", cutout)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == cutout.array[..., 0, 0].size
        assert file.series[0].axes == "TZYX"[-cutout.array.ndim :]
        assert np.array_equal(file.asarray(), cutout.array)


def test_fiji_finds_the_scale_where_imagej_has_the_dtype_and_others_are_ome(tmp_path, cutout):
    """Seen to fail: the voxel size was in a form that neither read."""
    write_cutout(tmp_path / "a.tif", cutout)
    name = cutout.array.dtype.name
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        if name in {"uint8", "uint16", "int16", "float32"}:
            facts, tags = file.imagej_metadata, file.pages[0].tags
            assert (facts["spacing"], facts["unit"]) == (40, "nm")
            assert (tags.valueof("XResolution"), tags.valueof("YResolution")) == ((1, 4), (1, 4))
        elif name.endswith("64"):  # neither has them
            assert file.shaped_metadata[0]["PhysicalSizeZ"] == 40
        else:
            (pixels,) = ET.fromstring(file.ome_metadata).iter(
                "{http://www.openmicroscopy.org/Schemas/OME/2016-06}Pixels"
            )
            assert (pixels.get("PhysicalSizeZ"), pixels.get("PhysicalSizeZUnit")) == ("40.0", "nm")


KEEPING = sorted(set(known_suffixes()) - {".npy", ".npz"})
"""The formats with a place for the voxel size."""


@pytest.mark.parametrize("suffix", KEEPING)
@pytest.mark.parametrize("voxelres", [(4, 4, 40), (3.3, 3.1, 29.7), (2e6, 2e6, 2.2e6), (1, 1, 1)])
def test_what_is_written_is_read_again_with_its_voxel_size(tmp_path, cutout, suffix, voxelres):
    voxelres = tuple(map(float, voxelres))
    write_cutout(tmp_path / f"a{suffix}", replace(cutout, voxelres_xyz=voxelres))
    source = open_source(tmp_path / f"a{suffix}")
    planes = [source.read(t, 0, source.shape_tzyx[1]) for t in range(source.shape_tzyx[0])]
    assert np.array_equal(np.squeeze(planes), cutout.array)
    assert source.dtype == cutout.array.dtype
    assert source.labels_allowed
    assert source.voxelres_xyz == pytest.approx(voxelres, rel=1e-6)


@pytest.mark.parametrize("suffix", known_suffixes())
@pytest.mark.parametrize("shape", [
    (1, 4, 5), (1, 1, 1), (2, 1, 4, 5), (1, 3, 4, 5), (1, 1, 1, 4), (3, 4, 1), (2, 3, 4, 1)
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64"])
def test_axes_of_one_keep_their_place(tmp_path, suffix, shape, dtype):
    array = np.arange(1, np.prod(shape) + 1, dtype=dtype).reshape(shape)
    made = Cutout(array, "em", "image", (0, 0, 0), (4.0, 4.0, 40.0))
    write_cutout(tmp_path / f"a{suffix}", made)
    if dtype == "uint64" and shape[-1] == 1 != np.prod(shape) and "tif" in suffix:
        # tifffile drops the last axis, and no other form of TIFF has 64 bits.
        with pytest.raises(InvalidArgumentError):
            open_source(tmp_path / f"a{suffix}")
        return
    source = open_source(tmp_path / f"a{suffix}")
    assert source.shape_tzyx == (1, *shape)[-4:]
    assert np.array_equal(source.read(0, 0, shape[-3]), array.reshape(-1, *shape[-3:])[0])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_xyz_with_size_and_corner_in_millimetres(tmp_path, cutout, suffix):
    write_cutout(tmp_path / f"a{suffix}", cutout)
    image = nibabel.load(tmp_path / f"a{suffix}")
    assert np.array_equal(np.asarray(image.dataobj), cutout.array.T)
    assert image.get_data_dtype() == cutout.array.dtype
    assert np.allclose(image.affine @ [0, 0, 0, 1], [40e-6, 80e-6, 1200e-6, 1])
    assert image.header.get_xyzt_units()[0] == "mm"
    assert np.allclose(image.header.get_zooms()[:3], [4e-6, 4e-6, 40e-6])


def test_axes_too_long_for_nifti_1_make_nifti_2(tmp_path):
    array = np.ones((1, 1, 40_000), np.uint8)
    write_cutout(tmp_path / "a.nii", Cutout(array, "c", "image", (0, 0, 0), (1.0, 1.0, 1.0)))
    assert isinstance(nibabel.load(tmp_path / "a.nii"), nibabel.Nifti2Image)


def test_a_failed_write_leaves_neither_half_a_file_nor_rubbish(tmp_path, monkeypatch):
    def fill_the_disk(path, *_, **__):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(tifffile, "imwrite", fill_the_disk)
    (tmp_path / "a.tif").write_bytes(b"the old one")
    cutout = Cutout(np.zeros((1, 2, 2), np.uint8), "c", "image", (0, 0, 0), (1.0, 1.0, 1.0))
    with pytest.raises(OSError, match="no space"):
        write_cutout(tmp_path / "a.tif", cutout)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == b"the old one"


def test_the_longest_suffix_counts_and_unknown_ones_list_the_known(tmp_path):
    assert suffix_of(tmp_path / "A.NII.GZ") == ".nii.gz"
    with pytest.raises(UnknownNameError) as caught:
        suffix_of(tmp_path / "a.gz")
    assert caught.value.details["known"] == known_suffixes()
