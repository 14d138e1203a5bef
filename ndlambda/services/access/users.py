"""Stores users, their keys and passwords.

======================  ========  ===============================================================
pk                      sk        row
======================  ========  ===============================================================
``users``               name      id, superuser, generation, password (scrypt)
``key#HASH``            ``key``   the user's name and the generation that the key was issued in
``counter``             ``user``  the last user id
======================  ========  ===============================================================

Only the HMAC of a key is stored, so read access to the table reveals no key. A key is valid while
its generation is the user's: incrementing the user's generation revokes all keys.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ndlambda.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    PermissionDeniedError,
    PreconditionFailedError,
    UserNotFoundError,
    WriteContentionError,
)
from ndlambda.model.fields import check_name
from ndlambda.model.principal import Principal
from ndlambda.services.access.passwords import hash_password, verify_password
from ndlambda.services.support.cache import TimedCache
from ndlambda.services.support.paging import Key, Slice, slice_of
from ndlambda.services.support.retry import optimistic
from ndlambda.stores.ports import Check, Expectation, Put, Row, Table

USERS = "users"
USER_IDS: Key = ("counter", "user")

_KEY = re.compile(r"[\x21-\x7e]{1,256}")
_CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_]+")
_CREDENTIAL_WORD = re.compile(r"[A-Za-z0-9]+")
_MAX_CACHED = 4096


@dataclass(frozen=True, slots=True)
class User:
    """A user; ``generation`` counts the revocations of all keys."""

    id: int
    name: str
    superuser: bool = False
    generation: int = 0

    @property
    def principal(self) -> Principal:
        """The user as a principal."""
        return Principal(self.id, self.name, self.superuser)


def _new_key() -> str:
    return secrets.token_hex(32)


class UserService:
    """Manages users and authenticates keys.

    Parameters
    ----------
    table
        The store of rows.
    secret
        The server's secret; stored keys are valid with the same secret only.
    clock
        Unix seconds.
    cache_s
        How long a key may be cached. Changes made through this object are visible in it at once,
        those of other processes after at most this time.
    new_key
        Returns unguessable texts.

    Raises
    ------
    InvalidArgumentError
        The secret is empty.
    """

    def __init__(
        self,
        table: Table,
        secret: bytes,
        *,
        clock: Callable[[], float] = time.time,
        cache_s: float = 5.0,
        new_key: Callable[[], str] = _new_key,
    ) -> None:
        if not secret:
            raise InvalidArgumentError("The server needs a secret for hashing keys.")
        self._table = table
        self._secret = secret
        self._new_key = new_key
        self._cache: TimedCache[str, Principal | None] = TimedCache(cache_s, _MAX_CACHED, clock)

    def create_user(
        self,
        name: str,
        *,
        superuser: bool = False,
        password: str | None = None,
        key: str | None = None,
    ) -> tuple[User, str]:
        """Create a user; return the user and the first key, which cannot be read again.

        Raises
        ------
        InvalidNameError
            The name is invalid.
        AlreadyExistsError
            The name, or the given key, is already used.
        InvalidArgumentError
            The key or the password has invalid characters.
        """
        check_name(name, "user")
        taken = AlreadyExistsError(f"User {name!r} (or the given key) exists.", name=name)
        if self._table.get(USERS, name) is not None:
            raise taken
        key = self._checked(self._new_key() if key is None else key)
        user = User(self._table.increment(*USER_IDS, "last"), name, superuser)
        hashed = None if password is None else _hashed(password)
        try:
            self._table.transact(
                [
                    Put(_user_row(user, hashed), expect="absent"),
                    Put(self._key_row(user, key), expect="absent"),
                ]
            )
        except PreconditionFailedError:
            raise taken from None
        self._cache.clear()
        return user, key

    def get_user(self, name: str) -> User:
        """Return a user.

        Raises
        ------
        UserNotFoundError
            There is none.
        """
        return _to_user(self._row(name))

    def list_users(self, after: str, limit: int) -> Slice[User]:
        """Return users whose names come behind ``after``, in the order of their names."""
        rows = slice_of(self._table, USERS, limit, after=after)
        return rows.map(lambda found: list(map(_to_user, found)))

    def authenticate(self, key: str) -> Principal | None:
        """Return the principal of a key, None if it is unknown or revoked."""
        if not _KEY.fullmatch(key):
            return None
        # The look-up is by a keyed hash, so its timing reveals nothing about existing keys.
        key_hash = self._hash(key)
        return self._cache.get(key_hash, lambda: self._find(key_hash))

    def issue_key(self, name: str, *, key: str | None = None) -> str:
        """Issue a further key to a user and return it; idempotent for a given key.

        Raises
        ------
        UserNotFoundError
            There is no such user.
        AlreadyExistsError
            The given key belongs to another user.
        """
        key = self._checked(self._new_key() if key is None else key)
        for _ in optimistic():
            row = self._row(name)
            if self._register(row, key):
                return key
        raise _contended(name)

    def revoke_user(self, name: str) -> None:
        """Revoke all keys of a user and their password, at once.

        Raises
        ------
        UserNotFoundError
            There is none.
        """

        def revoke(doc: dict[str, Any]) -> dict[str, Any]:
            return {**doc, "generation": doc["generation"] + 1, "password": None}

        self._change(name, revoke)

    def set_password(self, name: str, password: str) -> None:
        """Set a user's password, for which ``validate_credentials`` returns a key.

        Raises
        ------
        UserNotFoundError
            There is no such user.
        InvalidArgumentError
            The password has other characters than letters and digits (a rule of ndstore).
        """
        hashed = _hashed(password)
        self._change(name, lambda doc: {**doc, "password": hashed})

    def validate_credentials(
        self, user: str, password: str, secret: str, shared_secret: str | None
    ) -> str:
        """Return a key for a user's name and password and the server's shared secret.

        The key is the same until the user is revoked: as only hashes are stored, it is derived
        from the server's secret, the name and the generation.

        Raises
        ------
        PermissionDeniedError
            A credential is wrong (the message does not say which), or the server has no shared
            secret.
        """
        denied = PermissionDeniedError("The credentials are not valid here.")
        well_formed = (
            _CREDENTIAL_NAME.fullmatch(user)
            and _CREDENTIAL_WORD.fullmatch(password)
            and _CREDENTIAL_WORD.fullmatch(secret)
        )
        if not shared_secret or not well_formed:
            raise denied
        # Checked first: verifying a password costs a quarter of a second of CPU.
        if not hmac.compare_digest(secret.encode(), shared_secret.encode()):
            raise denied
        for _ in optimistic():
            row = self._table.get(USERS, user)
            stored = None if row is None else row.doc["password"]
            # Unknown users take as much time as known ones.
            knows_password = verify_password(password, stored)
            if row is None or not knows_password:
                raise denied
            key = self._derived_key(_to_user(row))
            if self._register(row, key):
                return key
        raise _contended(user)

    def _find(self, key_hash: str) -> Principal | None:
        key_row = self._table.get(*_key_of_key(key_hash))
        if key_row is None:
            return None
        row = self._table.get(USERS, key_row.doc["user"])
        if row is None or row.doc["generation"] != key_row.doc["generation"]:
            return None
        return _to_user(row).principal

    def _register(self, row: Row, key: str) -> bool:
        """Store a key of a user; return False if the user has changed."""
        new = self._key_row(_to_user(row), key)
        stored = self._table.get(new.pk, new.sk)
        if stored is not None and stored.doc["user"] != row.sk:
            raise AlreadyExistsError("The key belongs to another user.")
        if stored is not None and stored.doc == new.doc:
            return True
        expect: Expectation = "absent" if stored is None else stored.version
        try:
            self._table.transact([Check(row.pk, row.sk, row.version), Put(new, expect=expect)])
        except PreconditionFailedError:
            return False
        self._cache.clear()
        return True

    def _change(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        for _ in optimistic():
            row = self._row(name)
            try:
                self._table.put(replace(row, doc=change(dict(row.doc))), expect=row.version)
            except PreconditionFailedError:
                continue
            finally:
                self._cache.clear()
            return
        raise _contended(name)

    def _row(self, name: str) -> Row:
        row = self._table.get(USERS, name)
        if row is None:
            raise UserNotFoundError(f"User {name!r} does not exist.", user=name)
        return row

    def _checked(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise InvalidArgumentError("A key has 1 to 256 visible ASCII characters.")
        return key

    def _hash(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def _derived_key(self, user: User) -> str:
        # No key contains NUL, so this message never equals that of a key's hash.
        return self._hash(f"ndauth\0{user.name}\0{user.generation}")

    def _key_row(self, user: User, key: str) -> Row:
        doc = {"v": 1, "user": user.name, "generation": user.generation}
        return Row(*_key_of_key(self._hash(key)), doc=doc)


def _key_of_key(key_hash: str) -> Key:
    return f"key#{key_hash}", "key"


def _user_row(user: User, password: dict[str, Any] | None) -> Row:
    doc = {
        "v": 1,
        "id": user.id,
        "superuser": user.superuser,
        "generation": user.generation,
        "password": password,
    }
    return Row(USERS, user.name, doc=doc)


def _hashed(password: str) -> dict[str, Any]:
    if not _CREDENTIAL_WORD.fullmatch(password):
        raise InvalidArgumentError("A password has letters (A-Z a-z) and digits only.")
    return hash_password(password)


def _to_user(row: Row) -> User:
    return User(row.doc["id"], row.sk, row.doc["superuser"], row.doc["generation"])


def _contended(name: str) -> WriteContentionError:
    return WriteContentionError(f"User {name!r} is being changed by others; try again.")
