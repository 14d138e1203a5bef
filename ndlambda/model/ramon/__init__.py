"""RAMON, the meaning of annotations: nine types of objects, their fields and their relations.

The types are those of "Reusable Annotation Markup for Open coNnectomes" as ndstore defines them.
"""

from ndlambda.model.ramon.documents import from_document, to_document
from ndlambda.model.ramon.fields import (
    DERIVED,
    build,
    check,
    fields_of,
    get_field,
    with_field,
    with_references_moved,
)
from ndlambda.model.ramon.flat import OLD_KEYS, from_flat, to_flat
from ndlambda.model.ramon.kinds import LARGEST_ID
from ndlambda.model.ramon.objects import (
    CLASSES,
    Annotation,
    Neuron,
    Node,
    Organelle,
    RamonType,
    RegionOfInterest,
    Seed,
    Segment,
    Skeleton,
    Synapse,
)
from ndlambda.model.ramon.query import ObjectQuery, Predicate, parse_query

__all__ = [
    "CLASSES",
    "DERIVED",
    "LARGEST_ID",
    "OLD_KEYS",
    "Annotation",
    "Neuron",
    "Node",
    "ObjectQuery",
    "Organelle",
    "Predicate",
    "RamonType",
    "RegionOfInterest",
    "Seed",
    "Segment",
    "Skeleton",
    "Synapse",
    "build",
    "check",
    "fields_of",
    "from_document",
    "from_flat",
    "get_field",
    "parse_query",
    "to_document",
    "to_flat",
    "with_field",
    "with_references_moved",
]
