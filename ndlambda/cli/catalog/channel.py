"""``ndlambda channel``: one volume of a project."""

import click

from ndlambda.cli import params
from ndlambda.cli.catalog import resources
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option
from ndlambda.model.dtypes import ChannelType, DataType

_COLUMNS = (
    "channel_name",
    "channel_type",
    "channel_datatype",
    "starttime",
    "endtime",
    "resolution",
    "readonly",
)
_path = params.path_argument("dataset", "project", "channel")
_Path = tuple[str, ...]


@click.group()
def channel() -> None:
    """Channels: one volume of images or labels, with its time points."""


@channel.command("list")
@params.path_argument("dataset", "project")
@params.limit_option
@json_option
@pass_connection
def list_(connection: ServerOptions, path: _Path, limit: int | None, as_json: bool) -> None:
    """List the channels of a project."""
    found = connection.client().channels(*path).list(limit)
    resources.list_resources(found, _COLUMNS, as_json=as_json)


@channel.command()
@_path
@click.option(
    "--type",
    "channel_type",
    type=click.Choice([str(kind) for kind in ChannelType]),
    default="image",
    show_default=True,
    help="What the voxels are.",
)
@click.option(
    "--dtype",
    type=click.Choice([str(kind) for kind in DataType]),
    required=True,
    help="Data type of a voxel; annotations are uint32 or uint64.",
)
@click.option(
    "--time",
    "times",
    type=params.read_range,
    metavar=params.RANGE_METAVAR,
    default="0:1",
    show_default=True,
    help="Time points, half-open.",
)
@click.option(
    "--resolution",
    type=click.IntRange(0, 20),
    default=0,
    show_default=True,
    help="Resolution at which the data was acquired.",
)
@click.option("--readonly", is_flag=True, help="Refuse writes.")
@click.option("--exceptions", is_flag=True, help="Allow several labels per voxel.")
@resources.description_option
@pass_connection
def create(
    connection: ServerOptions,
    path: _Path,
    *,
    channel_type: str,
    dtype: str,
    times: tuple[int, int],
    resolution: int,
    readonly: bool,
    exceptions: bool,
    description: str,
) -> None:
    """Create a channel; no error if an identical one exists.

    \b
    Examples:
      ndlambda channel create kasthuri/em/image --dtype uint8
      ndlambda channel create kasthuri/em/neurons --type annotation --dtype uint32
      ndlambda channel create mouse/fmri/bold --type timeseries --dtype int16 --time 0:300
    """
    fields = {
        "channel_type": channel_type,
        "channel_datatype": dtype,
        "starttime": times[0],
        "endtime": times[1],
        "resolution": resolution,
        "readonly": int(readonly),
        "exceptions": int(exceptions),
        "channel_description": description,
    }
    resources.create_resource(connection.client(), "channel", path, fields)


resources.add_show(channel, "channel", _path)
resources.add_delete(channel, "channel", _path, "with all its voxels")
