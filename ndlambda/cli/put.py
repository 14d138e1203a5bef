"""``ndlambda put``: an image stack from disk into a channel."""

import time
from pathlib import Path
from typing import Any, Final

import click

from ingest_queue.sources import open_source
from ndlambda.cli import params
from ndlambda.cli.connection import Connection, pass_connection
from ndlambda.cli.creation import Wanted, create_missing
from ndlambda.cli.upload import Upload
from ndlambda.client import WriteReport
from ndlambda.model.fields import MAX_LEVELS
from ndlambda.space.pyramid import Scaling

_MB: Final = 1_000_000
_CREATE_ONLY: Final = ("dataset", "project", "voxelres_xyz", "levels", "public", "annotation")


@click.command()
@click.argument("path", metavar="FILE_OR_FOLDER", type=click.Path(path_type=Path))
@click.option("--token", required=True, help="Token of the project.")
@click.option("--channel", required=True, help="Channel to write.")
@click.option("--resolution", default=0, show_default=True, help="Resolution; 0 is the finest.")
@click.option(
    "--offset",
    "corner_xyz",
    type=params.read_xyz,
    metavar=params.XYZ_METAVAR,
    help="Dataset coordinates of the data's first voxel.  [default: the dataset's offset]",
)
@click.option(
    "--time",
    "start_time",
    type=click.IntRange(min=0),
    help="Time point of the data's first one.  [default: the channel's first]",
)
@click.option(
    "--create", is_flag=True, help="Make what is missing from the data's shape and dtype."
)
@click.option("--dataset", help="With --create: dataset's name.  [default: the token's name]")
@click.option("--project", help="With --create: project's name.  [default: the token's name]")
@click.option(
    "--voxelres",
    "voxelres_xyz",
    type=params.read_voxelres,
    metavar=params.XYZ_METAVAR,
    help="With --create: voxel size in nanometres.  [default: what the file says, else 1,1,1]",
)
@click.option(
    "--scaling",
    type=click.Choice([scaling.name.lower() for scaling in Scaling]),
    default="zslices",
    show_default=True,
    help="With --create: zslices halves x and y from one resolution to the next, isotropic z too.",
)
@click.option(
    "--levels",
    type=click.IntRange(0, MAX_LEVELS),
    help="With --create: coarser resolutions.  [default: until the longer edge is under 512]",
)
@click.option("--public", is_flag=True, help="With --create: let everybody read without a key.")
@click.option("--annotation", is_flag=True, help="With --create: the voxels are labels.")
@click.option(
    "--slab-mb",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Megabytes of planes read at once. 64 whole planes (256 of isotropic data) are fastest.",
)
@pass_connection
def put(
    connection: Connection, /, path: Path, *, create: bool, slab_mb: int, **options: Any
) -> None:
    """Store an image stack in a channel.

    Reads a folder of .png or .tif slices (in natural order), a multi-page .tif, a .npy with the
    axes (t,) z, y, x, or a .nii / .nii.gz. Everything is checked before the first voxel is sent.
    Run it again after an interruption: what is stored already is not sent again. Zeros never
    overwrite what is stored.

    \b
    Examples:
      ndlambda put slices/ --token demo --channel em --create --voxelres 4,4,40
      ndlambda put labels.npy --token demo --channel neurons --create --annotation
      ndlambda put part.tif --token demo --channel em --offset 1024,0,16
    """
    useless = [name for name in _CREATE_ONLY if options[name] and not create]
    if useless:
        names = ", ".join(f"--{name.removesuffix('_xyz')}" for name in useless)
        raise click.UsageError(f"{names}: only with --create.")
    source = open_source(path)
    options["scaling"] = Scaling[options["scaling"].upper()]
    wanted = Wanted(**options)
    client = connection.client()
    fresh = create and create_missing(client, source, wanted)
    volume = client.volume(wanted.token, wanted.channel, wanted.resolution)
    start_time = volume.times[0] if wanted.start_time is None else wanted.start_time
    corner = wanted.corner_xyz or volume.box.start_xyz
    upload = Upload(source, volume, corner, start_time, slab_mb * _MB)
    begin = time.perf_counter()
    report = volume.write_pieces(
        upload.pieces(), upload.voxels, progress=True, skip_stored=not fresh
    )
    click.echo(_summary(upload, report, time.perf_counter() - begin))


def _summary(upload: Upload, report: WriteReport, seconds: float) -> str:
    megabytes = report.voxels * upload.volume.dtype.itemsize / _MB
    x, y, z = upload.corner_xyz
    return (
        f"{upload.volume.token}/{upload.volume.channel} at {x},{y},{z}: {report.voxels} voxels, "
        f"{megabytes:.1f} MB in {seconds:.1f} s, {megabytes / max(seconds, 1e-9):.1f} MB/s; "
        f"blocks: {report.blocks_sent} sent, {report.blocks_stored} skipped (already stored), "
        f"{report.blocks_zero} skipped (all zero)"
    )
