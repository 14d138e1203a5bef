"""Cuboids that may hold an object, and their bounding box, from the label index alone."""

import numpy as np
from numpy.typing import NDArray

from ndlambda.model.ramon import Annotation, Neuron
from ndlambda.services.labels.bounding_box import cuboids_box
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.zoom import LabelView, StoredLayer
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Level
from ndlambda.web.annotation.channel import Opened
from ndlambda.web.routing import Context


def cuboid_codes(
    context: Context, opened: Opened, ramon: Annotation, level: Level
) -> NDArray[np.uint64]:
    """Return the Morton codes of the cuboids of a level that may hold an object, ascending.

    Every stored cuboid that holds the object is among them. The cuboids of a neuron are those of
    its segments.
    """
    volume = LabelVolume(opened.channel, level, opened.channel.default_time)
    return _codes(context, volume, ramon)


def loose_box(context: Context, opened: Opened, ramon: Annotation, level: Level) -> Box | None:
    """Return a box in dataset coordinates that covers all voxels of an object at a level.

    The box may be too large, and may cover an object that has no voxels left. None: no cuboids.
    """
    channel = opened.channel
    shown = LabelView.of(opened.dataset, channel, level, channel.default_time)
    found: list[Box] = []
    for volume in (shown.volume, shown.base):
        codes = None if volume is None else _codes(context, volume, ramon)
        if volume is not None and codes is not None and codes.size:
            around = cuboids_box(codes, volume.level.cuboid_xyz)
            box = StoredLayer(volume, shown.volume).shown_box(around, None)
            found += [] if box is None else [box]
    if not found:
        return None
    x0, y0, z0 = np.min([box.start_xyz for box in found], axis=0).tolist()
    x1, y1, z1 = np.max([box.stop_xyz for box in found], axis=0).tolist()
    return Box((x0, y0, z0), (x1, y1, z1)).shifted(level.offset_xyz)


def _codes(context: Context, volume: LabelVolume, ramon: Annotation) -> NDArray[np.uint64]:
    runtime = context.runtime
    ids = [ramon.id]
    if isinstance(ramon, Neuron):
        ids = runtime.ramon.derived(volume.channel, ramon, "segments")
    found = (runtime.labels.read.cuboids_of(volume, number) for number in ids)
    return np.unique(np.concatenate([np.empty(0, np.uint64), *found]))
