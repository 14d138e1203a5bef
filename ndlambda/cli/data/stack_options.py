"""Options of the commands that read an image stack: how to read it, and where to store it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import click
import numpy as np

from ingest_queue.sources import MissingSlices, Options, Source, find_place, open_source
from ndlambda.cli import params
from ndlambda.cli.data.creation import StackTarget
from ndlambda.errors import NDLambdaError
from ndlambda.model.fields import MAX_LEVELS
from ndlambda.space.pyramid import Scaling

Command = TypeVar("Command", bound=Callable[..., Any])

_CREATE_ONLY: Final = (
    *("dataset", "project", "voxelres_xyz", "scaling", "levels", "public", "annotation"),
)

_TARGET_OPTIONS: Final = (
    params.channel_address,
    params.resolution_option,
    click.option(
        "--offset",
        "corner_xyz",
        type=params.read_xyz,
        metavar=params.XYZ_METAVAR,
        help="Dataset coordinates of the data's first voxel.  [default: the dataset's offset]",
    ),
    click.option(
        "--time",
        "start_time",
        type=click.IntRange(min=0),
        help="Time point of the data's first one.  [default: the channel's first]",
    ),
    click.option(
        "--create",
        is_flag=True,
        help="Create what is missing, by the data's shape and dtype. What exists must agree with "
        "the options given.",
    ),
    click.option("--dataset", help="With --create: dataset's name.  [default: the token's name]"),
    click.option("--project", help="With --create: project's name.  [default: the token's name]"),
    click.option(
        "--voxelres",
        "voxelres_xyz",
        type=params.read_voxelres,
        metavar=params.XYZ_METAVAR,
        help="With --create: voxel size in nanometres.  [default: the file's own, else 1,1,1]",
    ),
    click.option(
        "--scaling",
        type=click.Choice([scaling.name.lower() for scaling in Scaling]),
        help="With --create: zslices halves x and y from one resolution to the next, isotropic z "
        "too.  [default: isotropic if no edge of a voxel is 1.4 times another, else zslices]",
    ),
    click.option(
        "--levels",
        type=click.IntRange(0, MAX_LEVELS),
        help="With --create: coarser resolutions.  [default: until no edge that is halved is over "
        "512]",
    ),
    click.option("--public", is_flag=True, help="With --create: allow reading without a key."),
    click.option("--annotation", is_flag=True, help="With --create: the voxels are labels."),
    click.option(
        "--labels",
        is_flag=True,
        help="The data are labels, although they look like an image: no question is asked.",
    ),
    click.option(
        "--cast",
        is_flag=True,
        help="Convert to the channel's data type; a value that does not fit is an error. (Integer "
        "labels are converted without it.)",
    ),
)


_SOURCE_OPTIONS: Final = (
    click.option(
        "--gaps",
        type=click.Choice([gaps.value for gaps in MissingSlices]),
        default="error",
        show_default=True,
        help="Missing slices, tiles, cubes (or all chunks) are an error, zeros, or closed up "
        "(slices only).",
    ),
    click.option("--from-channel", type=click.IntRange(min=0), help="Channel of the data, from 0."),
    click.option(
        "--from-level",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Resolution of the data; 0 is the finest.",
    ),
    click.option(
        "--from-axes",
        metavar="AXES",
        help="Axes of the data as stored, such as tzyx; of slices what the numbers in their names "
        "count, such as cz.",
    ),
    click.option(
        "--from-size",
        type=params.read_xyz,
        metavar=params.XYZ_METAVAR,
        help="Size in voxels of tiles behind a URL.",
    ),
)


def target_options(command: Command) -> Command:
    """Add the options of ``StackTarget``, with the same names, and ``create`` to a command."""
    for option in reversed(_TARGET_OPTIONS):
        command = option(command)
    return command


def source_options(command: Command) -> Command:
    """Add the options that ``reading_options`` takes to a command."""
    for option in reversed(_SOURCE_OPTIONS):
        command = option(command)
    return command


def open_and_tell(location: str, options: Options) -> Source:
    """Open a source, and print what a person should know of it."""
    source = open_source(location, options)
    for note in getattr(source, "notes", ()):
        click.echo(f"ndlambda: {note}", err=True)
    if source.dtype == np.uint32 and not find_place(location).is_url:
        _tell_colours(source)
    return source


def _tell_colours(source: Source) -> None:
    """Say so if voxels are packed colours, which all are opaque (see ``images.colours``)."""
    middle = source.shape_tzyx[1] // 2
    with suppress(NDLambdaError):  # a plane that cannot be read is reported when it is sent
        pixels = source.read(0, middle, middle + 1).astype(np.uint32, copy=False)
        red, green, blue, alpha = ((pixels >> shift) & 255 for shift in (0, 8, 16, 24))
        if not (alpha == 255).all():
            return
        note = "The data is in colour: each voxel is stored as one uint32, of red, green, blue."
        if (red == green).all() and (green == blue).all():
            note += " All three are equal: save it as grey images of 8 bits to store it as uint8."
        click.echo(f"ndlambda: {note}", err=True)


def reading_options(options: dict[str, Any]) -> Options:
    """Remove and return the options about the source from a command's options."""
    return Options(
        channel=options.pop("from_channel"),
        level=options.pop("from_level"),
        gaps=MissingSlices(options.pop("gaps")),
        axes=options.pop("from_axes"),
        size_xyz=options.pop("from_size"),
    )


def target_of(options: Mapping[str, Any]) -> StackTarget:
    """Return the target that the options of ``target_options``, without ``create``, describe."""
    scaling = options["scaling"] and Scaling[options["scaling"].upper()]
    return StackTarget(**{**options, "scaling": scaling})


def check_creation(options: Mapping[str, Any], *, create: bool) -> None:
    """Refuse options for creation without ``--create``."""
    given = [
        name for name in _CREATE_ONLY if options[name] is not None and options[name] is not False
    ]
    unused = [] if create else given
    if unused:
        names = ", ".join(f"--{name.removesuffix('_xyz')}" for name in unused)
        raise click.UsageError(f"{names}: only with --create.")


def _is_given(value: object) -> bool:
    return value is not None and value is not False
