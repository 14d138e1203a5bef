"""What the drivers have in common to say: objects, boxes and refusals in the words of dialects."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import networkx as nx
import numpy as np
from werkzeug.test import TestResponse

from ndlambda import errors
from ndlambda.model.ramon import Annotation, RamonType, fields_of
from ndlambda.model.ramon.plain import to_plain
from ndlambda.space.box import XYZ, Box
from tests.contract.annotations.driver import Edges, Where
from tests.support.annotation_server import CUBOID, OFFSET
from tests.support.bodies import Array


def answered(
    answer: TestResponse, statuses: Mapping[type[errors.NDLambdaError], int]
) -> TestResponse:
    """Return an answer that is none of a refusal; raise the error that a refusal names."""
    if answer.status_code < 400:
        return answer
    problem = answer.get_json(force=True)
    name = problem["type"].removeprefix("urn:ndlambda:error:")
    error: type[errors.NDLambdaError] = getattr(errors, name)
    assert answer.content_type == "application/problem+json"
    assert answer.status_code == problem["status"] == nearest(error, statuses), problem
    raise error.__new__(error, problem["detail"])


def nearest(error: type, table: Mapping[type[errors.NDLambdaError], int]) -> int:
    return next(table[kind] for kind in error.__mro__ if kind in table)


def edges_of(graphml: bytes) -> Edges:
    """Return the edges of GraphML, sorted by synapse."""
    return edges_in(nx.read_graphml(io.BytesIO(graphml), node_type=int, force_multigraph=True))


def edges_in(network: Any) -> Edges:
    """Return the edges of a network, sorted by synapse; undirected ones from the smaller end."""
    found = [(u, v, data["synapse"]) for u, v, data in network.edges(data=True)]
    if not network.is_directed():
        found = [(min(u, v), max(u, v), synapse) for u, v, synapse in found]
    return sorted(found, key=lambda edge: (edge[2], edge))


def hdf5_group(ramon: Annotation) -> dict[str, Any]:
    """Return an object as the datasets of its HDF5 group."""
    metadata: dict[str, Any] = {}
    for name, declared in fields_of(ramon.ramon_type).items():
        value = getattr(ramon, name)
        if value != declared.default:
            real = isinstance(value, tuple) and any(isinstance(each, float) for each in value)
            metadata[declared.hdf5] = np.array(value) if real else value
    if ramon.kvpairs:
        out = io.StringIO()
        csv.writer(out).writerows(ramon.kvpairs.items())
        metadata["KVPAIRS"] = out.getvalue()
    return {"ANNOTATION_TYPE": int(ramon.ramon_type), "METADATA": metadata}


def plain_document(ramon: Annotation) -> dict[str, Any]:
    """Return an object as JSON."""
    document = to_plain(ramon, {}, 0)
    del document["version"], document["derived"]
    return document


def legacy_words(where: Where) -> list[str]:
    """Return a query as the words of ndstore's paths."""
    keys = {
        name: declared.key
        for kind in RamonType
        for name, declared in fields_of(kind).items()
        if "type" not in where or kind.name.lower() == where["type"]
    }
    words: list[object] = []
    for name, value in where.items():
        match name, value:
            case "type", _:
                words += ["type", int(RamonType[str(value).upper()])]
            case (("confidence_gt" | "confidence_lt"), _):
                words += ["confidence", name[-2:], value]
            case "fields", Mapping():
                words += [word for key, each in value.items() for word in (keys[key], each)]
            case "pairs", Mapping():
                words += [word for pair in value.items() for word in pair]
            case (("box" | "resolution"), _):
                pass
            case _:
                words += [name, value]
    return [str(word) for word in words]


def set_words(values: Mapping[str, Any]) -> dict[str, str]:
    """Return fields and pairs as setField has them."""
    rest = {name: value for name, value in values.items() if name != "pairs"}
    return {name: word_of(value) for name, value in {**rest, **values.get("pairs", {})}.items()}


def word_of(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def box_query(box: Box | None, resolution: int | None = None) -> dict[str, Any]:
    asked: dict[str, Any] = {} if resolution is None else {"resolution": resolution}
    if box is not None:
        ends = zip("xyz", box.start_xyz, box.stop_xyz, strict=True)
        asked |= {axis: f"{start}:{stop}" for axis, start, stop in ends}
    return asked


def ranges(box: Box) -> str:
    ends = zip(box.start_xyz, box.stop_xyz, strict=True)
    return "/".join(f"{start},{stop}" for start, stop in ends)


def span(box: Box) -> str:
    ends = zip(box.start_xyz, box.stop_xyz, strict=True)
    return ",".join(f"{start}:{stop}" for start, stop in ends)


def corner_of(answer: TestResponse) -> XYZ | None:
    found = answer.headers.get("X-NDLambda-Corner")
    return None if found is None else tuple(map(int, found.split(",")))


def mask_of(labels: Array, number: int) -> Array:
    """Return where an object is; nothing else is in its block."""
    assert set(np.unique(labels).tolist()) <= {0, number}
    return labels != 0


def absolute_corner(corner: XYZ, block: Array, number: int) -> XYZ:
    """Return the absolute corner of a cuboid that holds an object, and no other label."""
    assert block.shape == (1, *CUBOID[::-1])
    assert mask_of(block, number).any()
    return tuple(at + offset for at, offset in zip(corner, OFFSET, strict=True))


def by_point(points: Array, labels: Iterable[Any]) -> dict[XYZ, list[int]]:
    """Return the labels of each voxel, own one first; rows are padded with 0."""
    return {
        tuple(point): [n for n in row.tolist() if n]
        for point, row in zip(points.tolist(), labels, strict=True)
    }
