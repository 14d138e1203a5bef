"""``ndlambda sample``: writes a synthetic stack to try everything with."""

from pathlib import Path

import click

from ndlambda.cli import params
from ndlambda.errors import AlreadyExistsError


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--size",
    "size_xyz",
    type=params.read_xyz,
    metavar=params.XYZ_METAVAR,
    default="512,512,32",
    show_default=True,
    help="Size in voxels.",
)
def sample(folder: Path, size_xyz: tuple[int, int, int]) -> None:
    """Write a stack of slices that looks like electron microscopy, to try everything with.

    The slices are 8-bit PNG files, 0000.png and so on: the same ones for the same size.

    \b
    Examples:
      ndlambda sample slices
      ndlambda sample small --size 128,128,8
    """
    from ndlambda.local.png_slices import write_png_slices
    from ndlambda.local.synthetic import em_stack

    if min(size_xyz) < 1:
        raise click.BadParameter("Every edge is at least 1 voxel.", param_hint="--size")
    if folder.is_dir() and any(folder.iterdir()):
        raise AlreadyExistsError(f"{folder} has files in it; name a new folder.")
    x, y, z = size_xyz
    write_png_slices(folder, em_stack((z, y, x)))
    click.echo(f"{folder}: {z} slices of {x} x {y}, 8 bits")
