"""``ndlambda project``: channels over one dataset."""

import click

from ndlambda.cli import params, resources
from ndlambda.cli.connection import Connection, pass_connection
from ndlambda.cli.output import json_option

_COLUMNS = ("project_name", "dataset", "public", "project_description")
_path = click.argument(
    "path", metavar="DATASET/PROJECT", type=params.catalog_path("dataset", "project")
)
_Path = tuple[str, ...]


@click.group()
def project() -> None:
    """Projects: a set of channels over one dataset."""


@project.command("list")
@click.argument("path", metavar="DATASET", type=params.catalog_path("dataset"))
@json_option
@pass_connection
def list_(connection: Connection, path: _Path, as_json: bool) -> None:
    """List the projects of a dataset."""
    found = connection.client().projects(path[0]).list()
    resources.list_things(found, _COLUMNS, as_json=as_json)


@project.command()
@_path
@json_option
@pass_connection
def show(connection: Connection, path: _Path, as_json: bool) -> None:
    """Show all fields of a project."""
    resources.show_thing(connection.client(), "project", path, as_json=as_json)


@project.command()
@_path
@resources.public_option
@resources.description_option
@pass_connection
def create(connection: Connection, path: _Path, public: bool, description: str) -> None:
    """Make a project; no error if an identical one exists.

    \b
    Example:
      ndlambda project create kasthuri/em --public
    """
    fields = {"public": int(public), "project_description": description}
    resources.create_thing(connection.client(), "project", path, fields)


@project.command()
@_path
@resources.yes_option
@pass_connection
def delete(connection: Connection, path: _Path, yes: bool) -> None:
    """Delete a project with its channels, tokens and voxels."""
    consequence = "with all its channels, tokens and voxels"
    resources.delete_thing(connection.client(), "project", path, consequence, confirmed=yes)
