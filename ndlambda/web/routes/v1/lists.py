"""Lists of the catalogue: datasets, projects, channels, tokens."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from werkzeug.wrappers import Response

from ndlambda.errors import NotFoundError
from ndlambda.model.fields import channel_fields, dataset_fields, project_fields, token_fields
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, Route

_Value = TypeVar("_Value")


def list_datasets(context: Context) -> Response:
    """List the datasets that are public or owned by the caller."""
    names = context.runtime.catalog.lists.datasets(context.principal)
    found = _existing(context.runtime.catalog.get_dataset, names)
    return json_response([dataset_fields(dataset) for dataset in found])


def list_projects(context: Context, ds: str) -> Response:
    """List a dataset's projects that are public or owned by the caller."""
    context.runtime.access.dataset(ds, context.principal)
    names = context.runtime.catalog.lists.projects_of(ds, context.principal)
    found = _existing(context.runtime.catalog.get_project, names)
    return json_response([project_fields(project) for project in found])


def list_channels(context: Context, ds: str, pr: str) -> Response:
    """List a project's channels in order of creation."""
    context.runtime.access.project(ds, pr, context.principal)
    return json_response(
        [channel_fields(channel) for channel in context.runtime.catalog.lists.channels_of(pr)]
    )


def list_tokens_of(context: Context, ds: str, pr: str) -> Response:
    """List a project's tokens that are public or owned by the caller."""
    access, catalog = context.runtime.access, context.runtime.catalog
    access.project(ds, pr, context.principal)
    tokens = _existing(catalog.get_token, catalog.lists.tokens_of(pr))
    return json_response(
        [
            token_fields(token)
            for token in tokens
            if token.public or access.may_manage(context.principal, token.user_id)
        ]
    )


def list_tokens(context: Context) -> Response:
    """List the tokens that are public or owned by the caller, with their projects."""
    catalog = context.runtime.catalog
    views = _existing(catalog.project_view, catalog.lists.tokens(context.principal))
    return json_response(
        [
            {
                "token_name": view.token.name,
                "project": view.project.name,
                "dataset": view.dataset.name,
                "public": int(view.token.public),
            }
            for view in views
        ]
    )


def _existing(get: Callable[[str], _Value], names: Iterable[str]) -> Iterator[_Value]:
    """Iterate over the named values, skipping those deleted since the names were read."""
    for name in names:
        try:
            yield get(name)
        except NotFoundError:
            continue


_PROJECT = "/v1/datasets/<segment:ds>/projects"

ROUTES = (
    Route("GET", "/v1/datasets", list_datasets, "Datasets that the caller may see"),
    Route("GET", _PROJECT, list_projects, "Projects of a dataset"),
    Route("GET", f"{_PROJECT}/<segment:pr>/channels", list_channels, "Channels of a project"),
    Route("GET", f"{_PROJECT}/<segment:pr>/tokens", list_tokens_of, "Tokens of a project"),
    Route("GET", "/v1/tokens", list_tokens, "Tokens that the caller may see"),
)
