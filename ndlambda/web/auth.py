"""Authenticates a request by its Authorization header; refuses changes by pages of other sites."""

from typing import Final
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

from ndlambda.errors import AuthenticationError, ForeignPageError, MalformedCredentialsError
from ndlambda.model.principal import ANONYMOUS, Principal
from ndlambda.services.access.users import UserService
from ndlambda.web.problem import Dialect

_SCHEMES = frozenset({"token", "bearer"})
_OWN_SITES: Final = frozenset({"same-origin", "none"})
"""What browsers say of a page of this server, and of an address that a person typed."""


def principal_of(request: Request, users: UserService, dialect: Dialect) -> Principal:
    """Return the owner of the request's key.

    A missing header, another scheme, or a scheme without a key means the anonymous principal. On
    ndstore's routes an unknown key is anonymous too (ndio always sends one, by default
    ``placeholder``).

    Raises
    ------
    MalformedCredentialsError
        The header has more than two words, or the key has characters no header may hold.
    AuthenticationError
        The key is unknown or revoked, on a v1 route.
    """
    words = request.headers.get("Authorization", "").split()
    if len(words) < 2 or words[0].lower() not in _SCHEMES:
        return ANONYMOUS
    if len(words) > 2:
        raise MalformedCredentialsError(
            "The Authorization header must be 'Token KEY' or 'Bearer KEY'."
        )
    principal = users.authenticate(words[1])
    if principal is not None:
        return principal
    if dialect is Dialect.V1:
        raise AuthenticationError("The key is unknown or revoked; ask an administrator for one.")
    return ANONYMOUS


def refuse_foreign_page(request: Request) -> None:
    """Refuse a change without a key that a page of another site let a browser send.

    Browsers send forms, and what scripts, images and links ask for, to any address that they
    reach, also inside a private network, and say whose page it was: by ``Sec-Fetch-Site``, or
    older ones, and all of them over plain HTTP, by ``Origin`` or ``Referer``. Other clients send
    none of them.

    Raises
    ------
    ForeignPageError
        The page is not of this server.
    """
    headers = request.headers
    site = headers.get("Sec-Fetch-Site")
    page = headers.get("Origin") or headers.get("Referer")
    if site is not None:
        is_own = site in _OWN_SITES
    else:
        is_own = page is None or _host_of(page) == headers.get("Host", "").lower()
    if not is_own:
        raise ForeignPageError("A page of another site changes nothing here without a key.")


def _host_of(url: str) -> str:
    """Return host and port of an address, empty if it is none (``Origin: null``)."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""
