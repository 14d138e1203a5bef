"""Formats found in a folder: a new one is one new module, and nothing is registered."""

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, Protocol, TypeVar

from ndlambda.errors import UnknownNameError

_SHOWN = 80  # of a name that a caller made up


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Format = TypeVar("Format", bound=_Named)


def modules(package: str) -> Iterator[ModuleType]:
    """Iterate over the modules of a package and of its sub-packages, imported, by name.

    Packages themselves are left out: their ``__init__`` describes the others.
    """
    found = pkgutil.iter_modules(import_module(package).__path__, f"{package}.")
    for info in sorted(found, key=lambda each: each.name):
        if info.ispkg:
            yield from modules(info.name)
        else:
            yield import_module(info.name)


def offered(package: str) -> Iterator[Any]:
    """Iterate over what the modules of a package offer, each in a tuple ``FORMATS``.

    A module without one offers nothing: it serves the others.
    """
    for module in modules(package):
        yield from getattr(module, "FORMATS", ())


def by_name(what: str, formats: Iterable[Format]) -> Mapping[str, Format]:
    """Return formats by name, read-only.

    Raises
    ------
    RuntimeError
        Two of them have one name.
    """
    found: dict[str, Format] = {}
    for entry in formats:
        if entry.name in found:
            message = f"The {what} {entry.name} is defined twice."
            raise RuntimeError(message)
        found[entry.name] = entry
    return MappingProxyType(found)


def choose(what: str, name: str, known: Mapping[str, Format]) -> Format:
    """Return the format of a name.

    Raises
    ------
    UnknownNameError
        There is none of this name; the error lists those there are.
    """
    if name not in known:
        raise UnknownNameError(what, name[:_SHOWN], tuple(known))
    return known[name]
