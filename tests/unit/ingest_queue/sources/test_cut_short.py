"""Input that is cut short while it is being read: an error, and never the end of the process.

Seen to fail where a file is mapped: it is ended by SIGBUS, so each is read in a child process.
"""

import os
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import h5py
import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from ingest_queue.sources import open_source
from ingest_queue.sources.file_array import FileArray
from ndlambda.errors import MalformedBodyError

ARRAY = np.random.default_rng(3).integers(1, 250, (64, 128, 128), dtype=np.uint8)


def write_knossos(folder: Path) -> None:
    folder.mkdir()
    facts = "".join(f"boundary {axis} 128;\nscale {axis} 1.0;\n" for axis in "xyz")
    (folder / "knossos.conf").write_text(f'experiment name "e";\n{facts}')
    cube = folder / "x0000" / "y0000" / "z0000" / "e_mag1_x0000_y0000_z0000.raw"
    cube.parent.mkdir(parents=True)
    cube.write_bytes(ARRAY.tobytes() * 2)


def write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = ARRAY


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.npy": lambda path: np.save(path, ARRAY),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(ARRAY)),
    "a.nrrd": lambda path: nrrd.write(str(path), ARRAY.T, {"encoding": "raw"}),
    "gzip.nrrd": lambda path: nrrd.write(str(path), ARRAY.T, {"encoding": "gzip"}),
    "imagej.tif": lambda path: tifffile.imwrite(path, ARRAY, imagej=True, metadata={"axes": "ZYX"}),
    "pages.tif": lambda path: tifffile.imwrite(path, ARRAY, compression="zlib", rowsperstrip=8),
    "a.nii": lambda path: nibabel.save(nibabel.Nifti1Image(ARRAY.T, np.eye(4)), path),
    "a.nii.gz": lambda path: nibabel.save(nibabel.Nifti1Image(ARRAY.T, np.eye(4)), path),
    "a.h5": write_hdf5,
    "knossos": write_knossos,
}


def read_while_cut(path: Path, place: str) -> None:
    """Open a source, cut its file, read on, and end the process by 3 where that is an error."""
    source = open_source(place)
    _, depth, _, _ = source.shape_tzyx
    source.read(0, 0, 8)
    os.truncate(path, path.stat().st_size // 3)
    try:
        for z in range(8, depth, 8):
            source.read(0, z, z + 8)
        source.read(0, 0, depth)
    except MalformedBodyError as error:
        os._exit(3 if path.name in str(error) else 4)
    os._exit(0)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_short_while_it_is_read_is_an_error_that_names_it(tmp_path, name):
    WRITERS[name](tmp_path / name)
    (path,) = [each for each in tmp_path.rglob("*") if each.is_file() and each.suffix != ".conf"]
    place = f"{tmp_path / name}:data" if name == "a.h5" else str(tmp_path / name)
    child = get_context("fork").Process(target=read_while_cut, args=(path, place))
    child.start()
    child.join()
    assert child.exitcode == 3


def test_any_planes_are_those_of_the_array(tmp_path):
    """Also where a block is too large to be read for a part of it."""
    array = np.arange(2 * 3 * 5 * 7, dtype=">u2").reshape(2, 3, 5, 7)
    path = tmp_path / "voxels"
    path.write_bytes(b"header" + array.tobytes())
    stored = FileArray(path, array.dtype, array.shape, 6)
    whole = slice(None)
    for index in (
        (whole, whole, whole, whole), (1, slice(0, 2), whole, whole), (whole, 2, whole, whole),
        (whole, slice(1, 3), 3, slice(2, 4)), (0, 1, slice(4, 5), whole), (whole, whole, 4, 6),
    ):  # fmt: skip
        for block_bytes in (0, 1 << 20):
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.setattr("ingest_queue.sources.file_array._BLOCK_BYTES", block_bytes)
                found: NDArray[np.uint16] = stored[index]
            assert np.array_equal(found, array[index])
    with pytest.raises(MalformedBodyError, match="ends before"):
        FileArray(path, array.dtype, array.shape, 7)


@pytest.mark.parametrize("name", ["a.npy", "fortran.npy", "a.nrrd", "a.nii"])
def test_what_follows_the_voxels_of_a_file_is_not_left_out(tmp_path, name):
    """Seen to fail: of two arrays written to one file the second was lost."""
    path = tmp_path / name
    WRITERS[name](path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(MalformedBodyError, match=r"4 bytes after the voxels"):
        open_source(str(path))
