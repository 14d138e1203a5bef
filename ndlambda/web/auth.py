"""Authenticates a request by its Authorization header."""

from werkzeug.wrappers import Request

from ndlambda.errors import AuthenticationError, MalformedCredentialsError
from ndlambda.model.principal import ANONYMOUS, Principal
from ndlambda.services.access.users import UserService
from ndlambda.web.problem import Dialect

_SCHEMES = frozenset({"token", "bearer"})


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
