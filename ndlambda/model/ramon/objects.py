"""The nine types of RAMON objects, as immutable values.

Each field's annotation declares its key in storage and JSON, its name in HDF5, and its kind. All
other code (JSON, HDF5, getField, the index) is derived from these declarations. Defaults and names
are ndstore's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, ClassVar, Final

from ndlambda.model.ramon.kinds import (
    LOCATION,
    LONG,
    NUMBER,
    OBJECT,
    OBJECTS,
    PARENT,
    POSITION,
    REAL,
    TEXT,
    Kind,
)


class RamonType(IntEnum):
    """The type's number on the wire."""

    ANNOTATION = 1
    SYNAPSE = 2
    SEED = 3
    SEGMENT = 4
    NEURON = 5
    ORGANELLE = 6
    NODE = 7
    SKELETON = 8
    ROI = 9


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a field is stored, and its kind.

    Attributes
    ----------
    key
        Key in JSON and in queries.
    hdf5
        Name of the dataset below METADATA.
    kind
        The values it accepts.
    """

    key: str
    hdf5: str
    kind: Kind


_Ids = tuple[int, ...]
_Reals = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """An object without a special type, and the fields of all types.

    Attributes
    ----------
    id
        The label of its voxels; 0 before an id is assigned.
    status
        By convention 0 unprocessed, 1 locked, 2 processed, 3 ignored.
    kvpairs
        Free key-value pairs; neither keys nor values are interpreted.
    """

    ramon_type: ClassVar[RamonType] = RamonType.ANNOTATION

    id: int = 0
    status: Annotated[int, Stored("ann_status", "STATUS", NUMBER)] = 0
    confidence: Annotated[float, Stored("ann_confidence", "CONFIDENCE", REAL)] = 0.0
    author: Annotated[str, Stored("ann_author", "AUTHOR", TEXT)] = ""
    kvpairs: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Synapse(Annotation):
    """A connection from ``presegments`` to ``postsegments``.

    ``centroid`` is (x, y, z) in voxels, or empty.
    """

    ramon_type: ClassVar[RamonType] = RamonType.SYNAPSE

    weight: Annotated[float, Stored("syn_weight", "WEIGHT", REAL)] = 0.0
    synapse_type: Annotated[int, Stored("syn_type", "SYNAPSE_TYPE", NUMBER)] = 0
    seeds: Annotated[_Ids, Stored("syn_seeds", "SEEDS", OBJECTS)] = ()
    segments: Annotated[_Ids, Stored("syn_segments", "SEGMENTS", OBJECTS)] = ()
    presegments: Annotated[_Ids, Stored("syn_presegments", "PRESEGMENTS", OBJECTS)] = ()
    postsegments: Annotated[_Ids, Stored("syn_postsegments", "POSTSEGMENTS", OBJECTS)] = ()
    centroid: Annotated[_Ids, Stored("syn_centroid", "CENTROID", POSITION)] = ()


@dataclass(frozen=True, slots=True)
class Seed(Annotation):
    """A start point of a segmentation, without voxels. ``position`` is (x, y, z) or empty."""

    ramon_type: ClassVar[RamonType] = RamonType.SEED

    parent: Annotated[int, Stored("seed_parent", "PARENT", OBJECT)] = 0
    cubelocation: Annotated[int, Stored("seed_cubelocation", "CUBE_LOCATION", LONG)] = 0
    source: Annotated[int, Stored("seed_source", "SOURCE", OBJECT)] = 0
    position: Annotated[_Ids, Stored("seed_position", "POSITION", POSITION)] = ()


@dataclass(frozen=True, slots=True)
class Segment(Annotation):
    """A piece of a neuron."""

    ramon_type: ClassVar[RamonType] = RamonType.SEGMENT

    segmentclass: Annotated[int, Stored("seg_class", "SEGMENTCLASS", NUMBER)] = 0
    parentseed: Annotated[int, Stored("seg_parentseed", "PARENTSEED", OBJECT)] = 0
    neuron: Annotated[int, Stored("seg_neuron", "NEURON", OBJECT)] = 0


@dataclass(frozen=True, slots=True)
class Neuron(Annotation):
    """A cell; its voxels are the voxels of its segments."""

    ramon_type: ClassVar[RamonType] = RamonType.NEURON


@dataclass(frozen=True, slots=True)
class Organelle(Annotation):
    """A part of a segment. ``centroid`` is (x, y, z) or empty."""

    ramon_type: ClassVar[RamonType] = RamonType.ORGANELLE

    organelleclass: Annotated[int, Stored("org_class", "ORGANELLECLASS", NUMBER)] = 0
    segment: Annotated[int, Stored("org_segment", "SEGMENT", OBJECT)] = 0
    parentseed: Annotated[int, Stored("org_parentseed", "PARENTSEED", OBJECT)] = 0
    centroid: Annotated[_Ids, Stored("org_centroid", "CENTROID", POSITION)] = ()
    seeds: Annotated[_Ids, Stored("org_seeds", "SEEDS", OBJECTS)] = ()


@dataclass(frozen=True, slots=True)
class Node(Annotation):
    """A node of a skeleton; ``parent`` is -1 at the root. ``location`` is (x, y, z) or empty."""

    ramon_type: ClassVar[RamonType] = RamonType.NODE

    nodetype: Annotated[int, Stored("node_type", "NODETYPE", NUMBER)] = 0
    parent: Annotated[int, Stored("node_parent", "PARENTID", PARENT)] = 0
    skeleton: Annotated[int, Stored("node_skeleton", "SKELETONID", OBJECT)] = 0
    radius: Annotated[float, Stored("node_radius", "RADIUS", REAL)] = 0.0
    location: Annotated[_Reals, Stored("node_location", "LOCATION", LOCATION)] = ()


@dataclass(frozen=True, slots=True)
class Skeleton(Annotation):
    """A tree of nodes."""

    ramon_type: ClassVar[RamonType] = RamonType.SKELETON

    skeletontype: Annotated[int, Stored("skel_type", "SKELETONTYPE", NUMBER)] = 0
    rootnode: Annotated[int, Stored("skel_rootnode", "ROOTNODE", OBJECT)] = 0


@dataclass(frozen=True, slots=True)
class RegionOfInterest(Annotation):
    """A region of the brain, in a tree of regions."""

    ramon_type: ClassVar[RamonType] = RamonType.ROI

    parent: Annotated[int, Stored("roi_parent", "PARENT", OBJECT)] = 0


CLASSES: Final[Mapping[RamonType, type[Annotation]]] = {
    kind.ramon_type: kind
    for kind in (
        Annotation,
        Synapse,
        Seed,
        Segment,
        Neuron,
        Organelle,
        Node,
        Skeleton,
        RegionOfInterest,
    )
}
