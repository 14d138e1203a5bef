"""Voxels, masks, boxes and labels of objects under ``…/channels/{channel}``.

Coordinates are dataset coordinates, x first in lists of voxels, z first in arrays. Arrays are sent
and received as ``.npy`` files of plain numbers.
"""

from contextlib import ExitStack
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from werkzeug.wrappers import Response

from ndlambda.errors import DataTypeMismatchError, OutOfBoundsError, ShapeMismatchError
from ndlambda.model.discipline import Discipline
from ndlambda.model.ramon import Annotation
from ndlambda.services.annotation.options import (
    RegionCutout,
    TightBox,
    TightCutout,
    Voxels,
    Wanted,
    WriteMode,
)
from ndlambda.services.volume.region import Region
from ndlambda.space.box import XYZ
from ndlambda.space.morton import decode_codes
from ndlambda.web.annotation.channel import (
    Opened,
    find_region,
    open_labels,
    read_id,
    read_region,
)
from ndlambda.web.request.body import UPLOAD, open_body, open_voxels
from ndlambda.web.request.query import (
    BOX,
    DISCIPLINE,
    RESOLUTION,
    TIMED_BOX,
    read_discipline,
    read_integer,
    read_switch,
)
from ndlambda.web.response.delivery import deliver, deliver_json
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import CHANNEL_RULE, Context, QueryParameter, Route
from ndlambda.wire.codecs.npy_array import CONTENT_TYPE, decode_npy, encode_npy
from ndlambda.wire.ramon.contract import AnnotationVoxels, RamonItem

_POINT: Final = (
    RESOLUTION,
    *(
        QueryParameter(axis, f"{axis} of the voxel in dataset coordinates", required=True)
        for axis in "xyz"
    ),
    QueryParameter("t", "time point; the first if left out"),
)
_MAX_MASK_ITEMSIZE: Final = 8
_LOOSE: Final = QueryParameter(
    "loose", "1: whole cuboids, from the index alone; 0 if left out: exact"
)


def get_voxels(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Return an object's voxels: an .npy file, (n, 3) uint32, columns x, y, z."""
    opened = open_labels(context, token, channel, (RESOLUTION,))
    resolution = _resolution(context)
    item = _read(context, opened, annotation, Voxels(resolution))
    points = None if item.data is None else item.data.voxels_xyz
    return _npy(context, np.empty((0, 3), np.uint32) if points is None else points)


def paint_voxels(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Paint an object on a list of voxels."""
    opened = open_labels(context, token, channel, (RESOLUTION, DISCIPLINE, UPLOAD), write=True)
    known, resolution = _known(context, opened, annotation), _resolution(context)
    mode = _mode(context)
    request_body = open_body(context, opened.channel, context.runtime.settings.max_body_bytes)
    # The body and, if it has another integer type, its copy as uint32.
    with context.runtime.volume.budget.hold(2 * request_body.size_bytes):
        points = _unsigned(decode_npy(request_body.read(), _accept_points))
        data = AnnotationVoxels(resolution, voxels_xyz=points)
        _paint(context, opened, RamonItem(known, data), mode)
    request_body.discard()
    return json_response({"voxels": len(points)})


def get_mask(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Return an object as a bool mask (z, y, x) of a box, or of the cuboids around it."""
    opened = open_labels(context, token, channel, TIMED_BOX)
    region = find_region(context, opened)
    wanted: Wanted = TightCutout(_resolution(context)) if region is None else RegionCutout(region)
    item = _read(context, opened, annotation, wanted)
    if item.data is None or item.data.cutout_zyx is None:
        return _npy(context, np.empty((0, 0, 0), np.bool_))
    return _npy(context, item.data.cutout_zyx != 0, item.data.corner_xyz)


def paint_mask(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Paint an object where the mask of a box is not 0."""
    opened = open_labels(context, token, channel, (*BOX, DISCIPLINE, UPLOAD), write=True)
    known = _known(context, opened, annotation)
    region = read_region(context, opened)
    mode = _mode(context)
    shape = region.box.shape_zyx

    def accept(dtype: np.dtype[Any], found: tuple[int, ...]) -> None:
        if dtype.kind not in "biu":
            raise DataTypeMismatchError(f"A mask is of bool or integers, not {dtype.name}.")
        if found != shape:
            raise ShapeMismatchError(
                f"The mask has shape {found}, the box {shape} (z, y, x).",
                found=list(found),
                expected=list(shape),
            )

    request_body = open_voxels(context, opened.channel, _MAX_MASK_ITEMSIZE * region.voxels)
    with context.runtime.volume.budget.hold(request_body.size_bytes):
        mask = decode_npy(request_body.read(), accept)
        cutout = mask.view(np.uint8) if mask.dtype.kind == "b" else mask
        data = AnnotationVoxels(
            region.level.resolution, corner_xyz=_corner_xyz(region), cutout_zyx=cutout
        )
        _paint(context, opened, RamonItem(known, data), mode)
    request_body.discard()
    return json_response({"voxels": int(np.count_nonzero(cutout))})


def get_box(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Return an object's bounding box: corner and size (x, y, z); no corner without voxels."""
    opened = open_labels(context, token, channel, (RESOLUTION, _LOOSE))
    resolution = _resolution(context)
    corner: XYZ | None = None
    size: XYZ = (0, 0, 0)
    if read_switch(context.request.args, "loose"):
        reader = context.runtime.annotation.objects.reader
        (known,) = reader.find(opened.channel, [read_id(annotation)])
        level = opened.dataset.pyramid.level(resolution)
        around = reader.loose_box(opened.dataset, opened.channel, known, level)
        if around is not None:
            corner, size = around.start_xyz, around.shape_xyz
    else:
        box = _read(context, opened, annotation, TightBox(resolution)).box
        if box is not None:
            corner, size = box.corner_xyz, box.size_xyz
    return json_response({"resolution": resolution, "corner": corner, "size": size})


def get_cuboids(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Return the stored cuboids of a resolution that may hold an object."""
    opened = open_labels(context, token, channel, (RESOLUTION,))
    reader = context.runtime.annotation.objects.reader
    (known,) = reader.find(opened.channel, [read_id(annotation)])
    level = opened.dataset.pyramid.level(_resolution(context))
    codes = reader.cuboids_of(opened.channel, known, level)
    corners = decode_codes(codes) * np.array(level.cuboid_xyz) + np.array(level.offset_xyz)
    document = {
        "resolution": level.resolution,
        "size": level.cuboid_xyz,
        "mortons": codes.tolist(),
        "corners": corners.tolist(),
    }
    return deliver_json(context, document)


def get_ids(context: Context, token: str, channel: str) -> Response:
    """Return the labels in a box, main and extra ones, ascending, without 0."""
    opened = open_labels(context, token, channel, TIMED_BOX)
    region = read_region(context, opened)
    found = context.runtime.annotation.objects.labels_in(opened.dataset, opened.channel, region)
    return deliver_json(context, {"ids": found})


def get_id_at(context: Context, token: str, channel: str) -> Response:
    """Return the label of one voxel, 0 if it has none."""
    opened = open_labels(context, token, channel, _POINT)
    args = context.request.args
    x, y, z = (read_integer(args, axis) for axis in "xyz")
    time_point = read_integer(args, "t", opened.channel.default_time)
    found = context.runtime.annotation.objects.label_at(
        opened.dataset, opened.channel, _resolution(context), (x, y, z), time_point
    )
    return json_response({"id": found})


def get_exceptions(context: Context, token: str, channel: str) -> Response:
    """Return the voxels of a box that have several labels: an .npy file, (n, 3 + k) uint64.

    Columns are x, y, z, the voxel's main label, and its extra ones, padded with zeros.
    """
    opened = open_labels(context, token, channel, TIMED_BOX)
    region = read_region(context, opened)
    found = context.runtime.annotation.objects.exceptions(opened.channel, region)
    points = found.points_xyz.astype(np.uint64) + np.array(region.level.offset_xyz, np.uint64)
    return _npy(context, np.concatenate([points, found.labels], axis=1))


def _resolution(context: Context) -> int:
    return read_integer(context.request.args, "resolution", 0)


def _corner_xyz(region: Region) -> XYZ:
    """Return the first voxel of a region in dataset coordinates."""
    return region.box.shifted(region.level.offset_xyz).start_xyz


def _known(context: Context, opened: Opened, annotation: str) -> Annotation:
    """Return the object of a path, which must exist: routes for voxels create no objects."""
    return context.runtime.annotation.ramon.get(opened.channel, read_id(annotation)).ramon


def _read(context: Context, opened: Opened, annotation: str, wanted: Wanted) -> RamonItem:
    annotations = context.runtime.annotation.objects
    ids = [read_id(annotation)]
    return annotations.read(opened.dataset, opened.channel, ids, wanted)[0]


def _mode(context: Context) -> WriteMode:
    discipline = read_discipline(context.request.args) or Discipline.OVERWRITE
    return WriteMode(discipline, data_only=True)


def _paint(context: Context, opened: Opened, item: RamonItem, mode: WriteMode) -> None:
    context.runtime.annotation.objects.upload(opened.dataset, opened.channel, [item], mode)


def _npy(context: Context, array: NDArray[Any], corner_xyz: XYZ | None = None) -> Response:
    headers = {
        "X-NDLambda-Shape": ",".join(map(str, array.shape)),
        "X-NDLambda-Dtype": array.dtype.name,
    }
    if corner_xyz is not None:
        headers["X-NDLambda-Corner"] = ",".join(map(str, corner_xyz))
    with ExitStack() as held:
        held.enter_context(context.runtime.volume.budget.hold(2 * array.nbytes))
        return deliver(context, encode_npy(array), CONTENT_TYPE, headers, held)


def _accept_points(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype.kind not in "iu":
        raise DataTypeMismatchError(f"Voxels are integers, not {dtype.name}.")
    if len(shape) != 2 or shape[1] != 3:
        raise ShapeMismatchError(f"Voxels have three columns x, y, z; these are {shape}.")


def _unsigned(points: NDArray[Any]) -> NDArray[np.uint32]:
    largest = np.iinfo(np.uint32).max
    if points.size and not 0 <= points.min() <= points.max() <= largest:
        raise OutOfBoundsError(f"Coordinates of voxels are from 0 to {largest}.", limit=largest)
    return points.astype(np.uint32, copy=False)


_LABELS: Final = f"{CHANNEL_RULE}/ids"
_OBJECT: Final = f"{CHANNEL_RULE}/annotations/<segment:annotation>"

ROUTES = (
    Route(
        "GET",
        f"{_OBJECT}/voxels",
        get_voxels,
        "Voxels of an object: npy, (n, 3) uint32, columns x, y, z",
        query=(RESOLUTION,),
    ),
    Route(
        "POST",
        f"{_OBJECT}/voxels",
        paint_voxels,
        "Paint an object on a list of voxels",
        query=(RESOLUTION, DISCIPLINE, UPLOAD),
        body="npy, (n, 3) integers, columns x, y, z in dataset coordinates",
    ),
    Route(
        "GET",
        f"{_OBJECT}/cutout",
        get_mask,
        "Mask of an object in a box, or in the cuboids around it: npy, bool, (z, y, x); the header "
        "X-NDLambda-Corner has x,y,z of its first voxel",
        query=TIMED_BOX,
    ),
    Route(
        "POST",
        f"{_OBJECT}/cutout",
        paint_mask,
        "Paint an object where a mask of a box is not 0",
        query=(*BOX, DISCIPLINE, UPLOAD),
        body="npy, bool or integers, of the box's shape (z, y, x)",
    ),
    Route(
        "GET",
        f"{_OBJECT}/box",
        get_box,
        "Bounding box of an object: corner and size; corner is null without voxels",
        query=(RESOLUTION, _LOOSE),
    ),
    Route(
        "GET",
        f"{_OBJECT}/cuboids",
        get_cuboids,
        "Cuboids that may hold an object: Morton codes and corners (from the index)",
        query=(RESOLUTION,),
    ),
    Route("GET", _LABELS, get_ids, "Labels in a box, ascending", query=TIMED_BOX),
    Route("GET", f"{_LABELS}/at", get_id_at, "Label of one voxel, 0 if none", query=_POINT),
    Route(
        "GET",
        f"{CHANNEL_RULE}/exceptions",
        get_exceptions,
        "Voxels of a box with several labels: npy, uint64, columns x, y, z, labels",
        query=TIMED_BOX,
    ),
)
