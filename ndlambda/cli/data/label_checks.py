"""Checks of data for annotation channels: whether they are, and stay, labels."""

from contextlib import suppress
from typing import Final

import numpy as np

from ingest_queue.sources import Source
from ndlambda.errors import DataTypeMismatchError, NDLambdaError
from ndlambda.voxels.grey import is_plainly_grey, middle

_MAX_PLANE_BYTES: Final = 1 << 26


def refuse_lossy_labels(source: Source) -> None:
    """Refuse labels from a format that changes them.

    Raises
    ------
    DataTypeMismatchError
        The format is lossy, or samples of a few bits are shown as 0 to 255.
    """
    if not source.labels_allowed:
        raise DataTypeMismatchError(
            "The data is of a lossy format (JPEG) or has fewer than 8 bits a sample, which changes "
            "labels; save it as PNG or TIFF of 8 bits or more."
        )


def refuse_grey_labels(source: Source) -> None:
    """Refuse labels that are plainly an image; some planes from the middle are looked at.

    Raises
    ------
    DataTypeMismatchError
        See :func:`ndlambda.voxels.grey.is_plainly_grey`.
    """
    _, depth, height, width = source.shape_tzyx
    if source.dtype.kind not in "ui":
        return
    large = height * width * source.dtype.itemsize > _MAX_PLANE_BYTES
    planes = []
    for z in sorted({depth // 2} if large else {depth // 4, depth // 2, depth * 3 // 4}):
        with suppress(NDLambdaError):  # a plane that cannot be read is reported when it is sent
            planes.append(middle(source.read(0, z, z + 1)[0]))
    if planes and is_plainly_grey(np.stack(planes)):
        raise DataTypeMismatchError(
            "The data looks like an image, and the channel holds labels. Store it in an image "
            "channel, or say --labels if these are labels."
        )
