"""Opens volumes by tensorstore's drivers, with zero-based coordinates."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.damage import needing, reading
from ndlambda.errors import MalformedBodyError


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
