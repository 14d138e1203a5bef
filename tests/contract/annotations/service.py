"""Annotation channels through the services, called in Python."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from ndlambda.model.discipline import Discipline
from ndlambda.model.ramon import Annotation, RamonType, parse_query
from ndlambda.services.annotation.options import (
    Cuboids,
    NoData,
    RegionCutout,
    TightBox,
    TightCutout,
    Voxels,
    WriteMode,
)
from ndlambda.services.volume.region import Region
from ndlambda.space.box import Box
from ndlambda.wire.graph import formats as graph_formats
from ndlambda.wire.ramon.contract import AnnotationVoxels, RamonItem
from ndlambda.wire.skeleton.swc import read_swc, write_swc
from tests.contract.annotations.driver import AnnotationDriver
from tests.contract.annotations.words import (
    absolute_corner,
    by_point,
    edges_of,
    legacy_words,
    mask_of,
    set_words,
)
from tests.support.annotation_server import OFFSET, VOLUME


class ServiceObjects(AnnotationDriver):
    """``Annotations``, ``Ramon``, ``Skeletons`` and ``SynapseGraphs``, called in Python."""

    cannot: ClassVar[Mapping[str, str]] = {
        "defaults": "``set_field`` takes a word",
        "guarded change": "``Ramon`` leaves the state of the channel to its callers",
    }

    def image(self, box, resolution=0):
        """Return the own labels (z, y, x) of a box."""
        region = self._region(box, resolution)
        return self.server.runtime.volume.read(VOLUME, self.channel, region)[0]

    def _region(self, box, resolution=0):
        level = VOLUME.pyramid.level(resolution)
        zero_based = box.shifted(tuple(-n for n in level.offset_xyz))
        return Region(level, zero_based, (0, 1))

    def _upload(self, mode, *items):
        return self.server.runtime.annotation.objects.upload(VOLUME, self.channel, items, mode)

    def _read(self, number, wanted):
        read = self.server.runtime.annotation.objects.read
        (item,) = read(VOLUME, self.channel, [number], wanted)
        return item

    def create(self, *ramons):
        return self._upload(WriteMode(), *map(RamonItem, ramons))

    def get(self, number):
        return self._read(number, NoData()).ramon

    def derived(self, number, name):
        return list(self._read(number, NoData()).derived[name])

    def replace(self, ramon, version=None):
        if version is None:
            self._upload(WriteMode(update=True), RamonItem(ramon))
        else:
            self.server.runtime.annotation.ramon.update(self.channel, ramon, if_version=version)

    def change(self, number, version=None, **values):
        ramon = self.server.runtime.annotation.ramon
        if version is not None:
            new = replace(self.get(number), **values)
            ramon.update(self.channel, new, if_version=version)
            return
        for name, word in set_words(values).items():
            ramon.set_field(self.channel, number, name, word)

    def version(self, number):
        return self.server.runtime.annotation.ramon.get(self.channel, number).version

    def delete(self, *numbers):
        return not self.server.runtime.annotation.objects.delete(self.channel, numbers)

    def query(self, **where):
        region = self._region(where["box"], where.get("resolution", 0)) if "box" in where else None
        asked = parse_query(legacy_words(where))
        return self.server.runtime.annotation.objects.query(VOLUME, self.channel, asked, region)

    def top_keys(self, limit, of_type=None):
        kind = None if of_type is None else RamonType[of_type.upper()]
        return [
            key
            for key, _ in self.server.runtime.annotation.ramon.top_keys(self.channel, limit, kind)
        ]

    def reserve(self, count):
        return self.server.runtime.annotation.objects.reserve(self.channel, count)

    def merge(self, ids, resolution=None, box=None):
        region = None if box is None else self._region(box, resolution or 0)
        self.server.runtime.annotation.objects.merge(
            VOLUME,
            self.channel,
            ids,
            resolution=resolution if region is None else None,
            region=region,
        )

    def paint(self, number, corner, mask, how="overwrite", resolution=0):
        self._paint(number, how, AnnotationVoxels(resolution, corner_xyz=corner, cutout_zyx=mask))

    def paint_voxels(self, number, points, how="overwrite", resolution=0):
        self._paint(number, how, AnnotationVoxels(resolution, np.asarray(points)))

    def _paint(self, number, how, data):
        mode = WriteMode(Discipline(how), data_only=True)
        self._upload(mode, RamonItem(replace(self.get(number), kvpairs={}), data))

    def paint_label(self, number, points):
        """Paint voxels with a label that need have no object, as ingesting does."""
        mode = WriteMode(Discipline.OVERWRITE, data_only=True)
        data = AnnotationVoxels(0, np.asarray(points))
        self._upload(mode, RamonItem(Annotation(number), data))

    def adopt(self, of_type):
        adopt, adopted = self.server.runtime.annotation.adoption.adopt, 0
        done = adopt(self.channel, RamonType[of_type.upper()])
        while done.following is not None:
            adopted += done.adopted
            done = adopt(self.channel, RamonType[of_type.upper()], done.following)
        return adopted + done.adopted

    def voxels(self, number, resolution=0):
        found = self._read(number, Voxels(resolution)).data.voxels_xyz
        return np.empty((0, 3), np.uint32) if found is None else found

    def cutout(self, number, box, resolution=0):
        data = self._read(number, RegionCutout(self._region(box, resolution))).data
        assert data.corner_xyz == box.start_xyz
        return mask_of(data.cutout_zyx, number)

    def tight_cutout(self, number, resolution=0):
        data = self._read(number, TightCutout(resolution)).data
        if data.corner_xyz is None:
            return None
        return data.corner_xyz, mask_of(data.cutout_zyx, number)

    def box(self, number, resolution=0):
        found = self._read(number, TightBox(resolution)).box
        return None if found is None else Box.at(found.corner_xyz, found.size_xyz)

    def cuboids(self, number, resolution=0):
        parts = self._read(number, Cuboids(resolution)).data.cuboids
        return {absolute_corner(part.corner_xyz, part.labels_tzyx, number) for part in parts}

    def ids(self, box, resolution=0):
        region = self._region(box, resolution)
        return self.server.runtime.annotation.objects.labels_in(VOLUME, self.channel, region)

    def id_at(self, point, resolution=0):
        return self.server.runtime.annotation.objects.label_at(
            VOLUME, self.channel, resolution, point
        )

    def exceptions(self, box):
        found = self.server.runtime.annotation.objects.exceptions(self.channel, self._region(box))
        return by_point(found.points_xyz + np.array(OFFSET), found.labels)

    def put_swc(self, text):
        return self.server.runtime.annotation.skeletons.upload(
            self.channel, read_swc(text.encode())
        )

    def get_swc(self, *ids):
        return write_swc(
            self.server.runtime.annotation.skeletons.read(self.channel, ids or None)
        ).decode()

    def edges(self, box=None, *, directed=False):
        region = None if box is None else self._region(box)
        build = self.server.runtime.annotation.graphs.build
        graph = build(VOLUME, self.channel, region, directed=directed)
        return edges_of(bytes(graph_formats()["graphml"].encode(graph)))
