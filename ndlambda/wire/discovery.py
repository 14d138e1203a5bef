"""Discovers formats in a package: a new format is one new module, without registration."""

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, Protocol, TypeVar

from ndlambda.errors import UnknownNameError

_MAX_SHOWN = 80  # characters of a name that a caller made up


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Format = TypeVar("Format", bound=_Named)


def modules(package: str) -> Iterator[ModuleType]:
    """Iterate over the modules of a package and its sub-packages, imported, sorted by name.

    Packages themselves are skipped.
    """
    found = pkgutil.iter_modules(import_module(package).__path__, f"{package}.")
    for info in sorted(found, key=lambda each: each.name):
        if info.ispkg:
            yield from modules(info.name)
        else:
            yield import_module(info.name)


def offered(package: str) -> Iterator[Any]:
    """Iterate over the formats of a package; a module lists its own in a tuple ``FORMATS``.

    A module without ``FORMATS`` is a helper of the others.
    """
    for module in modules(package):
        yield from getattr(module, "FORMATS", ())


def by_name(what: str, formats: Iterable[Format]) -> Mapping[str, Format]:
    """Return a read-only mapping of formats by name.

    Raises
    ------
    RuntimeError
        Two formats have the same name.
    """
    found: dict[str, Format] = {}
    for entry in formats:
        if entry.name in found:
            message = f"The {what} {entry.name} is defined twice."
            raise RuntimeError(message)
        found[entry.name] = entry
    return MappingProxyType(found)


def choose(what: str, name: str, known: Mapping[str, Format]) -> Format:
    """Return the format with a name.

    Raises
    ------
    UnknownNameError
        There is none; the error lists the known names.
    """
    if name not in known:
        raise UnknownNameError(what, name[:_MAX_SHOWN], tuple(known))
    return known[name]
