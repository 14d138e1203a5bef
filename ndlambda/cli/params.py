"""Options shared by several commands, and parsers of their values."""

import re
from collections.abc import Callable
from typing import Any

import click

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


def box_option(help_text: str) -> Decorator:
    """Return the option ``--box``."""
    return click.option("--box", type=read_box, metavar=_BOX_METAVAR, help=help_text)


resolution_option = click.option(
    "--resolution", default=0, show_default=True, help="Resolution; 0 is the finest."
)

limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="Print at most so many; all if left out."
)
