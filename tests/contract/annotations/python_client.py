"""Annotation channels through the Python client."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ndlambda import client as nd
from ndlambda.model.ramon.plain import from_plain
from tests.contract.annotations.driver import AnnotationDriver
from tests.contract.annotations.words import by_point, edges_in, plain_document
from tests.support.annotation_server import VOLUME
from tests.support.fake_server import URL, WsgiTransport


class ClientObjects(AnnotationDriver):
    """``ndlambda.client`` on the application in this process."""

    cannot: ClassVar[Mapping[str, str]] = {"mask of reals": "a mask is where an array is not 0"}

    def __init__(self, server, channel):
        super().__init__(server, channel)
        key, wire = server.keys["alice"], WsgiTransport(server.app)
        self.client = nd.connect(URL, key, transport=wire, retry=nd.RetryPolicy(attempts=1))
        self.api = self.client.annotations(VOLUME.name, channel.name)

    def create(self, *ramons):
        if len(ramons) == 1:
            return [self.api.create(**plain_document(ramons[0]))]
        return self.api.create_many([plain_document(ramon) for ramon in ramons])

    def get(self, number):
        return from_plain(self.api.get(number))

    def derived(self, number, name):
        return self.api.get(number)["derived"][name]

    def replace(self, ramon, version=None):
        found = self.api.replace(plain_document(ramon), if_version=version)
        assert found == self.api.get(ramon.id)

    def change(self, number, version=None, **values):
        assert self.api.update(number, if_version=version, **values) == self.api.get(number)

    def version(self, number):
        return int(self.api.get(number)["version"])

    def delete(self, *numbers):
        return min(self.api.delete(number) for number in numbers)

    def query(self, **where):
        return self.api.query(**where)

    def top_keys(self, limit, of_type=None):
        return [key for key, _ in self.api.top_keys(limit, of_type=of_type)]

    def reserve(self, count):
        reserved = self.api.reserve(count)
        assert len(reserved) == count
        return reserved[0]

    def merge(self, ids, resolution=None, box=None):
        assert self.api.merge(ids, resolution=resolution, box=box) == ids[0]

    def paint(self, number, corner, mask, how="overwrite", resolution=0):
        self.api.paint(number, corner, mask, resolution=resolution, discipline=how)

    def adopt(self, of_type):
        told = []
        adopted = self.api.adopt(type=of_type, progress=lambda *given: told.append(given))
        assert told[-1] == (1000, 1000)
        return adopted

    def paint_voxels(self, number, points, how="overwrite", resolution=0):
        self.api.paint_voxels(number, points, resolution=resolution, discipline=how)

    def voxels(self, number, resolution=0):
        return self.api.voxels(number, resolution)

    def cutout(self, number, box, resolution=0):
        mask = self.api.cutout(number, box, resolution=resolution)
        assert mask.corner_xyz == box.start_xyz
        return mask.array

    def tight_cutout(self, number, resolution=0):
        mask = self.api.cutout(number, resolution=resolution)
        return None if mask.corner_xyz is None else (mask.corner_xyz, mask.array)

    def box(self, number, resolution=0):
        return self.api.box(number, resolution)

    def cuboids(self, number, resolution=0):
        found = self.api.cuboids(number, resolution)
        assert {box.shape_xyz for box in found} <= {VOLUME.pyramid.level(resolution).cuboid_xyz}
        return {box.start_xyz for box in found}

    def ids(self, box, resolution=0):
        found = self.api.ids(box, resolution=resolution)
        assert found.dtype == np.uint64
        return found.tolist()

    def id_at(self, point, resolution=0):
        return self.api.id_at(point, resolution=resolution)

    def exceptions(self, box):
        found = self.api.exceptions(box)
        return by_point(found.voxels_xyz, found.labels)

    def put_swc(self, text):
        return self.client.skeletons(VOLUME.name, self.channel.name).put(text)

    def get_swc(self, *ids):
        return self.client.skeletons(VOLUME.name, self.channel.name).get(ids or None)

    def edges(self, box=None, *, directed=False):
        graph = self.client.graph(VOLUME.name, self.channel.name)
        network = graph.network(box, directed=directed)
        assert network.is_directed() == directed
        return edges_in(network)
