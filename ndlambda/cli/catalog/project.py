"""``ndlambda project``: sets of channels over one dataset."""

import click

from ndlambda.cli import params
from ndlambda.cli.catalog import resources
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option

_COLUMNS = ("project_name", "dataset", "public", "project_description")
_path = params.path_argument("dataset", "project")
_Path = tuple[str, ...]


@click.group()
def project() -> None:
    """Projects: sets of channels over one dataset."""


@project.command("list")
@params.path_argument("dataset")
@params.limit_option
@json_option
@pass_connection
def list_(connection: ServerOptions, path: _Path, limit: int | None, as_json: bool) -> None:
    """List the projects of a dataset."""
    found = connection.client().projects(path[0]).list(limit)
    resources.list_resources(found, _COLUMNS, as_json=as_json)


@project.command()
@_path
@resources.public_option
@resources.description_option
@pass_connection
def create(connection: ServerOptions, path: _Path, public: bool, description: str) -> None:
    """Create a project; no error if an identical one exists.

    \b
    Example:
      ndlambda project create kasthuri/em --public
    """
    fields = {"public": int(public), "project_description": description}
    resources.create_resource(connection.client(), "project", path, fields)


resources.add_show(project, "project", _path)
resources.add_delete(project, "project", _path, "with all its channels, tokens and voxels")
