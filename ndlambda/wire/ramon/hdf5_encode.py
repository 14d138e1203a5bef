"""Writes RAMON objects as HDF5 files, and the id files that answer queries.

The layout is ndstore's without its bugs: POSTSEGMENTS is spelt correctly, positions are written if
they have three numbers, nodes and regions can be written at all, and a neuron has its SEGMENTS, as
ndio expects. Numbers are uint32 as its clients expect, or uint64 if a value does not fit.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike

from ndlambda.model.ramon import Annotation, RamonType, fields_of
from ndlambda.model.ramon.kinds import PARENT, Form
from ndlambda.wire.codecs.inflate import LEVEL
from ndlambda.wire.ramon.contract import AnnotationVoxels, BoundingBox, RamonItem
from ndlambda.wire.ramon.pairs import pairs_text

if TYPE_CHECKING:
    import h5py

METADATA: Final = "METADATA"
IDS: Final = "ANNOIDS"

DERIVED_NAMES: Final[Mapping[RamonType, Mapping[str, str]]] = {
    RamonType.SEGMENT: {"synapses": "SYNAPSES", "organelles": "ORGANELLES"},
    RamonType.NEURON: {"segments": "SEGMENTS"},
    RamonType.NODE: {"children": "CHILDREN"},
}
"""Derived lists that have a dataset, by field name."""


def encode(items: Sequence[RamonItem]) -> memoryview:
    """Return a file with one group per object, named by its id."""
    import h5py

    out = BytesIO()
    with h5py.File(out, "w") as file:
        for item in items:
            group = file.create_group(str(item.ramon.id))
            _write_unsigned(group, "ANNOTATION_TYPE", [int(item.ramon.ramon_type)])
            if item.data is not None:
                _write_voxels(group, item.data)
            if item.box is not None:
                _write_box(group, item.box)
            metadata = group.create_group(METADATA)
            _write_fields(metadata, item.ramon)
            for name, dataset in DERIVED_NAMES.get(item.ramon.ramon_type, {}).items():
                if name in item.derived:
                    _write_unsigned(metadata, dataset, item.derived[name])
    return out.getbuffer()


def encode_ids(ids: Sequence[int]) -> memoryview:
    """Return the file that answers a query: the dataset ANNOIDS, absent if there are no ids."""
    import h5py

    out = BytesIO()
    with h5py.File(out, "w") as file:
        if ids:
            _write_unsigned(file, IDS, ids)
    return out.getbuffer()


def _write_fields(metadata: "h5py.Group", ramon: Annotation) -> None:
    import h5py

    text = h5py.string_dtype()
    for name, declared in fields_of(ramon.ramon_type).items():
        value = getattr(ramon, name)
        match declared.kind.form:
            case Form.TEXT:
                metadata.create_dataset(declared.hdf5, (1,), text, [value])
            case Form.REAL:
                metadata.create_dataset(declared.hdf5, (1,), "<f8", [value])
            case Form.INTEGER if declared.kind is PARENT:
                signed = "<i4" if value < 2**31 else "<i8" if value < 2**63 else "<u8"
                metadata.create_dataset(declared.hdf5, (1,), signed, [value])
            case Form.INTEGER:
                _write_unsigned(metadata, declared.hdf5, [value])
            case Form.IDS:
                _write_unsigned(metadata, declared.hdf5, value)
            case Form.POSITION if value:
                _write_unsigned(metadata, declared.hdf5, value)
            case Form.LOCATION if value:
                metadata.create_dataset(declared.hdf5, (3,), "<f8", value)
    metadata.create_dataset("KVPAIRS", (1,), text, [pairs_text(ramon.kvpairs)])


def _write_voxels(group: "h5py.Group", data: AnnotationVoxels) -> None:
    _write_unsigned(group, "RESOLUTION", [data.resolution])
    if data.voxels_xyz is not None and len(data.voxels_xyz):
        group.create_dataset("VOXELS", data=data.voxels_xyz.astype("<u4"), **_packed())
    if data.cutout_zyx is not None and data.corner_xyz is not None:
        _write_unsigned(group, "XYZOFFSET", data.corner_xyz)
        group.create_dataset("CUTOUT", data=data.cutout_zyx, **_packed())
    if data.cuboids:
        cuboids = group.create_group("CUBOIDS")
        for part in data.cuboids:
            inner = cuboids.create_group(str(part.corner_xyz))
            _write_unsigned(inner, "XYZOFFSET", part.corner_xyz)
            inner.create_dataset("CUBOID", data=part.labels_tzyx, **_packed())


def _write_box(group: "h5py.Group", box: BoundingBox) -> None:
    if "RESOLUTION" not in group:
        _write_unsigned(group, "RESOLUTION", [box.resolution])
    if "XYZOFFSET" not in group:
        _write_unsigned(group, "XYZOFFSET", box.corner_xyz)
    _write_unsigned(group, "XYZDIMENSION", box.size_xyz)


def _packed() -> dict[str, Any]:
    return {"compression": "gzip", "compression_opts": LEVEL}


def _write_unsigned(group: "h5py.Group", name: str, values: ArrayLike) -> None:
    array = np.asarray(values, np.uint64)
    fits = not array.size or int(array.max()) < 2**32
    group.create_dataset(name, data=array.astype("<u4" if fits else "<u8"))
