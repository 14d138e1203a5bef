"""``ndlambda info``: describes the project of a token."""

from typing import Any

import click

from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option, print_json, print_table


@click.command()
@click.argument("token")
@json_option
@pass_connection
def info(connection: ServerOptions, token: str, as_json: bool) -> None:
    """Show the resolutions and channels of a token's project.

    \b
    Example:
      ndlambda info kasthuri11
    """
    document = connection.client().info(token)
    if as_json:
        print_json(document)
        return
    dataset, project = document["dataset"], document["project"]
    click.echo(f"token {token}: project {project['name']} of dataset {dataset['name']}")
    print_table(
        ["resolution", "size x y z", "offset x y z", "voxel x y z (nm)", "cuboid x y z"],
        [_level(dataset, level) for level in sorted(dataset["imagesize"], key=int)],
    )
    print_table(
        ["channel", "type", "dtype", "time points", "read-only"],
        [_channel(name, channel) for name, channel in sorted(document["channels"].items())],
    )


def _level(dataset: dict[str, Any], level: str) -> list[object]:
    columns = ("imagesize", "offset", "voxelres", "cube_dimension")
    return [level, *(dataset[column][level] for column in columns)]


def _channel(name: str, channel: dict[str, Any]) -> list[object]:
    start, stop = channel["timerange"]
    kind, dtype = channel["channel_type"], channel["datatype"]
    return [name, kind, dtype, f"{start}:{stop}", bool(channel["readonly"])]
