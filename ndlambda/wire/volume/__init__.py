"""Volume formats by dialect and name, discovered in this folder.

A new format is one new module here with a tuple ``FORMATS`` of
:class:`~ndlambda.wire.volume.contract.VolumeFormat`.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

from ndlambda.errors import UnknownNameError
from ndlambda.wire.volume.contract import ChannelData, Dialect, Expected, VolumeFormat

__all__ = ["ChannelData", "Dialect", "Expected", "VolumeFormat", "formats", "get_format"]


@cache
def formats(dialect: Dialect) -> Mapping[str, VolumeFormat]:
    """Give the formats of a dialect by name, read-only.

    Raises
    ------
    RuntimeError
        Two modules define one name.
    """
    found: dict[str, VolumeFormat] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        offered: tuple[VolumeFormat, ...] = getattr(import_module(module.name), "FORMATS", ())
        for entry in offered:
            if entry.dialect != dialect:
                continue
            if entry.name in found:
                message = f"The volume format {dialect}/{entry.name} is defined twice."
                raise RuntimeError(message)
            found[entry.name] = entry
    return MappingProxyType(found)


def get_format(dialect: Dialect, name: str) -> VolumeFormat:
    """Give a format.

    Raises
    ------
    UnknownNameError
        The dialect has no format of this name; the error lists those it has.
    """
    known = formats(dialect)
    if name not in known:
        raise UnknownNameError("format", name, tuple(known))
    return known[name]
