"""Datasets, projects, channels and tokens: four collections with the same verbs."""

from typing import Any, TypeAlias
from urllib.parse import quote

from ndlambda.client.transport.session import Session
from ndlambda.errors import NotFoundError

Document: TypeAlias = dict[str, Any]
"""One thing of the catalogue under ndstore's field names."""


class Collection:
    """The things of one kind under one parent.

    Parameters
    ----------
    path
        Names from the root: ``("datasets", "kasthuri", "projects")``.
    """

    def __init__(self, session: Session, path: tuple[str, ...]) -> None:
        self._session = session
        self._path = "/v1/" + "/".join(quote(part, safe="") for part in path)

    def list(self) -> list[Document]:
        """Return all that the caller may see."""
        found: list[Document] = self._session.json("GET", self._path)
        return found

    def get(self, name: str) -> Document:
        """Return one.

        Raises
        ------
        NotFoundError
            There is none of this name, or its parent is missing.
        """
        found: Document = self._session.json("GET", self._item(name))
        return found

    def find(self, name: str) -> Document | None:
        """Return one, or None where there is none."""
        try:
            return self.get(name)
        except NotFoundError:
            return None

    def create(self, name: str, **fields: Any) -> Document:
        """Make one and return it with all its fields; no error where an identical one exists.

        Raises
        ------
        AlreadyExistsError
            The name is taken by something different.
        ValidationError
            A field is refused.
        """
        made: Document = self._session.json("POST", self._item(name), fields)
        return made

    def delete(self, name: str) -> None:
        """Delete one with everything below it, voxels too."""
        self._session.json("DELETE", self._item(name))

    def _item(self, name: str) -> str:
        return f"{self._path}/{quote(name, safe='')}"


class Users:
    """The people who hold keys; for superusers only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[Document]:
        """Return all users: name, id, superuser, revocations (how often all keys were)."""
        found: list[Document] = self._session.json("GET", "/v1/users")
        return found

    def add(self, name: str, *, superuser: bool = False, password: str | None = None) -> Document:
        """Make a user and return it with its ``key``, which is shown this once and kept nowhere.

        Raises
        ------
        AlreadyExistsError
            The name is taken.
        """
        document: Document = {"name": name, "superuser": superuser}
        if password is not None:
            document["password"] = password
        made: Document = self._session.json("POST", "/v1/users", document, repeatable=False)
        return made

    def new_key(self, name: str) -> str:
        """Return a user one more key and tell it, this once; those before go on to work.

        Raises
        ------
        UserNotFoundError
            No user of this name.
        """
        made: Document = self._session.json(
            "POST", f"/v1/users/{quote(name, safe='')}/keys", repeatable=False
        )
        key: str = made["key"]
        return key

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password, for ``/ndauth``; their keys stay.

        Raises
        ------
        UserNotFoundError
            No user of this name.
        InvalidArgumentError
            The password has other characters than letters and digits.
        """
        self._session.json(
            "PUT", f"/v1/users/{quote(name, safe='')}/password", {"password": password}
        )

    def revoke(self, name: str) -> None:
        """Make all keys of a user worthless at once.

        Raises
        ------
        UserNotFoundError
            No user of this name.
        """
        self._session.json("DELETE", f"/v1/users/{quote(name, safe='')}")
