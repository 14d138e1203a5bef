"""Proves that the voxels of an HDF5 dataset are there: HDF5 reads others as its fill value."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.sources import MissingSlices
from ndlambda.errors import InvalidArgumentError

_FILTERS: Final = {
    307: "bzip2",
    32000: "LZF",
    32001: "blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32026: "blosc2",
}
"""Filters registered with the HDF Group."""


def check_voxels(where: str, dataset: Any, gaps: MissingSlices) -> tuple[Path, ...]:
    """Check that the voxels of a dataset can be read, and are there; return the other files.

    Raises
    ------
    InvalidArgumentError
        A filter is missing, or HDF5 would read its fill value and gaps may not be zeros.
    """
    _check_filters(where, dataset)
    files: dict[Path, None] = {}
    for problem in _problems(dataset, files, frozenset()):
        if gaps is not MissingSlices.ZERO:
            raise InvalidArgumentError(
                f"{where}: {problem}; read it with gaps: zero (--gaps zero) if that is meant."
            )
    return tuple(files)


def _check_filters(where: str, dataset: Any) -> None:
    """Check that what compresses the voxels is installed."""
    import h5py

    stored = dataset.id.get_create_plist()
    for number in range(stored.get_nfilters()):
        code = stored.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            name = _FILTERS.get(code, "unknown")
            raise InvalidArgumentError(
                f"{where}: {dataset.name} is compressed by filter {code} ({name}), which is not "
                "installed; install hdf5plugin and set HDF5_PLUGIN_PATH to its plugins, or save "
                "the dataset with gzip (h5repack -f GZIP=4).",
                filter=code,
            )


def _problems(
    dataset: Any, files: dict[Path, None], above: frozenset[tuple[str, str]]
) -> Iterator[str]:
    """Iterate over what would be read as the fill value, and add the files that are looked at."""
    if dataset.size == 0:
        return
    if dataset.is_virtual:
        yield from _of_virtual(dataset, files, above | {(dataset.file.filename, dataset.name)})
    elif dataset.external:
        yield from _of_external(dataset, files)
    elif dataset.id.get_storage_size() == 0:
        yield f"no voxel of {dataset.name} was ever written"


def _of_virtual(
    dataset: Any, files: dict[Path, None], above: frozenset[tuple[str, str]]
) -> Iterator[str]:
    import h5py

    own = Path(dataset.file.filename)
    sources: dict[tuple[Path, str], list[Any]] = {}
    for source in dataset.virtual_sources():
        if "%" not in f"{source.file_name}{source.dset_name}":  # else as many as there are
            path = own if source.file_name == "." else own.parent / source.file_name
            sources.setdefault((path, source.dset_name), []).append(source)
    for (path, name), selected in sources.items():
        if path != own:
            files[path] = None
        if not path.is_file():
            yield f"{dataset.name} takes voxels from {path.name}, which is not there"
            continue
        with h5py.File(path, "r") as file:
            found = file.get(name)
            if not isinstance(found, h5py.Dataset):
                yield f"{dataset.name} takes voxels from {path.name}, which has no dataset {name}"
            elif not all(_is_within(source, found) for source in selected):
                yield (
                    f"{dataset.name} takes more voxels from {name} of {path.name} than are there, "
                    f"{found.shape}"
                )
            elif (file.filename, found.name) not in above:
                yield from _problems(found, files, above)


def _is_within(source: Any, found: Any) -> bool:
    """Return whether what a virtual dataset selects is in the dataset that it names."""
    import h5py

    if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        return bool(source.vspace.get_select_npoints() <= found.size)
    last = source.src_space.get_select_bounds()[1]
    return len(last) == found.ndim and all(map(int.__lt__, last, found.shape))


def _of_external(dataset: Any, files: dict[Path, None]) -> Iterator[str]:
    left = dataset.size * dataset.dtype.itemsize
    for name, offset, size in dataset.external:
        path, wanted = Path(name), min(size, left)
        files[path] = None
        left -= wanted
        if not path.is_file() or path.stat().st_size < offset + wanted:
            yield (
                f"{dataset.name} takes {wanted} bytes at {offset} from {name}, which is not there "
                "or shorter (HDF5 looks for it where the command runs)"
            )


@dataclass(frozen=True, slots=True)
class WholeFile:
    """An array in a file that may not become shorter: HDF5 reads zeros behind its end.

    Attributes
    ----------
    array
        Indexed with integers and slices.
    path, size_bytes
        The file, and its length when the array was opened.
    """

    array: Any
    path: Path
    size_bytes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read what is indexed.

        Raises
        ------
        EOFError
            The file is shorter than before.
        """
        found = np.asarray(self.array[index])
        if self.path.stat().st_size < self.size_bytes:
            message = f"it is shorter than the {self.size_bytes} bytes that it had"
            raise EOFError(message)
        return found
