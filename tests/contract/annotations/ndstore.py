"""Annotation channels through ndstore's routes."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ndlambda import errors
from ndlambda.model.ramon import RamonType
from ndlambda.space.box import Box
from ndlambda.wire.ramon.contract import RamonLimits
from ndlambda.wire.ramon.hdf5_decode import decode
from tests.contract.annotations.driver import AnnotationDriver
from tests.contract.annotations.words import (
    absolute_corner,
    answered,
    by_point,
    edges_of,
    hdf5_group,
    legacy_words,
    mask_of,
    ranges,
    set_words,
)
from tests.support.annotation_server import VOLUME
from tests.support.ramon_files import ramon_file, read_file, read_ids, region_file


class SdObjects(AnnotationDriver):
    """``/sd``: HDF5 and words in paths. Every refusal is 404, but for 403 and 413."""

    cannot: ClassVar[Mapping[str, str]] = {
        "versions": "ndstore has none",
        "defaults": "a field is set to a word",
        "directed": "ndstore's graph is of two segments",
        "doubled ids": "an HDF5 file has each name once",
        "pending": "a deletion is Success",
        "adopt": "ndstore makes no objects of labels",
    }

    def _ask(self, method, rest, body=None, root="sd"):
        path = f"/{root}/{VOLUME.name}/{self.channel.name}/{rest}"
        answer = self.server.call(method, path, "alice", data=body)
        refused = 400 if rest.startswith("swc") else 404
        return answered(answer, {errors.PayloadTooLargeError: 413, errors.NDLambdaError: refused})

    def _group(self, rest):
        (group,) = read_file(self._ask("GET", rest).data).values()
        return group

    def create(self, *ramons):
        names = [str(ramon.id or f"noid.{place}") for place, ramon in enumerate(ramons)]
        groups = {name: hdf5_group(ramon) for name, ramon in zip(names, ramons, strict=True)}
        given = self._ask("POST", "", ramon_file(groups)).text.split(",")
        by_name = dict(zip(sorted(names), map(int, given), strict=True))
        return [by_name[name] for name in names]

    def get(self, number):
        (item,) = decode(self._ask("GET", f"{number}/").data, RamonLimits())
        return item.ramon

    def derived(self, number, name):
        found = [*map(int, self._ask("GET", f"getField/{number}/{name}/").text.split(","))]
        assert self._group(f"{number}/")["METADATA"][name.upper()].tolist() == found
        return found

    def replace(self, ramon):
        body = ramon_file({str(ramon.id): hdf5_group(ramon)})
        assert self._ask("POST", "update/", body).text == str(ramon.id)

    def change(self, number, **values):
        for name, word in set_words(values).items():
            self._ask("GET", f"setField/{number}/{name}/{word}/")

    def delete(self, *numbers):
        answer = self._ask("DELETE", ",".join(map(str, numbers)) + "/")
        return answer.text == "Success"

    def query(self, **where):
        path = "/".join(["query", *legacy_words(where)])
        if "box" not in where:
            return read_ids(self._ask("GET", f"{path}/").data) or []
        box = where["box"]
        body = region_file(box.start_xyz, box.shape_xyz, where.get("resolution", 0))
        return read_ids(self._ask("POST", f"{path}/", body).data) or []

    def top_keys(self, limit, of_type=None):
        of = "" if of_type is None else f"type/{RamonType[of_type.upper()].value}/"
        return self._ask("GET", f"topkeys/{limit}/{of}", root="ramon").get_json()

    def reserve(self, count):
        first, given = self._ask("POST", f"reserve/{count}/").get_json()
        assert given == count
        return int(first)

    def merge(self, ids, resolution=None, box=None):
        where = "global" if box is None else f"{resolution or 0}/{ranges(box)}"
        if box is None and resolution is not None:
            where += f"/{resolution}"
        answer = self._ask("POST", f"merge/{','.join(map(str, ids))}/{where}/")
        survivor, *losers = dict.fromkeys(ids)
        assert answer.text == f"Merged Id's {losers} into {survivor}"

    def paint(self, number, corner, mask, how="overwrite", resolution=0):
        values = {"RESOLUTION": resolution, "XYZOFFSET": corner, "CUTOUT": np.asarray(mask)}
        self._paint(number, how, values)

    def paint_voxels(self, number, points, how="overwrite", resolution=0):
        self._paint(number, how, {"RESOLUTION": resolution, "VOXELS": np.asarray(points)})

    def _paint(self, number, how, values):
        kind = {"ANNOTATION_TYPE": int(self.get(number).ramon_type)}
        words = "reduce/" if how == "reduce" else f"{how}/dataonly/"
        assert self._ask("POST", words, ramon_file({str(number): {**kind, **values}})).data == b""

    def voxels(self, number, resolution=0):
        group = self._group(f"{number}/voxels/{resolution}/")
        assert group["RESOLUTION"].tolist() == [resolution]
        return group.get("VOXELS", np.empty((0, 3), np.uint32))

    def cutout(self, number, box, resolution=0):
        group = self._group(f"{number}/cutout/{resolution}/{ranges(box)}/")
        if "CUTOUT" not in group:
            return np.zeros(box.shape_zyx, np.bool_)
        assert tuple(group["XYZOFFSET"].tolist()) == box.start_xyz
        return mask_of(group["CUTOUT"], number)

    def tight_cutout(self, number, resolution=0):
        group = self._group(f"{number}/cutout/{resolution}/")
        if "CUTOUT" not in group:
            return None
        return tuple(group["XYZOFFSET"].tolist()), mask_of(group["CUTOUT"], number)

    def box(self, number, resolution=0):
        group = self._group(f"{number}/boundingbox/{resolution}/")
        if "XYZDIMENSION" not in group:
            return None
        return Box.at(*(tuple(group[name].tolist()) for name in ("XYZOFFSET", "XYZDIMENSION")))

    def cuboids(self, number, resolution=0):
        parts = self._group(f"{number}/cuboids/{resolution}/").get("CUBOIDS", {}).values()
        return {
            absolute_corner(tuple(part["XYZOFFSET"].tolist()), part["CUBOID"], number)
            for part in parts
        }

    def ids(self, box, resolution=0):
        text = self._ask("GET", f"ids/{resolution}/{ranges(box)}/").text
        return [int(word) for word in text.split(", ") if word]

    def id_at(self, point, resolution=0):
        x, y, z = point
        return int(self._ask("GET", f"id/{resolution}/{x}/{y}/{z}/").text)

    def exceptions(self, box):
        rows = read_file(self._ask("GET", f"exceptions/0/{ranges(box)}/").data)["exceptions"]
        return {} if rows.shape == (3,) else by_point(rows[:, :3], rows[:, 3:])

    def put_swc(self, text):
        return [int(word) for word in self._ask("POST", "swc/", text.encode()).text.split(",")]

    def get_swc(self, *ids):
        return self._ask("GET", "/".join(["swc", *filter(None, [",".join(map(str, ids))])])).text

    def edges(self, box=None):
        return edges_of(self._ask("GET", "" if box is None else ranges(box), root="ndgraph").data)
