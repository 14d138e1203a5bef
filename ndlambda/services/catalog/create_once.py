"""Storing something under a name that at most one may have."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from ndlambda.errors import (
    AlreadyExistsError,
    InvalidStateError,
    PreconditionFailedError,
    WriteContentionError,
)
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.services.catalog import keys
from ndlambda.services.support.paging import Key
from ndlambda.services.support.retry import optimistic
from ndlambda.stores.ports import Action, Check, Row, Table

_Thing = TypeVar("_Thing", bound=Dataset | Project | Channel | Token)


@dataclass(frozen=True, slots=True)
class CreateOnce(Generic[_Thing]):
    """How a thing is stored.

    Attributes
    ----------
    key
        Of its row.
    new
        The thing, without what is assigned to it.
    read
        Gives the thing of a row.
    guards
        Gives checks that what it lies under is there, or raises; asked before each attempt.
    plan
        Gives the actions that store it if its row is absent, and the thing as stored.
    """

    key: Key
    new: _Thing
    read: Callable[[Row], _Thing]
    guards: Callable[[], list[Action]]
    plan: Callable[[], tuple[list[Action], _Thing]]

    def carry_out(self, table: Table) -> _Thing:
        """Store the thing, or give the one that is there if it is equal.

        Raises
        ------
        AlreadyExistsError
            There is a different one.
        InvalidStateError
            One of this name is still being deleted.
        WriteContentionError
            Others kept coming between.
        """
        name = self.new.name
        for _ in optimistic():
            checks = self.guards()
            row = table.get(*self.key)
            if row is not None:
                return self._the_same(row)
            actions, stored = self.plan()
            try:
                table.transact([*actions, *checks])
            except PreconditionFailedError:
                continue  # somebody else made it, or what it lies under changed: look again
            return stored
        raise WriteContentionError(f"{name!r} keeps being made by others; try again.", name=name)

    def _the_same(self, row: Row) -> _Thing:
        name = self.new.name
        if keys.is_deleting(row):
            raise InvalidStateError(
                f"{name!r} is still being deleted; try again in a minute.", name=name
            )
        stored = self.read(row)
        if _as_asked(stored) != _as_asked(self.new):
            raise AlreadyExistsError(f"{name!r} exists and is different.", name=name)
        return stored


def unchanged(parent: Row) -> Check:
    """Return the check that a row is as it was read."""
    return Check(parent.pk, parent.sk, expect=parent.version)


def _as_asked(thing: Any) -> Any:
    """Return a thing without what the server assigns."""
    return replace(thing, id=0, uid="") if isinstance(thing, Channel) else thing
