"""Formats of synapse graphs by name, discovered in this folder.

A new format is one new module here with a tuple ``FORMATS`` of
:class:`~ndlambda.wire.graph.contract.GraphFormat`.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

from ndlambda.errors import UnknownNameError
from ndlambda.wire.graph.contract import Connection, GraphFormat, SynapseGraph

__all__ = ["Connection", "GraphFormat", "SynapseGraph", "formats", "get_format"]


@cache
def formats() -> Mapping[str, GraphFormat]:
    """Give all formats by name, read-only.

    Raises
    ------
    RuntimeError
        Two modules define one name.
    """
    found: dict[str, GraphFormat] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        offered: tuple[GraphFormat, ...] = getattr(import_module(module.name), "FORMATS", ())
        for entry in offered:
            if entry.name in found:
                message = f"The graph format {entry.name} is defined twice."
                raise RuntimeError(message)
            found[entry.name] = entry
    return MappingProxyType(found)


def get_format(name: str) -> GraphFormat:
    """Give a format.

    Raises
    ------
    UnknownNameError
        There is none of this name; the error lists those there are.
    """
    known = formats()
    if name not in known:
        raise UnknownNameError("graph format", name[:80], tuple(known))
    return known[name]
