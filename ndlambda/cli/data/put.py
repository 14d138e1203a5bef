"""``ndlambda put``: stores an image stack in a channel."""

import time
from typing import Any, Final

import click

from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.data.creation import creating, tell_voxelres
from ndlambda.cli.data.stack_options import (
    check_creation,
    open_and_tell,
    reading_options,
    source_options,
    target_of,
    target_options,
)
from ndlambda.cli.data.upload import StackUpload, fit_source
from ndlambda.client import WriteReport
from ndlambda.errors import UpstreamError

_MB: Final = 1_000_000


@click.command()
@click.argument("location", metavar="FILE_OR_FOLDER_OR_URL")
@target_options
@source_options
@click.option(
    "--slab-mb",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Megabytes of planes read at once. 64 whole planes (256 of isotropic data) are fastest.",
)
@pass_connection
def put(
    connection: ServerOptions, /, location: str, *, create: bool, slab_mb: int, **options: Any
) -> None:
    """Store an image stack in a channel.

    Reads a folder of slices (.png, .tif, .jpg, .webp, .jp2, in natural order), a multi-page .tif,
    OME-TIFF, Zarr, OME-Zarr, N5, Neuroglancer precomputed, HDF5 (FILE.h5:/dataset), NWB, NIfTI,
    NRRD, a .npy with the axes (t,) z, y, x, KNOSSOS cubes, CATMAID tiles, or a channel of another
    server (http://host/sd/token/channel/). Sizes and types are checked before anything is made
    or sent. After an interruption run it again: blocks that are stored already are not sent again.
    Zeros never overwrite stored voxels.

    \b
    Examples:
      ndlambda put slices/ demo/em --create --voxelres 4,4,40
      ndlambda put labels.npy demo/neurons --create --annotation
      ndlambda put part.tif demo/em --offset 1024,0,16
    """
    check_creation(options, create=create)
    source = open_and_tell(location, reading_options(options))
    target = target_of(options)
    client = connection.client()
    with creating(client, source, target, create=create) as is_new:
        volume = client.volume(target.token, target.channel, target.resolution)
        tell_voxelres(source, volume, target)
        is_checked = is_new or target.labels
        source = fit_source(source, volume, cast=target.cast, labels_said=is_checked)
        start_time = volume.times[0] if target.start_time is None else target.start_time
        corner = target.corner_xyz or volume.box.start_xyz
        upload = StackUpload(source, volume, corner, start_time, slab_mb * _MB)
        started = time.perf_counter()
        try:
            report = volume.write_pieces(
                upload.pieces(), upload.voxels, progress=True, skip_stored=not is_new
            )
        except UpstreamError:
            click.echo("What was stored is kept; the same command continues.", err=True)
            raise
    click.echo(_summary(upload, report, time.perf_counter() - started))


def _summary(upload: StackUpload, report: WriteReport, seconds: float) -> str:
    megabytes = report.voxels * upload.volume.dtype.itemsize / _MB
    x, y, z = upload.corner_xyz
    return (
        f"{upload.volume.token}/{upload.volume.channel} at {x},{y},{z}: {report.voxels} voxels, "
        f"{megabytes:.1f} MB in {seconds:.1f} s, {megabytes / max(seconds, 1e-9):.1f} MB/s; "
        f"blocks: {report.blocks_sent} sent, {report.blocks_stored} skipped (already stored), "
        f"{report.blocks_zero} skipped (all zero)"
    )
