"""Creates a thing under a unique name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, Final, Generic, TypeVar

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

_MAX_TEXT: Final = 60
_Thing = TypeVar("_Thing", bound=Dataset | Project | Channel | Token)


@dataclass(frozen=True, slots=True)
class CreateOnce(Generic[_Thing]):
    """The creation of a thing.

    Attributes
    ----------
    key
        Of its row.
    new
        The thing, without assigned ids.
    read
        Returns the thing of a row.
    guards
        Returns checks that its parent exists, or raises; called before each attempt.
    plan
        Returns the actions that store it if its row is absent, and the thing as stored.
    """

    key: Key
    new: _Thing
    read: Callable[[Row], _Thing]
    guards: Callable[[], list[Action]]
    plan: Callable[[], tuple[list[Action], _Thing]]

    def run(self, table: Table) -> _Thing:
        """Store the thing, or return the stored one if it is equal.

        Raises
        ------
        AlreadyExistsError
            A different one exists; if it is another user's, the error tells nothing else of it.
        InvalidStateError
            One of this name is still being deleted.
        WriteContentionError
            Others kept changing the rows.
        """
        name = self.new.name
        for _ in optimistic():
            checks = self.guards()
            row = table.get(*self.key)
            if row is not None:
                return self._existing(row)
            actions, stored = self.plan()
            try:
                table.transact([*actions, *checks])
            except PreconditionFailedError:
                continue  # it was created concurrently, or its parent has changed
            return stored
        raise WriteContentionError(f"{name!r} is being created by others; try again.", name=name)

    def _existing(self, row: Row) -> _Thing:
        """Return the stored thing if it is equal to the new one."""
        name, stored = self.new.name, self.read(row)
        if _owner_of(stored) != _owner_of(self.new):
            raise taken(name)
        if keys.is_deleting(row):
            raise InvalidStateError(
                f"{name!r} is still being deleted; try again in a minute.", name=name
            )
        different = list(_differences(_without_assigned(stored), _without_assigned(self.new)))
        if different:
            kind = type(self.new).__name__
            raise AlreadyExistsError(
                f"{kind} {name!r} exists and is different: {'; '.join(different)}.", name=name
            )
        return stored


def _differences(stored: Any, new: Any) -> Iterator[str]:
    for name in (each.name for each in fields(stored) if each.compare):
        found, asked = getattr(stored, name), getattr(new, name)
        if found != asked:
            yield f"its {name} is {_text(found)}, not {_text(asked)}"


def _text(value: object) -> str:
    text = value.name.lower() if isinstance(value, Enum) else repr(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def taken(name: str) -> AlreadyExistsError:
    """Return the error for a name that another user took, whether or not it is public."""
    return AlreadyExistsError("This name is taken.", name=name)


def unchanged(parent: Row) -> Check:
    """Return the check that a row has not changed since it was read."""
    return Check(parent.pk, parent.sk, expect=parent.version)


def _owner_of(thing: Dataset | Project | Channel | Token) -> int | None:
    """Return the owner; a channel's is that of its project."""
    return None if isinstance(thing, Channel) else thing.user_id


def _without_assigned(thing: Any) -> Any:
    """Return a thing without the ids that the server assigns."""
    return replace(thing, id=0, uid="") if isinstance(thing, Channel) else thing
