"""Users and their keys (superusers only), and ndstore's credential check."""

from typing import Any

from werkzeug.wrappers import Response

from ndlambda.errors import AuthenticationError, PermissionDeniedError, ValidationError
from ndlambda.services.access.users import User
from ndlambda.web.problem import Dialect
from ndlambda.web.request.json_body import json_object
from ndlambda.web.request.page import PAGE, read_after, read_limit
from ndlambda.web.request.query import check_parameters
from ndlambda.web.response.delivery import deliver_json
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, Route


def _superuser_only(context: Context) -> None:
    if context.principal.anonymous:
        raise AuthenticationError("Users are managed with a superuser's key; send one.")
    if not context.principal.superuser:
        raise PermissionDeniedError("Users are managed by superusers.")


def _document(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "id": user.id,
        "superuser": user.superuser,
        "revocations": user.generation,
    }


def list_users(context: Context) -> Response:
    """List users in the order of their names."""
    check_parameters(context.request, PAGE)
    _superuser_only(context)
    query = context.request.args
    found = context.runtime.users.list_users(read_after(query), read_limit(query))
    return deliver_json(context, {"users": list(map(_document, found.items)), "next": found.next})


def make_user(context: Context) -> Response:
    """Create a user and return their key, which is shown only once."""
    _superuser_only(context)
    fields = _checked(json_object(context.request))
    user, key = context.runtime.users.create_user(
        fields["name"],
        superuser=fields.get("superuser", False),
        password=fields.get("password"),
    )
    return json_response({**_document(user), "key": key}, 201)


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    kinds: dict[str, type] = {"name": str, "superuser": bool, "password": str}
    faults = {
        name: "unknown field" if name not in kinds else f"not a {kinds[name].__name__}"
        for name, value in fields.items()
        if name not in kinds or not isinstance(value, kinds[name])
    }
    if "name" not in fields:
        faults["name"] = "missing"
    if faults:
        raise ValidationError(faults)
    return fields


def make_key(context: Context, user: str) -> Response:
    """Issue another key for a user, shown only once."""
    _superuser_only(context)
    return json_response({"name": user, "key": context.runtime.users.issue_key(user)}, 201)


def set_password(context: Context, user: str) -> Response:
    """Set a user's password."""
    _superuser_only(context)
    fields = json_object(context.request)
    password = fields.get("password")
    if not isinstance(password, str) or len(fields) > 1:
        raise ValidationError({"password": "the only field, a text"})
    context.runtime.users.set_password(user, password)
    return Response(status=204)


def revoke_user(context: Context, user: str) -> Response:
    """Revoke all keys of a user."""
    _superuser_only(context)
    context.runtime.users.revoke_user(user)
    return Response(status=204)


def validate(context: Context) -> Response:
    """Return the key of a user for name, password and the server's shared secret.

    ndstore read the JSON from the body of a GET; POST is accepted too.
    """
    properties = json_object(context.request).get("properties")
    fields = properties if isinstance(properties, dict) else {}
    words = [fields.get(name) for name in ("user", "password", "secret")]
    if not all(isinstance(word, str) for word in words):
        raise PermissionDeniedError("The credentials are not valid here.")
    user, password, secret = map(str, words)
    key = context.runtime.users.validate_credentials(
        user, password, secret, context.runtime.settings.ndauth_secret or None
    )
    return Response(key, content_type="text/plain")


ROUTES = (
    Route("GET", "/v1/users", list_users, "Users", query=PAGE),
    Route(
        "POST",
        "/v1/users",
        make_user,
        "Create a user; the response has their key, shown only once",
        body="name, and optionally superuser (bool) and password, as a JSON object",
    ),
    Route("POST", "/v1/users/<segment:user>/keys", make_key, "Issue another key for a user"),
    Route(
        "PUT",
        "/v1/users/<segment:user>/password",
        set_password,
        "Set a user's password; existing keys stay valid",
        body='{"password": letters and digits}',
    ),
    Route("DELETE", "/v1/users/<segment:user>", revoke_user, "Revoke all keys of a user"),
    *(
        Route(
            method,
            "/ndauth/validate",
            validate,
            "The key of a user by name, password and shared secret",
            dialect=Dialect.NDAUTH,
            body='{"properties": {"user": …, "password": …, "secret": …}}',
        )
        for method in ("GET", "POST")
    ),
)
