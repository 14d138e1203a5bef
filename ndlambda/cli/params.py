"""Options shared by several commands, and parsers of their values."""

import os
import re
from collections.abc import Callable
from functools import wraps
from math import inf
from pathlib import Path
from typing import Any

import click

from ingest_queue.jobs.job import is_job_id
from ndlambda.errors import NDLambdaError
from ndlambda.model.fields import check_name
from ndlambda.space.box import XYZ, Box

_BOX_METAVAR = "X0:X1,Y0:Y1,Z0:Z1"
RANGE_METAVAR = "A:B"
XYZ_METAVAR = "X,Y,Z"
PAIR_METAVAR = "NAME=VALUE"

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def read_xyz(value: str) -> XYZ:
    """Read three whole numbers ``x,y,z``."""
    if not re.fullmatch(r"\d+,\d+,\d+", value):
        raise click.BadParameter(f"{value!r} is not three whole numbers x,y,z, as in 512,512,64.")
    x, y, z = map(int, value.split(","))
    return x, y, z


def read_voxelres(value: str) -> tuple[float, float, float]:
    """Read three lengths ``x,y,z`` in nanometres."""
    try:
        x, y, z = map(float, value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not three numbers x,y,z, as in 4,4,40.") from None
    if not all(0 < edge < inf for edge in (x, y, z)):
        raise click.BadParameter(f"{value!r} is no voxel size: each edge is over 0 and finite.")
    return x, y, z


def read_box(value: str) -> Box:
    """Read half-open ranges ``x0:x1,y0:y1,z0:z1``."""
    found = re.fullmatch(r"(\d+):(\d+),(\d+):(\d+),(\d+):(\d+)", value)
    if not found:
        raise click.BadParameter(f"{value!r} is not a box x0:x1,y0:y1,z0:z1.")
    x0, x1, y0, y1, z0, z1 = map(int, found.groups())
    try:
        return Box((x0, y0, z0), (x1, y1, z1))
    except NDLambdaError as error:
        raise click.BadParameter(error.message) from None


def read_range(value: str) -> tuple[int, int]:
    """Read a half-open, non-empty range ``a:b``."""
    found = re.fullmatch(r"(\d+):(\d+)", value)
    if not found or int(found[1]) >= int(found[2]):
        raise click.BadParameter(f"{value!r} is not a range a:b with a < b.")
    return int(found[1]), int(found[2])


def read_id(value: str) -> int:
    """Read the id of an object."""
    if not re.fullmatch(r"\d+", value, re.ASCII) or int(value) < 1:
        raise click.BadParameter(f"{value!r} is not an id: a whole number from 1.")
    return int(value)


def read_pair(value: str) -> tuple[str, str]:
    """Read ``name=value``; the value may be empty or contain equal signs."""
    name, mark, word = value.partition("=")
    if not name or not mark:
        raise click.BadParameter(f"{value!r} is not NAME=VALUE.")
    return name, word


def path_argument(*kinds: str, required: bool = True) -> Decorator:
    """Return the argument ``path``: names from the dataset down, such as ``DATASET/PROJECT``."""
    form = "/".join(kinds).upper()

    def read_path(value: str) -> tuple[str, ...]:
        parts = tuple(value.split("/"))
        if len(parts) != len(kinds):
            raise click.BadParameter(f"{value!r} is not {form}.")
        try:
            return tuple(check_name(part, kind) for kind, part in zip(kinds, parts, strict=True))
        except NDLambdaError as error:
            raise click.BadParameter(error.message) from None

    metavar = form if required else f"[{form}]"
    return click.argument("path", metavar=metavar, type=read_path, required=required)


def name_argument(kind: str) -> Decorator:
    """Return the argument of a name, such as that of a user, as a metavar in upper case."""

    def read_name(value: str) -> str:
        try:
            return check_name(value, kind)
        except NDLambdaError as error:
            raise click.BadParameter(error.message) from None

    return click.argument("name", metavar=kind.upper(), type=read_name)


def read_job(value: str) -> str:
    """Read the id of an ingest job."""
    if not is_job_id(value):
        raise click.BadParameter(
            f"{value!r} is no job: `ndlambda ingest list` shows their 16 digits and letters."
        )
    return value


def channel_address(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument ``TOKEN/CHANNEL``; the command gets ``token`` and ``channel``.

    ``--token T --channel C`` is its older form.
    """

    @click.argument("address", metavar="TOKEN/CHANNEL", required=False)
    @click.option("--token", help="With --channel: another way to write TOKEN/CHANNEL.")
    @click.option("--channel", help="With --token: another way to write TOKEN/CHANNEL.")
    @wraps(command)
    def wrapped(
        *args: Any, address: str | None, token: str | None, channel: str | None, **others: Any
    ) -> Any:
        token, channel = read_address(address, token, channel)
        return command(*args, token=token, channel=channel, **others)

    return wrapped


def read_address(address: str | None, token: str | None, channel: str | None) -> tuple[str, str]:
    """Return the token and the channel of ``TOKEN/CHANNEL``, or of its two halves.

    Raises
    ------
    click.UsageError
        Both forms are given, or neither; or a name is none.
    """
    context = click.get_current_context()
    if address is None:
        if token is None or channel is None:
            raise click.UsageError("Say which channel: TOKEN/CHANNEL, such as demo/em.", context)
        parts = [token, channel]
    else:
        if token is not None or channel is not None:
            raise click.UsageError(
                f"{address} and --token or --channel: give TOKEN/CHANNEL only.", context
            )
        parts = address.split("/")
        if len(parts) != 2:
            raise click.UsageError(f"{address!r} is not TOKEN/CHANNEL, such as demo/em.", context)
    try:
        return check_name(parts[0], "token"), check_name(parts[1], "channel")
    except NDLambdaError as error:
        raise click.UsageError(error.message, context) from None


def _check_output(value: str) -> Path:
    path = Path(value)
    folder = path.parent
    if path.is_dir():
        raise click.BadParameter(f"{value!r} is a folder; name a file in it.")
    if not folder.is_dir():
        raise click.BadParameter(f"There is no folder {str(folder)!r}; make it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.BadParameter(f"No file can be written in {str(folder)!r} (permission denied).")
    return path


def output_option(help_text: str, *, required: bool = False) -> Decorator:
    """Return the option ``--output`` for a file whose folder exists and can be written to."""
    return click.option(
        "-o",
        "--output",
        type=_check_output,
        metavar="FILE",
        required=required,
        help=help_text,
    )


def box_option(help_text: str) -> Decorator:
    """Return the option ``--box``."""
    return click.option("--box", type=read_box, metavar=_BOX_METAVAR, help=help_text)


resolution_option = click.option(
    "--resolution", default=0, show_default=True, help="Resolution; 0 is the finest."
)

limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="Print at most so many; all if left out."
)
