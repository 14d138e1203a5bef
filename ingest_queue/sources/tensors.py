"""Opens volumes by tensorstore's drivers, with zero-based coordinates."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.damage import needing, reading
from ingest_queue.sources import MissingSlices
from ndlambda.errors import InvalidArgumentError, MalformedBodyError


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array of tensorstore; reads only the chunks that an index touches."""

    store: Any
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stored array, in its own axis order."""
        return tuple(int(n) for n in self.store.shape)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read what is indexed."""
        return np.asarray(self.store[index].read().result())


def open_tensor(where: str, driver: str, folder: Path, **more: Any) -> Tensor:
    """Open a stored array by its metadata.

    Parameters
    ----------
    where
        For messages.
    driver
        tensorstore's name of the format.
    more
        Further members of tensorstore's specification.

    Raises
    ------
    InvalidArgumentError
        tensorstore is not installed.
    MalformedBodyError
        There is no such array, or tensorstore does not support its codec or dtype.
    """
    with needing("tensorstore", f"Reading {driver}"):
        import tensorstore

    with reading(where):
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder}/"}, **more}
        store = tensorstore.open(spec, open=True, read=True).result()
        zero_based = store[tensorstore.d[:].translate_to[0]]
        return Tensor(zero_based, np.dtype(store.dtype.numpy_dtype))


def chunk_names(axes: int, separator: str, prefix: str = "") -> tuple[str, ...]:
    """Return patterns of the path of a chunk file, one a part: ``0.0.0`` or ``c/0/0/0``."""
    number = r"\d+"
    if separator == "/":
        return (*filter(None, [prefix]), *[number] * axes)
    return (re.escape(separator).join([*filter(None, [prefix]), *[number] * axes]),)


def has_chunk(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether a folder has a chunk file of such a path."""
    name, *rest = names
    found = (each for each in folder.iterdir() if re.fullmatch(name, each.name))
    if not rest:
        return any(each.is_file() for each in found)
    return any(has_chunk(each, tuple(rest)) for each in found if each.is_dir())


def check_chunks(where: str, folder: Path, names: tuple[str, ...], gaps: MissingSlices) -> None:
    """Check that a volume stores a chunk at all: missing ones are read as its fill value.

    Raises
    ------
    InvalidArgumentError
        It has none, and gaps may not be zeros.
    """
    if gaps is not MissingSlices.ZERO and not (folder.is_dir() and has_chunk(folder, names)):
        first = "/".join(names).partition("|")[0]
        example = first.replace("-?", "").replace(r"\d+", "0").replace("\\", "")
        raise InvalidArgumentError(
            f"{where} has none of its chunks: there is no file like {folder}/{example}. They "
            "may be elsewhere, or have names (or a suffix .gz) that its metadata does not say; "
            "a volume that is meant to be empty is read with gaps: zero (--gaps zero)."
        )


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is no such file.

    Raises
    ------
    MalformedBodyError
        The file holds something else.
    """
    if not file.is_file():
        return {}
    with reading(str(file)):
        found = json.loads(file.read_bytes())
    if not isinstance(found, dict):
        raise MalformedBodyError(f"{file} does not hold a JSON object.", file=str(file))
    return found
