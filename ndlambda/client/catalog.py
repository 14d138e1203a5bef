"""Datasets, projects, channels and tokens: four collections with the same methods."""

from typing import Any, TypeAlias
from urllib.parse import quote

from ndlambda.client.transport.session import Session
from ndlambda.errors import NotFoundError

Document: TypeAlias = dict[str, Any]
"""One resource under ndstore's field names."""


class Collection:
    """The resources of one kind under one parent.

    Parameters
    ----------
    path
        Names from the root: ``("datasets", "kasthuri", "projects")``.
    """

    def __init__(self, session: Session, path: tuple[str, ...]) -> None:
        self._session = session
        self._path = "/v1/" + "/".join(quote(part, safe="") for part in path)
        self._kind = path[-1]

    def list(self, limit: int | None = None) -> list[Document]:
        """Return the resources that the caller may see by name, at most ``limit`` (None: all)."""
        return list(self._session.pages(self._path, self._kind, limit=limit))

    def get(self, name: str) -> Document:
        """Return a resource.

        Raises
        ------
        NotFoundError
            There is none with this name, or its parent is missing.
        """
        found: Document = self._session.json("GET", self._item(name))
        return found

    def find(self, name: str) -> Document | None:
        """Return a resource, or None if it does not exist."""
        try:
            return self.get(name)
        except NotFoundError:
            return None

    def create(self, name: str, **fields: Any) -> Document:
        """Create a resource and return it with all its fields; no error if it exists identically.

        Raises
        ------
        AlreadyExistsError
            The name is taken by a different resource.
        ValidationError
            A field is invalid.
        """
        created: Document = self._session.json("POST", self._item(name), fields)
        return created

    def delete(self, name: str) -> None:
        """Delete a resource and everything under it, including voxels."""
        self._session.json("DELETE", self._item(name))

    def _item(self, name: str) -> str:
        return f"{self._path}/{quote(name, safe='')}"


class Users:
    """The users of the server and their keys; for superusers only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self, limit: int | None = None) -> list[Document]:
        """Return users by name, at most ``limit`` (None: all).

        Each has name, id, superuser, revocations (how often all keys were revoked).
        """
        return list(self._session.pages("/v1/users", "users", limit=limit))

    def add(self, name: str, *, superuser: bool = False, password: str | None = None) -> Document:
        """Create a user and return it with its ``key``, which is shown only once.

        Raises
        ------
        AlreadyExistsError
            The name is taken.
        """
        document: Document = {"name": name, "superuser": superuser}
        if password is not None:
            document["password"] = password
        created: Document = self._session.json("POST", "/v1/users", document, repeatable=False)
        return created

    def new_key(self, name: str) -> str:
        """Issue and return another key for a user, shown only once; existing keys stay valid.

        Raises
        ------
        UserNotFoundError
            There is no such user.
        """
        created: Document = self._session.json(
            "POST", f"/v1/users/{quote(name, safe='')}/keys", repeatable=False
        )
        key: str = created["key"]
        return key

    def set_password(self, name: str, password: str) -> None:
        """Set a user's password for ``/ndauth``; the keys stay valid.

        Raises
        ------
        UserNotFoundError
            There is no such user.
        InvalidArgumentError
            The password has characters other than letters and digits.
        """
        self._session.json(
            "PUT", f"/v1/users/{quote(name, safe='')}/password", {"password": password}
        )

    def revoke(self, name: str) -> None:
        """Revoke all keys of a user.

        Raises
        ------
        UserNotFoundError
            There is no such user.
        """
        self._session.json("DELETE", f"/v1/users/{quote(name, safe='')}")
