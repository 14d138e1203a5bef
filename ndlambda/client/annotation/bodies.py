"""Request and response data of annotations: boxes, masks and query conditions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from ndlambda.client.transport.blocks import BlockPlan, box_ranges
from ndlambda.client.transport.http import Answer
from ndlambda.errors import IntegrityError, MalformedBodyError
from ndlambda.space.box import XYZ, Box
from ndlambda.wire.codecs.npy_array import decode_npy

_MASK_BLOCK_XYZ: Final = (128, 128, 128)
"""Block of a mask in one request: 2 MiB."""


class Where(TypedDict, total=False):
    """Conditions of a query; all must hold.

    ``fields`` has values by field name (for a list of ids, one id in the list), ``pairs`` values of
    key-value pairs.
    """

    type: str
    status: int
    author: str
    confidence_lt: float
    confidence_gt: float
    fields: Mapping[str, object]
    pairs: Mapping[str, str]
    box: Box
    resolution: int


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The voxels of an object in a box.

    Attributes
    ----------
    array
        bool, (z, y, x); the caller owns it. Empty if the object has no voxels.
    corner_xyz
        Its first voxel in dataset coordinates, None if it is empty.
    """

    array: NDArray[np.bool_]
    corner_xyz: XYZ | None


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVoxels:
    """Voxels with several labels.

    Attributes
    ----------
    voxels_xyz
        int64, (n, 3), dataset coordinates.
    labels
        uint64, (n, k): the voxel's main label, then its extra ones, padded with zeros.
    """

    voxels_xyz: NDArray[np.int64]
    labels: NDArray[np.uint64]


def box_query(box: Box, resolution: int) -> dict[str, str]:
    """Return the query parameters of a box at a resolution."""
    return {"resolution": str(resolution), **box_ranges(box)}


def mask_blocks(box: Box) -> Iterator[Box]:
    """Iterate over the boxes in which a mask is sent."""
    plan = BlockPlan((0, 0, 0), _MASK_BLOCK_XYZ)
    return (block.box for block in plan.split(box, (0, 1)))


def array_of(answer: Answer, axes: int) -> NDArray[Any]:
    """Return the integers or bools of an answer; possibly a read-only view of it.

    Raises
    ------
    IntegrityError
        It holds something else, or has another number of axes.
    """

    def accept(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        if len(shape) != axes or dtype.kind not in "biu":
            raise IntegrityError(f"The server sent {dtype.name} of shape {shape}.")

    try:
        return decode_npy(answer.body, accept)
    except MalformedBodyError as error:
        raise IntegrityError(f"The server sent no array: {error.message}") from error


def corner_of(answer: Answer) -> XYZ:
    """Return the first voxel (dataset coordinates) of the array in an answer.

    Raises
    ------
    IntegrityError
        The answer does not have it.
    """
    words = answer.headers.get("x-ndlambda-corner", "").split(",")
    try:
        x, y, z = map(int, words)
    except ValueError:
        raise IntegrityError("The server did not say where the mask is.") from None
    return x, y, z


def where_query(where: Where) -> dict[str, str]:
    """Return the parameters of a query for objects."""
    query: dict[str, str] = {}
    for name, value in where.items():
        match name, value:
            case "box", Box():
                query |= box_query(value, where.get("resolution", 0))
            case (("fields" | "pairs"), Mapping()):
                query |= {f"{name[:-1]}.{key}": str(item) for key, item in value.items()}
            case "resolution", _:
                pass
            case _:
                query[name] = str(value)
    return query
