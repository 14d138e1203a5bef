"""Formats of synapse graphs by name, discovered in this package.

A new format is one new module with a tuple ``FORMATS`` of
:class:`~ndlambda.wire.graph.contract.GraphFormat`.
"""

from collections.abc import Mapping
from functools import cache

from ndlambda.wire.discovery import by_name, choose, offered
from ndlambda.wire.graph.contract import Connection, GraphFormat, SynapseGraph

__all__ = ["Connection", "GraphFormat", "SynapseGraph", "formats", "get_format"]


@cache
def formats() -> Mapping[str, GraphFormat]:
    """Return all formats by name, read-only."""
    return by_name("graph format", offered(__name__))


def get_format(name: str) -> GraphFormat:
    """Return the format with a name.

    Raises
    ------
    UnknownNameError
        There is none; the error lists the known names.
    """
    return choose("graph format", name, formats())
