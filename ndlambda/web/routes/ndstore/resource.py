"""The catalogue: ndstore's ``/resource/…`` and its v1 counterpart over the same functions.

Both use the field names of ndstore's models. ``/resource`` answers 201 and 204 with empty bodies
(ndio treats anything else as a failure) and most errors with 400; ``/v1/datasets/…`` answers
objects and the full table of statuses.
"""

from collections.abc import Callable
from typing import Any

from werkzeug.wrappers import Response

from ndlambda.errors import InvalidArgumentError, NotFoundError
from ndlambda.model.fields import (
    channel_fields,
    channel_from_fields,
    dataset_fields,
    dataset_from_fields,
    project_fields,
    project_from_fields,
    token_fields,
    token_from_fields,
)
from ndlambda.web.problem import Dialect
from ndlambda.web.request.json_body import json_object
from ndlambda.web.response.json import json_response
from ndlambda.web.response.notes import notes_of
from ndlambda.web.routing import Context, Route, View

Fields = dict[str, Any]

# --- actions, shared by both APIs -----------------------------------------------------------


def read_dataset(context: Context, ds: str) -> Fields:
    """Return a dataset's fields."""
    return dataset_fields(context.runtime.access.dataset(ds, context.principal))


def make_dataset(context: Context, ds: str) -> Fields:
    """Create a dataset owned by the caller and return its fields."""
    owner = context.runtime.access.owner_id_of(context.principal)
    dataset = dataset_from_fields(json_object(context.request), name=ds, user_id=owner)
    return dataset_fields(context.runtime.catalog.create_dataset(dataset))


def remove_dataset(context: Context, ds: str) -> None:
    """Delete a dataset and everything under it."""
    context.runtime.access.check_delete_dataset(ds, context.principal)
    context.runtime.catalog.delete_dataset(ds)


def read_project(context: Context, ds: str, pr: str) -> Fields:
    """Return a project's fields."""
    _parent(context.runtime.access.dataset, ds, context.principal)
    return project_fields(context.runtime.access.project(ds, pr, context.principal))


def make_project(context: Context, ds: str, pr: str) -> Fields:
    """Create a project owned by the caller and return its fields."""
    owner = context.runtime.access.check_create_project(ds, context.principal)
    fields = json_object(context.request)
    project = project_from_fields(fields, name=pr, dataset=ds, user_id=owner)
    return project_fields(context.runtime.catalog.create_project(project))


def remove_project(context: Context, ds: str, pr: str) -> None:
    """Delete a project with its channels and tokens."""
    context.runtime.access.check_delete_project(ds, pr, context.principal)
    context.runtime.catalog.delete_project(pr)


def read_channel(context: Context, ds: str, pr: str, ch: str) -> Fields:
    """Return a channel's fields."""
    _parent(context.runtime.access.project, ds, pr, context.principal)
    return channel_fields(context.runtime.access.channel(ds, pr, ch, context.principal))


def make_channel(context: Context, ds: str, pr: str, ch: str) -> Fields:
    """Create a channel and return its fields."""
    context.runtime.access.check_manage_project(ds, pr, context.principal)
    channel = channel_from_fields(json_object(context.request), name=ch, project=pr)
    return channel_fields(context.runtime.catalog.create_channel(channel))


def remove_channel(context: Context, ds: str, pr: str, ch: str) -> None:
    """Delete a channel and its voxels."""
    context.runtime.access.check_delete_channel(ds, pr, context.principal)
    context.runtime.catalog.delete_channel(pr, ch)


def read_token(context: Context, ds: str, pr: str, tk: str) -> Fields:
    """Return a token's fields."""
    _parent(context.runtime.access.project, ds, pr, context.principal)
    return token_fields(context.runtime.access.token(ds, pr, tk, context.principal))


def make_token(context: Context, ds: str, pr: str, tk: str) -> Fields:
    """Create a token owned by the caller and return its fields."""
    owner = context.runtime.access.check_manage_project(ds, pr, context.principal)
    fields = json_object(context.request)
    token = token_from_fields(fields, name=tk, project=pr, user_id=owner)
    return token_fields(context.runtime.catalog.create_token(token))


def remove_token(context: Context, ds: str, pr: str, tk: str) -> None:
    """Delete a token."""
    context.runtime.access.check_delete_token(ds, pr, tk, context.principal)
    context.runtime.catalog.delete_token(tk)


def _parent(get: Callable[..., object], *arguments: object) -> None:
    """Check that the parent exists; ndstore answers 404 only for the resource itself."""
    try:
        get(*arguments)
    except NotFoundError as error:
        error.details["parent"] = True
        raise


# --- views of the two APIs ------------------------------------------------------------------


def _v1(method: str, action: Callable[..., Any]) -> View:
    def view(context: Context, **names: str) -> Response:
        done = action(context, **names)
        if method == "DELETE":
            return Response(status=204)
        if method == "GET":
            return json_response(done)
        answer = json_response(done, 201)
        answer.headers.update(notes_of(json_object(context.request), done))
        return answer

    return view


def _resource(method: str, action: Callable[..., Any]) -> View:
    def view(context: Context, **names: str) -> Response:
        try:
            done = action(context, **names)
        except NotFoundError as error:
            if method == "GET" and "parent" not in error.details:
                raise
            raise InvalidArgumentError(error.message) from error
        if method == "GET":
            return json_response(done)
        if method == "DELETE":
            return Response(status=204)
        return Response(status=201, headers=notes_of(json_object(context.request), done))

    return view


def _names(list_names: Callable[[Context], list[str]]) -> View:
    return lambda context: json_response(list_names(context))


def list_projects_of(context: Context, ds: str) -> Response:
    """List the names of a dataset's projects that are public or owned by the caller."""
    return json_response(context.runtime.catalog.lists.projects_of(ds, context.principal))


_ACTIONS: tuple[tuple[str, str, str, dict[str, Callable[..., Any]]], ...] = (
    (
        "dataset",
        "dataset/<segment:ds>",
        "datasets/<segment:ds>",
        {"GET": read_dataset, "POST": make_dataset, "DELETE": remove_dataset},
    ),
    (
        "project",
        "dataset/<segment:ds>/project/<segment:pr>",
        "datasets/<segment:ds>/projects/<segment:pr>",
        {"GET": read_project, "POST": make_project, "DELETE": remove_project},
    ),
    (
        "channel",
        "dataset/<segment:ds>/project/<segment:pr>/channel/<segment:ch>",
        "datasets/<segment:ds>/projects/<segment:pr>/channels/<segment:ch>",
        {"GET": read_channel, "POST": make_channel, "DELETE": remove_channel},
    ),
    (
        "token",
        "dataset/<segment:ds>/project/<segment:pr>/token/<segment:tk>",
        "datasets/<segment:ds>/projects/<segment:pr>/tokens/<segment:tk>",
        {"GET": read_token, "POST": make_token, "DELETE": remove_token},
    ),
)
_SUMMARIES = {"GET": "Show a {}", "POST": "Create a {}", "DELETE": "Delete a {} and all under it"}


def _routes() -> list[Route]:
    routes = []
    for what, legacy, v1, actions in _ACTIONS:
        for method, action in actions.items():
            summary = _SUMMARIES[method].format(what)
            body = f"The {what}'s fields as a JSON object" if method == "POST" else ""
            routes += [
                Route(
                    method,
                    f"/resource/{legacy}",
                    _resource(method, action),
                    summary,
                    dialect=Dialect.RESOURCE,
                    body=body,
                ),
                Route(method, f"/v1/{v1}", _v1(method, action), summary, body=body),
            ]
    return routes


def _public_datasets(context: Context) -> list[str]:
    return context.runtime.catalog.lists.public_datasets()


def _public_tokens(context: Context) -> list[str]:
    return context.runtime.catalog.lists.public_tokens()


def _listing(rule: str, view: View, summary: str) -> Route:
    return Route("GET", f"/resource/{rule}", view, summary, dialect=Dialect.RESOURCE)


ROUTES = (
    *_routes(),
    *(
        _listing(rule, _names(_public_datasets), "Names of public datasets")
        for rule in ("dataset", "publicdataset", "public/dataset")
    ),
    _listing("public/token", _names(_public_tokens), "Names of public tokens"),
    *(
        _listing(rule, list_projects_of, "Names of a dataset's projects")
        for rule in ("dataset/<segment:ds>/project", "public/dataset/<segment:ds>")
    ),
)
