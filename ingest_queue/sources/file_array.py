"""Arrays of plain numbers in a file, of which only the planes asked for are read.

They are read and not mapped: a file that is cut short while it is mapped ends the process by a
signal where it is accessed.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import MalformedBodyError

_BLOCK_BYTES: Final = 4 << 20
"""What one read may bring although only parts of it are asked for."""

Index = tuple[int | slice, ...]


def check_end(path: Path, size: int) -> None:
    """Check that a file ends with its voxels.

    Raises
    ------
    MalformedBodyError
        More follows, which belongs to no plane.
    """
    more = path.stat().st_size - size
    if more > 0:
        raise MalformedBodyError(
            f"{path.name} has {more} bytes after the voxels that its header names; they belong to "
            "no plane."
        )


@dataclass(frozen=True, slots=True)
class FileArray:
    """A C-ordered array in a file.

    Attributes
    ----------
    path
        The file.
    dtype, shape
        Of the array.
    offset
        Bytes of the file before it.
    ends_file
        Whether nothing may follow it: what does would be left out without a word.
    """

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int = 0
    ends_file: bool = False

    def __post_init__(self) -> None:
        size = self.offset + prod(self.shape) * self.dtype.itemsize
        if self.path.stat().st_size < size:
            raise self._ended()
        if self.ends_file:
            check_end(self.path, size)

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """Read what is indexed by integers and slices without steps, one for each axis.

        Raises
        ------
        MalformedBodyError
            The file ends before.
        """
        with self.path.open("rb", buffering=0) as file:
            return self._read(file, 0, self.shape, index)

    def _read(
        self, file: IO[bytes], first: int, shape: tuple[int, ...], index: Index
    ) -> NDArray[Any]:
        """Read from the array of a shape that begins with an element of the whole."""
        if all(each == slice(None) for each in index):
            return self._run(file, first, shape)
        outer, inner, stride = index[0], index[1:], prod(shape[1:])
        if isinstance(outer, int):
            return self._read(file, first + outer * stride, shape[1:], inner)
        start, stop, _ = outer.indices(shape[0])
        if all(each == slice(None) for each in inner):
            return self._run(file, first + start * stride, (stop - start, *shape[1:]))
        is_small = stride * self.dtype.itemsize <= _BLOCK_BYTES
        places = (first + at * stride for at in range(start, stop))
        parts = [
            self._run(file, place, shape[1:])[inner]
            if is_small
            else self._read(file, place, shape[1:], inner)
            for place in places
        ]
        return np.stack(parts)

    def _run(self, file: IO[bytes], first: int, shape: tuple[int, ...]) -> NDArray[Any]:
        found = np.empty(shape, self.dtype)
        rest = found.reshape(-1).view(np.uint8).data
        file.seek(self.offset + first * self.dtype.itemsize)
        while rest:
            count = file.readinto(rest)  # type: ignore[attr-defined]  # of files without a buffer
            if not count:
                raise self._ended()
            rest = rest[count:]
        return found

    def _ended(self) -> MalformedBodyError:
        return MalformedBodyError(
            f"{self.path} ends before its {prod(self.shape)} voxels do.", file=str(self.path)
        )
