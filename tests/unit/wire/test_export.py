import h5py
import nibabel
import numpy as np
import pytest
import tifffile

from ndlambda.errors import UnknownNameError
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
