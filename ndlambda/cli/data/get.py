"""``ndlambda get``: fetches a box of voxels into a file."""

from pathlib import Path

import click

from ndlambda.cli import params
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.space.box import Box
from ndlambda.wire import export


@click.command()
@params.channel_address
@params.resolution_option
@params.box_option(
    "Half-open ranges of dataset coordinates (offset included).  [default: everything]"
)
@click.option(
    "--time",
    "times",
    type=params.read_range,
    metavar=params.RANGE_METAVAR,
    help="Half-open range of time points; makes a 4-D file.  [default: the first point]",
)
@params.output_option(
    "File to write; its suffix (.npy .npz .h5 .tif .nii .nii.gz) is the format.", required=True
)
@pass_connection
def get(
    connection: ServerOptions,
    *,
    token: str,
    channel: str,
    resolution: int,
    box: Box | None,
    times: tuple[int, int] | None,
    output: Path,
) -> None:
    """Fetch a box of voxels into a file.

    The box is held in memory. Arrays are (t,) z, y, x in .npy, .npz, .h5 and .tif; NIfTI files
    have the axes x, y, z(, t). All but .npy and .npz have the voxel size, which Fiji and `ndlambda
    put` read.

    \b
    Examples:
      ndlambda get demo/em -o em.tif
      ndlambda get demo/em --box 0:512,0:512,10:20 --resolution 1 -o part.npy
    """
    export.suffix_of(output)  # reports a wrong suffix before anything is fetched
    volume = connection.client().volume(token, channel, resolution)
    box = box or volume.box
    array = volume.read(box, times=times, progress=True)
    cutout = export.Cutout(
        array, channel, volume.geometry.channel_type, box.start_xyz, volume.voxelres
    )
    export.write_cutout(output, cutout)
    click.echo(f"{output}: {array.dtype.name}, shape {' x '.join(map(str, array.shape))}")
