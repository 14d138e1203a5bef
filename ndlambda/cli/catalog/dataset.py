"""``ndlambda dataset``: the geometry shared by projects."""

import click

from ndlambda.cli import params
from ndlambda.cli.catalog import resources
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option
from ndlambda.space.pyramid import Scaling

_COLUMNS = ("dataset_name", "ximagesize", "yimagesize", "zimagesize", "scalinglevels", "public")
_path = params.path_argument("dataset")
_Path = tuple[str, ...]


@click.group()
def dataset() -> None:
    """Datasets: size, voxel size and resolutions, shared by projects."""


@dataset.command("list")
@params.limit_option
@json_option
@pass_connection
def list_(connection: ServerOptions, limit: int | None, as_json: bool) -> None:
    """List the datasets that you may see."""
    resources.list_resources(connection.client().datasets.list(limit), _COLUMNS, as_json=as_json)


@dataset.command()
@_path
@click.option(
    "--size",
    type=params.read_xyz,
    metavar=params.XYZ_METAVAR,
    required=True,
    help="Size in voxels.",
)
@click.option(
    "--offset",
    type=params.read_xyz,
    metavar=params.XYZ_METAVAR,
    default="0,0,0",
    show_default=True,
    help="Coordinates of the first voxel.",
)
@click.option(
    "--voxelres",
    type=params.read_voxelres,
    metavar=params.XYZ_METAVAR,
    help="Voxel size in nanometres.  [default: 1,1,1]",
)
@click.option(
    "--scaling",
    type=click.Choice([scaling.name.lower() for scaling in Scaling]),
    default="zslices",
    show_default=True,
    help="zslices halves x and y from one resolution to the next, isotropic z too.",
)
@click.option(
    "--levels",
    type=click.IntRange(0, 20),
    default=0,
    show_default=True,
    help="Number of resolutions below the finest.",
)
@resources.public_option
@resources.description_option
@pass_connection
def create(
    connection: ServerOptions,
    path: _Path,
    *,
    size: tuple[int, int, int],
    offset: tuple[int, int, int],
    voxelres: tuple[float, float, float] | None,
    scaling: str,
    levels: int,
    public: bool,
    description: str,
) -> None:
    """Create a dataset; no error if an identical one exists.

    \b
    Example:
      ndlambda dataset create kasthuri --size 10752,13312,1850 --voxelres 6,6,30 --levels 7
    """
    if voxelres is None:
        click.echo("ndlambda: 1,1,1 nm is assumed. --voxelres X,Y,Z says another size.", err=True)
    halved, axes = (size, "x, y and z") if scaling == "isotropic" else (size[:2], "x and y")
    last = (max(halved) - 1).bit_length()
    if levels > last:
        click.echo(
            f"ndlambda: from resolution {last} on there is one voxel in {axes}; --levels {levels} "
            "builds more of the same.",
            err=True,
        )
    fields = dataset_fields(size, offset, voxelres or (1.0, 1.0, 1.0))
    fields |= {
        "scalingoption": Scaling[scaling.upper()].value,
        "scalinglevels": levels,
        "public": int(public),
        "dataset_description": description,
    }
    resources.create_resource(connection.client(), "dataset", path, fields)


resources.add_show(dataset, "dataset", _path)
resources.add_delete(
    dataset, "dataset", _path, "with all its projects, channels, tokens and voxels"
)


def dataset_fields(
    size: tuple[int, int, int],
    offset: tuple[int, int, int],
    voxelres: tuple[float, float, float],
) -> dict[str, object]:
    """Return the geometry, given x first, under ndstore's field names."""
    triples = {"imagesize": size, "offset": offset, "voxelres": voxelres}
    return {
        f"{axis}{name}": value
        for name, triple in triples.items()
        for axis, value in zip("xyz", triple, strict=True)
    }
