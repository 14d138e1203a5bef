"""Stores whose requests stop when the time of the running call is up (``ndlambda.deadline``)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

from ndlambda import deadline
from ndlambda.stores.ports import ObjectInfo
from ndlambda.stores.process import Ports

_Store = TypeVar("_Store")


class _Timed:
    """A store that asks for the time before each request, and for each line of a listing."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        if not callable(value):
            return value
        checked = _listing(value) if name == "list" else _request(value)
        self.__dict__[name] = checked  # found directly from now on
        return checked


def _request(send: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(send)
    def checked(*args: Any, **kwargs: Any) -> Any:
        deadline.check()
        return send(*args, **kwargs)

    return checked


def _listing(items: Callable[..., Iterator[ObjectInfo]]) -> Callable[..., Iterator[ObjectInfo]]:
    @wraps(items)
    def checked(*args: Any, **kwargs: Any) -> Iterator[ObjectInfo]:
        deadline.check()
        for item in items(*args, **kwargs):
            yield item
            deadline.check()

    return checked


def timed(store: _Store) -> _Store:
    """Return a store whose requests raise ``DeadlineExceededError`` when the time is up."""
    return cast("_Store", _Timed(store))


def timed_ports(ports: Ports) -> Ports:
    """Return ports whose requests stop at the deadline.

    The folder of files that are set aside is left as it is: its steps are moves of files.
    """
    objects = timed(ports.objects)
    return replace(
        ports,
        objects=objects,
        dropped=objects if ports.dropped is ports.objects else timed(ports.dropped),
        table=timed(ports.table),
        open_queue=lambda name: timed(ports.open_queue(name)),
    )
