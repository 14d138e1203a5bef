"""Reads OME-XML, the description of an OME-TIFF (OME schema 2016-06)."""

from typing import Any

from ingest_queue.images.damage import needing
from ingest_queue.sources.checks import voxel_size


def parse(xml: str) -> Any:
    """Return the root element.

    Raises
    ------
    InvalidArgumentError
        defusedxml is not installed.
    ValueError, SyntaxError
        It is no XML, or declares entities, which can exhaust memory or read other files.
    """
    with needing("defusedxml", "Reading OME-TIFF"):
        from defusedxml import ElementTree

    return ElementTree.fromstring(xml)


def metadata_file(root: Any) -> str | None:
    """Return the file that describes the set of which this one is a part; None if this one does."""
    found = _first(root, "BinaryOnly")
    return None if found is None else str(found.get("MetadataFile", "another file"))


def pixel_size(root: Any) -> tuple[float, float, float] | None:
    """Return the voxel size (x, y, z) in nm of the first image; the default unit is µm."""
    pixels = _first(root, "Pixels")
    facts = {} if pixels is None else pixels.attrib
    sizes = {
        axis: float(facts[f"PhysicalSize{axis.upper()}"])
        for axis in "xyz"
        if f"PhysicalSize{axis.upper()}" in facts
    }
    units = {axis: facts.get(f"PhysicalSize{axis.upper()}Unit", "µm") for axis in sizes}
    return voxel_size(sizes, units, "µm")


def _first(root: Any, name: str) -> Any:
    """Return the first element of a name in any namespace, as the schema's versions have."""
    return next((each for each in root.iter() if str(each.tag).rpartition("}")[2] == name), None)
