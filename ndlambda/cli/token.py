"""``ndlambda token``: the names under which clients address projects."""

import click

from ndlambda.cli import params, resources
from ndlambda.cli.connection import Connection, pass_connection
from ndlambda.cli.output import json_option

_COLUMNS = ("token_name", "dataset", "project", "public")
_path = click.argument(
    "path",
    metavar="DATASET/PROJECT/TOKEN",
    type=params.catalog_path("dataset", "project", "token"),
)
_Path = tuple[str, ...]


@click.group()
def token() -> None:
    """Tokens: the names under which clients address projects."""


@token.command("list")
@click.argument(
    "path",
    metavar="[DATASET/PROJECT]",
    type=params.catalog_path("dataset", "project"),
    required=False,
)
@json_option
@pass_connection
def list_(connection: Connection, path: _Path | None, as_json: bool) -> None:
    """List the tokens of a project, or all that you may use."""
    client = connection.client()
    found = client.list_tokens() if path is None else client.tokens(*path).list()
    resources.list_things(found, _COLUMNS, as_json=as_json)


@token.command()
@_path
@json_option
@pass_connection
def show(connection: Connection, path: _Path, as_json: bool) -> None:
    """Show all fields of a token."""
    resources.show_thing(connection.client(), "token", path, as_json=as_json)


@token.command()
@_path
@resources.public_option
@resources.description_option
@pass_connection
def create(connection: Connection, path: _Path, public: bool, description: str) -> None:
    """Make a token; its name is unique over the whole server.

    \b
    Example:
      ndlambda token create kasthuri/em/kasthuri11 --public
    """
    fields = {"public": int(public), "token_description": description}
    resources.create_thing(connection.client(), "token", path, fields)


@token.command()
@_path
@resources.yes_option
@pass_connection
def delete(connection: Connection, path: _Path, yes: bool) -> None:
    """Delete a token; the project and its voxels stay."""
    resources.delete_thing(connection.client(), "token", path, "(the project stays)", confirmed=yes)
