"""From files through the command and the server and back, voxel by voxel."""

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import tifffile

from tests.support.server import serving

pytestmark = pytest.mark.e2e


def put(server, source, token, *options):
    done = server.command("put", source, "--token", token, "--channel", "em", *options)
    assert done.code == 0, done.err
    return done.out


def get(server, token, output, *options):
    done = server.command("get", "--token", token, "--channel", "em", "-o", output, *options)
    assert done.code == 0, done.err
    return output


@pytest.fixture
def small():
    return np.random.default_rng(8).integers(0, 2000, (19, 41, 83), dtype=np.uint16)


def test_a_stack_survives_a_restart_on_files(stack_folder, stack, tmp_path):
    with serving(tmp_path / "nd") as server:
        put(server, stack_folder, "em", "--create", "--voxelres", "8,8,8")
        assert np.array_equal(np.load(get(server, "em", tmp_path / "first.npy")), stack)
    with serving(tmp_path / "nd", port=server.port) as server:
        assert np.array_equal(np.load(get(server, "em", tmp_path / "second.npy")), stack)
        said = put(server, stack_folder, "em")
        assert " 0 sent" in said, "everything is there already"


def test_a_stack_goes_through_the_aws_adapters(stack_folder, stack, tmp_path):
    with serving(tmp_path / "nd", "--moto") as server:
        put(server, stack_folder, "em", "--create", "--scaling", "isotropic")
        assert np.array_equal(np.load(get(server, "em", tmp_path / "out.npy")), stack)
    assert {path.name for path in (tmp_path / "nd").iterdir()} == {"admin.key", "secret.key"}


def test_two_puts_at_once_into_the_same_supercuboids(server, tmp_path):
    voxels = np.random.default_rng(9).integers(1, 255, (40, 100, 100), dtype=np.uint8)
    np.save(tmp_path / "all.npy", voxels)
    put(server, tmp_path / "all.npy", "pair", "--create")
    again = 255 - voxels // 2
    halves = {13: again[:13], 40: again[13:]}
    running = []
    for stop, half in halves.items():
        np.save(tmp_path / f"{stop}.npy", half)
        offset = f"0,0,{stop - len(half)}"
        target = ("--token", "pair", "--channel", "em", "--offset", offset)
        running.append(server.start_command("put", tmp_path / f"{stop}.npy", *target))
    for process in running:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert np.array_equal(np.load(get(server, "pair", tmp_path / "out.npy")), again)


def test_npy_in_and_every_format_out(server, small, tmp_path):
    np.save(tmp_path / "in.npy", small)
    put(server, tmp_path / "in.npy", "formats", "--create", "--voxelres", "4,5,30")
    out = {
        suffix: get(server, "formats", tmp_path / f"out{suffix}")
        for suffix in (".npy", ".h5", ".tif", ".nii.gz")
    }
    assert np.array_equal(np.load(out[".npy"]), small)
    assert np.array_equal(tifffile.imread(out[".tif"]), small)
    with h5py.File(out[".h5"]) as file:
        found = []
        file.visititems(
            lambda _, item: found.append(item[:]) if getattr(item, "ndim", 0) >= 3 else None
        )
    (array,) = found
    assert np.array_equal(array.reshape(small.shape), small)
    image = nibabel.load(out[".nii.gz"])
    assert np.array_equal(np.asarray(image.dataobj).T, small)


def test_a_multi_page_tiff_with_an_offset(server, small, tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", small)
    put(server, tmp_path / "in.tif", "pages", "--create", "--offset", "100,20,1")
    out = get(server, "pages", tmp_path / "out.npy", "--box", "103:180,20:50,2:19")
    assert np.array_equal(np.load(out), small[1:18, :30, 3:80])


def test_a_nifti_time_series_as_nibabel_ships_it(server, tmp_path):
    source = Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"
    voxels = np.asarray(nibabel.load(source).dataobj).T
    assert voxels.shape == (2, 24, 96, 128)
    put(server, source, "mri", "--create")
    out = get(server, "mri", tmp_path / "out.nii.gz", "--time", "0:2")
    assert np.array_equal(np.asarray(nibabel.load(out).dataobj).T, voxels)
    second = get(server, "mri", tmp_path / "second.npy", "--time", "1:2")
    assert np.array_equal(np.load(second)[0], voxels[1])


def test_put_refuses_what_does_not_fit_and_writes_nothing(server, small, tmp_path):
    np.save(tmp_path / "in.npy", small)
    np.save(tmp_path / "wide.npy", small.astype(np.uint32))
    put(server, tmp_path / "in.npy", "strict", "--create")
    target = ("--token", "strict", "--channel", "em")
    outside = server.command("put", tmp_path / "in.npy", *target, "--offset", "1,0,0")
    wide = server.command("put", tmp_path / "wide.npy", *target)
    absent = server.command("put", tmp_path / "absent.npy", *target)
    unknown = server.command("put", tmp_path / "in.npy", "--token", "nobody", "--channel", "em")
    assert [outside.code, wide.code, absent.code, unknown.code] == [2, 2, 3, 3]
    for refused in (outside, wide, absent, unknown):
        assert refused.out == ""
        assert refused.err.count("\n") == 1, refused.err
    assert np.array_equal(np.load(get(server, "strict", tmp_path / "out.npy")), small)
