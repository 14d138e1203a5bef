"""Commands shared by datasets, projects, channels and tokens: list, show, create, delete."""

from collections.abc import Sequence
from typing import Any

import click

from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option, print_fields, print_json, print_table
from ndlambda.cli.params import Decorator
from ndlambda.client import Client
from ndlambda.client.catalog import Collection

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
public_option = click.option("--public", is_flag=True, help="Allow reading without a key.")
description_option = click.option(
    "--description", default="", help="A sentence that describes it to people."
)


def collection_of(client: Client, kind: str, parents: Sequence[str]) -> Collection:
    """Return the collection of one kind of resource under its parents."""
    match kind, *parents:
        case "dataset", *_:
            return client.datasets
        case "project", dataset:
            return client.projects(dataset)
        case "channel", dataset, project:
            return client.channels(dataset, project)
        case _:
            dataset, project = parents
            return client.tokens(dataset, project)


def list_resources(
    found: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool
) -> None:
    """Print a list of resources."""
    if as_json:
        print_json(list(found))
    else:
        print_table(columns, [[each.get(column, "") for column in columns] for each in found])


def create_resource(client: Client, kind: str, path: Sequence[str], fields: dict[str, Any]) -> None:
    """Create a resource and say so, or that the same one exists already."""
    collection = collection_of(client, kind, path[:-1])
    is_new = collection.find(path[-1]) is None
    collection.create(path[-1], **fields)
    click.echo(f"{kind} {'/'.join(path)} {'is created' if is_new else 'exists already'}")


def add_show(group: click.Group, kind: str, path_argument: Decorator) -> None:
    """Add the command that prints all fields of a resource."""

    @group.command(help=f"Show all fields of a {kind}.")
    @path_argument
    @json_option
    @pass_connection
    def show(connection: ServerOptions, path: Sequence[str], as_json: bool) -> None:
        found = collection_of(connection.client(), kind, path[:-1]).get(path[-1])
        if as_json:
            print_json(found)
        else:
            print_fields(found)


def add_delete(group: click.Group, kind: str, path_argument: Decorator, consequence: str) -> None:
    """Add the command that deletes a resource, after stating the consequence and asking."""

    @group.command(help=f"Delete a {kind} {consequence}.")
    @path_argument
    @yes_option
    @pass_connection
    def delete(connection: ServerOptions, path: Sequence[str], yes: bool) -> None:
        collection = collection_of(connection.client(), kind, path[:-1])
        collection.get(path[-1])  # reports a wrong name before asking for confirmation
        if not yes:
            click.confirm(f"Delete {kind} {'/'.join(path)} {consequence}?", abort=True)
        collection.delete(path[-1])
        click.echo(f"{kind} {'/'.join(path)} is deleted")
