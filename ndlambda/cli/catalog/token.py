"""``ndlambda token``: the names by which clients address projects."""

import click

from ndlambda.cli import params
from ndlambda.cli.catalog import resources
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option

_COLUMNS = ("token_name", "dataset", "project", "public")
_path = params.path_argument("dataset", "project", "token")
_Path = tuple[str, ...]


@click.group()
def token() -> None:
    """Tokens: the names by which clients address projects."""


@token.command("list")
@params.path_argument("dataset", "project", required=False)
@params.limit_option
@json_option
@pass_connection
def list_(connection: ServerOptions, path: _Path | None, limit: int | None, as_json: bool) -> None:
    """List the tokens of a project, or all that you may use."""
    client = connection.client()
    found = client.list_tokens(limit) if path is None else client.tokens(*path).list(limit)
    resources.list_resources(found, _COLUMNS, as_json=as_json)


@token.command()
@_path
@resources.public_option
@resources.description_option
@pass_connection
def create(connection: ServerOptions, path: _Path, public: bool, description: str) -> None:
    """Create a token; its name must be unique on the server.

    \b
    Example:
      ndlambda token create kasthuri/em/kasthuri11 --public
    """
    fields = {"public": int(public), "token_description": description}
    resources.create_resource(connection.client(), "token", path, fields)


resources.add_show(token, "token", _path)
resources.add_delete(token, "token", _path, "(the project and its voxels stay)")
