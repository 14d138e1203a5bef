"""Lists of the catalogue: datasets, projects, channels, tokens."""

from werkzeug.wrappers import Response

from ndlambda.model.fields import channel_fields, dataset_fields, project_fields, token_fields
from ndlambda.web.request.page import PAGE, read_after, read_limit
from ndlambda.web.request.query import check_parameters
from ndlambda.web.response.delivery import deliver_json
from ndlambda.web.routing import Context, Route


def list_datasets(context: Context) -> Response:
    """List the datasets that are public or owned by the caller."""
    found = context.runtime.catalog.slices.datasets(context.principal, *_page(context))
    return deliver_json(
        context, {"datasets": list(map(dataset_fields, found.items)), "next": found.next}
    )


def list_projects(context: Context, ds: str) -> Response:
    """List a dataset's projects that are public or owned by the caller."""
    context.runtime.access.dataset(ds, context.principal)
    found = context.runtime.catalog.slices.projects(ds, context.principal, *_page(context))
    return deliver_json(
        context, {"projects": list(map(project_fields, found.items)), "next": found.next}
    )


def list_channels(context: Context, ds: str, pr: str) -> Response:
    """List a project's channels."""
    context.runtime.access.project(ds, pr, context.principal)
    found = context.runtime.catalog.slices.channels(pr, *_page(context))
    return deliver_json(
        context, {"channels": list(map(channel_fields, found.items)), "next": found.next}
    )


def list_tokens_of(context: Context, ds: str, pr: str) -> Response:
    """List a project's tokens that are public or owned by the caller."""
    context.runtime.access.project(ds, pr, context.principal)
    found = context.runtime.catalog.slices.tokens_of(pr, context.principal, *_page(context))
    return deliver_json(
        context, {"tokens": list(map(token_fields, found.items)), "next": found.next}
    )


def list_tokens(context: Context) -> Response:
    """List the tokens that are public or owned by the caller, with their projects."""
    found = context.runtime.catalog.slices.tokens(context.principal, *_page(context))
    entries = [
        {
            "token_name": token.name,
            "project": project.name,
            "dataset": project.dataset,
            "public": int(token.public),
        }
        for token, project in found.items
    ]
    return deliver_json(context, {"tokens": entries, "next": found.next})


def _page(context: Context) -> tuple[str, int]:
    """Return where the caller's page begins, and how long it may be."""
    check_parameters(context.request, PAGE)
    return read_after(context.request.args), read_limit(context.request.args)


_PROJECT = "/v1/datasets/<segment:ds>/projects"

ROUTES = (
    Route("GET", "/v1/datasets", list_datasets, "Datasets that the caller may see", query=PAGE),
    Route("GET", _PROJECT, list_projects, "Projects of a dataset", query=PAGE),
    Route(
        "GET",
        f"{_PROJECT}/<segment:pr>/channels",
        list_channels,
        "Channels of a project",
        query=PAGE,
    ),
    Route(
        "GET", f"{_PROJECT}/<segment:pr>/tokens", list_tokens_of, "Tokens of a project", query=PAGE
    ),
    Route("GET", "/v1/tokens", list_tokens, "Tokens that the caller may see", query=PAGE),
)
