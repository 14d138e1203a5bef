"""Volume formats by dialect and name, discovered in this package.

A new format is one new module with a tuple ``FORMATS`` of
:class:`~ndlambda.wire.volume.contract.VolumeFormat`.
"""

from collections.abc import Mapping
from functools import cache

from ndlambda.wire.discovery import by_name, choose, offered
from ndlambda.wire.volume.contract import ChannelData, Dialect, Expected, VolumeFormat

__all__ = ["ChannelData", "Dialect", "Expected", "VolumeFormat", "formats", "get_format"]


@cache
def formats(dialect: Dialect) -> Mapping[str, VolumeFormat]:
    """Return the formats of a dialect by name, read-only."""
    every = offered(__name__)
    return by_name(f"{dialect} volume format", (each for each in every if each.dialect == dialect))


def get_format(dialect: Dialect, name: str) -> VolumeFormat:
    """Return the format with a name.

    Raises
    ------
    UnknownNameError
        The dialect has no such format; the error lists the known names.
    """
    return choose("format", name, formats(dialect))
