"""RAMON formats by name, discovered in this package.

A new format is one new module with a tuple ``FORMATS`` of
:class:`~ndlambda.wire.ramon.contract.RamonFormat`.
"""

from collections.abc import Mapping
from functools import cache

from ndlambda.wire.discovery import by_name, choose, offered
from ndlambda.wire.ramon.contract import (
    AnnotationVoxels,
    BoundingBox,
    CuboidPart,
    RamonFormat,
    RamonItem,
    RamonLimits,
)

__all__ = [
    "AnnotationVoxels",
    "BoundingBox",
    "CuboidPart",
    "RamonFormat",
    "RamonItem",
    "RamonLimits",
    "formats",
    "get_format",
]


@cache
def formats() -> Mapping[str, RamonFormat]:
    """Return all formats by name, read-only."""
    return by_name("RAMON format", offered(__name__))


def get_format(name: str) -> RamonFormat:
    """Return the format with a name.

    Raises
    ------
    UnknownNameError
        There is none; the error lists the known names.
    """
    return choose("format", name, formats())
