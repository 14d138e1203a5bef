"""Annotation channels through our routes."""

from collections.abc import Mapping

import numpy as np

from ndlambda import errors
from ndlambda.model.ramon.plain import from_plain
from ndlambda.space.box import Box
from tests.contract.annotations.driver import AnnotationDriver
from tests.contract.annotations.words import (
    answered,
    box_query,
    by_point,
    corner_of,
    edges_of,
    plain_document,
)
from tests.support.annotation_server import VOLUME
from tests.support.bodies import from_npy, npy

V1_STATUS: Mapping[type[errors.NDLambdaError], int] = {
    errors.NotFoundError: 404, errors.ReadOnlyChannelError: 403, errors.ConflictError: 409,
    errors.PreconditionFailedError: 412, errors.PayloadTooLargeError: 413,
    errors.ValidationError: 422, errors.NDLambdaError: 400,
}  # fmt: skip


class V1Objects(AnnotationDriver):
    """``/v1``: JSON documents, queries, and arrays as npy."""

    def _ask(self, method, rest, query=None, **sent):
        path = f"/v1/projects/{VOLUME.name}/channels/{self.channel.name}/{rest}"
        asked = query or {}
        return answered(
            self.server.call(method, path, "alice", query_string=asked, **sent), V1_STATUS
        )

    def _document(self, number):
        return self._ask("GET", f"annotations/{number}").get_json()

    def create(self, *ramons):
        answer = self._ask("POST", "annotations", json=[plain_document(ramon) for ramon in ramons])
        assert answer.status_code == 201
        return answer.get_json()["ids"]

    def get(self, number):
        return from_plain(self._document(number))

    def derived(self, number, name):
        return self._document(number)["derived"][name]

    def replace(self, ramon, version=None):
        self._change("PUT", ramon.id, version, plain_document(ramon))

    def change(self, number, version=None, **values):
        self._change("PATCH", number, version, values)

    def _change(self, method, number, version, document):
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        answer = self._ask(method, f"annotations/{number}", json=document, headers=headers)
        assert answer.get_json() == self._document(number)
        assert answer.headers["ETag"] == f'"{answer.get_json()["version"]}"'

    def version(self, number):
        return int(self._document(number)["version"])

    def delete(self, *numbers):
        done = [self._ask("DELETE", f"annotations/{number}") for number in numbers]
        assert {answer.status_code for answer in done} <= {202, 204}
        return all(answer.status_code == 204 for answer in done)

    def query(self, **where):
        asked = box_query(where.get("box"), where.get("resolution"))
        for name, value in where.items():
            match name, value:
                case (("fields" | "pairs"), Mapping()):
                    asked |= {f"{name[:-1]}.{key}": each for key, each in value.items()}
                case (("box" | "resolution"), _):
                    pass
                case _:
                    asked[name] = value
        return self._ask("GET", "annotations", asked).get_json()["ids"]

    def top_keys(self, limit, of_type=None):
        asked = {"limit": limit} | ({} if of_type is None else {"type": of_type})
        return [one["key"] for one in self._ask("GET", "keys", asked).get_json()["keys"]]

    def reserve(self, count):
        answer = self._ask("POST", "reserve", json={"count": count})
        first = answer.get_json()["first"]
        assert (answer.status_code, answer.get_json()) == (201, {"first": first, "count": count})
        return int(first)

    def merge(self, ids, resolution=None, box=None):
        document = {"ids": ids}
        if resolution is not None:
            document["resolution"] = resolution
        if box is not None:
            ends = zip("xyz", box.start_xyz, box.stop_xyz, strict=True)
            document["box"] = {axis: [start, stop] for axis, start, stop in ends}
        assert self._ask("POST", "merge", json=document).get_json()["id"] == ids[0]

    def adopt(self, of_type):
        document, adopted = {"type": of_type}, 0
        while True:
            found = self._ask("POST", "adopt", json=document).get_json()
            adopted += found["adopted"]
            if found["next"] is None:
                return adopted
            document["after"] = found["next"]

    def paint(self, number, corner, mask, how="overwrite", resolution=0):
        sizes = (*np.shape(mask)[::-1], 1, 1, 1)[:3]
        asked = {**box_query(Box.at(corner, sizes), resolution), "discipline": how}
        self._paint(number, "cutout", asked, np.asarray(mask), np.count_nonzero(mask))

    def paint_voxels(self, number, points, how="overwrite", resolution=0):
        asked = {"resolution": resolution, "discipline": how}
        self._paint(number, "voxels", asked, np.asarray(points), len(points))

    def _paint(self, number, what, asked, array, count):
        answer = self._ask("POST", f"annotations/{number}/{what}", asked, data=npy(array))
        assert answer.get_json()["voxels"] == count

    def voxels(self, number, resolution=0):
        path = f"annotations/{number}/voxels"
        return from_npy(self._ask("GET", path, {"resolution": resolution}).data)

    def cutout(self, number, box, resolution=0):
        answer = self._ask("GET", f"annotations/{number}/cutout", box_query(box, resolution))
        assert corner_of(answer) == box.start_xyz
        return from_npy(answer.data)

    def tight_cutout(self, number, resolution=0):
        answer = self._ask("GET", f"annotations/{number}/cutout", {"resolution": resolution})
        corner, mask = corner_of(answer), from_npy(answer.data)
        assert (corner is None) == (mask.size == 0)
        return None if corner is None else (corner, mask)

    def box(self, number, resolution=0):
        return self._box(number, resolution)

    def _box(self, number, resolution, **loose):
        asked = {"resolution": resolution, **loose}
        found = self._ask("GET", f"annotations/{number}/box", asked).get_json()
        assert found["resolution"] == resolution
        if found["corner"] is None:
            assert found["size"] == [0, 0, 0]
            return None
        return Box.at(tuple(found["corner"]), tuple(found["size"]))

    def cuboids(self, number, resolution=0):
        path = f"annotations/{number}/cuboids"
        found = self._ask("GET", path, {"resolution": resolution}).get_json()
        assert found["size"] == list(VOLUME.pyramid.level(resolution).cuboid_xyz)
        assert sorted(set(found["mortons"])) == found["mortons"]
        return set(map(tuple, found["corners"]))

    def ids(self, box, resolution=0):
        return self._ask("GET", "ids", box_query(box, resolution)).get_json()["ids"]

    def id_at(self, point, resolution=0):
        asked = dict(zip("xyz", point, strict=True), resolution=resolution)
        return int(self._ask("GET", "ids/at", asked).get_json()["id"])

    def exceptions(self, box):
        rows = from_npy(self._ask("GET", "exceptions", box_query(box)).data)
        return by_point(rows[:, :3], rows[:, 3:])

    def put_swc(self, text):
        return self._ask("POST", "skeletons", data=text.encode()).get_json()["ids"]

    def get_swc(self, *ids):
        asked = {"ids": ",".join(map(str, ids))} if ids else {}
        return self._ask("GET", "skeletons", asked).text

    def edges(self, box=None, *, directed=False):
        asked = {"direction": "pre-post"} if directed else {}
        return edges_of(self._ask("GET", "graph", {**box_query(box), **asked}).data)
