"""``ndlambda info``: describes the project of a token."""

from typing import Any

import click

from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option, print_json, print_table
from ndlambda.errors import ChannelNotFoundError, NDLambdaError
from ndlambda.model.fields import check_name


def _read_address(value: str) -> tuple[str, str | None]:
    token, slash, channel = value.partition("/")
    try:
        check_name(token, "token")
        return token, check_name(channel, "channel") if slash else None
    except NDLambdaError as error:
        raise click.BadParameter(error.message) from None


@click.command()
@click.argument("address", metavar="TOKEN[/CHANNEL]", type=_read_address)
@json_option
@pass_connection
def info(connection: ServerOptions, address: tuple[str, str | None], as_json: bool) -> None:
    """Show the resolutions and channels of a token's project, or one channel of it.

    \b
    Examples:
      ndlambda info kasthuri11
      ndlambda info kasthuri11/image
    """
    token, channel = address
    document = connection.client().info(token)
    if channel is not None:
        if channel not in document["channels"]:
            raise ChannelNotFoundError(f"Token {token} has no channel {channel}.")
        document["channels"] = {channel: document["channels"][channel]}
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
