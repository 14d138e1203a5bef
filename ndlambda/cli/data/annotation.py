"""``ndlambda annotation``: the objects of an annotation channel, and their voxels."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click
import numpy as np

from ndlambda.cli import params
from ndlambda.cli.catalog import resources
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option, print_fields, print_json, write_file
from ndlambda.client import Annotations
from ndlambda.client.annotation.bodies import Where
from ndlambda.errors import NotFoundError
from ndlambda.model.ramon import RamonType, fields_of
from ndlambda.model.ramon.plain import TYPE_WORDS
from ndlambda.model.readers import Refusal
from ndlambda.space.box import Box

_Path = tuple[str, ...]
_Pairs = tuple[tuple[str, str], ...]

_path = params.path_argument("token", "channel")
_id = click.argument("annotation_id", metavar="ID", type=click.IntRange(min=1))
_resolution = params.resolution_option
_box = params.box_option("Half-open ranges of dataset coordinates (offset included).")
_fields = click.option(
    "--field",
    "fields",
    type=params.read_pair,
    metavar=params.PAIR_METAVAR,
    multiple=True,
    help="A field of the type, such as --field neuron=3 (lists: --field segments=7,9); repeatable.",
)
_pairs = click.option(
    "--pair",
    "pairs",
    type=params.read_pair,
    metavar=params.PAIR_METAVAR,
    multiple=True,
    help="A key-value pair, with any key and value; repeatable.",
)
_ids = click.argument("ids", metavar="ID...", type=click.IntRange(min=1), nargs=-1, required=True)


def _open(connection: ServerOptions, path: _Path) -> Annotations:
    token, channel = path
    return connection.client().annotations(token, channel)


@click.group()
def annotation() -> None:
    """Annotations: objects such as synapses and segments, and their voxels."""


@annotation.command("list")
@_path
@click.option("--type", "of_type", type=click.Choice(TYPE_WORDS), help="Only of this type.")
@click.option("--status", type=int, help="Only with this status.")
@click.option("--author", help="Only by this author.")
@click.option("--confidence-above", type=float, help="Only with a greater confidence.")
@click.option("--confidence-below", type=float, help="Only with a smaller confidence.")
@_fields
@_pairs
@_box
@_resolution
@click.option("--limit", type=click.IntRange(min=1), help="Most ids to list.  [default: all]")
@json_option
@pass_connection
def list_(
    connection: ServerOptions,
    path: _Path,
    *,
    of_type: str | None,
    status: int | None,
    author: str | None,
    confidence_above: float | None,
    confidence_below: float | None,
    fields: _Pairs,
    pairs: _Pairs,
    box: Box | None,
    resolution: int,
    limit: int | None,
    as_json: bool,
) -> None:
    """List the ids of the objects that match all conditions.

    \b
    Examples:
      ndlambda annotation list kasthuri11/cells --type segment --field neuron=3
      ndlambda annotation list kasthuri11/syn --confidence-above 0.9 --pair seen=yes
      ndlambda annotation list kasthuri11/cells --box 0:512,0:512,10:20 --resolution 1
    """
    conditions = {
        "type": of_type,
        "status": status,
        "author": author,
        "confidence_gt": confidence_above,
        "confidence_lt": confidence_below,
        "fields": dict(fields),
        "pairs": dict(pairs),
        "box": box,
        "resolution": resolution,
    }
    where = cast(Where, {name: value for name, value in conditions.items() if value is not None})
    _print_ids(_open(connection, path).query(limit=limit, **where), as_json=as_json)


@annotation.command()
@_path
@_id
@json_option
@pass_connection
def show(connection: ServerOptions, path: _Path, annotation_id: int, as_json: bool) -> None:
    """Show all fields of an object."""
    found = _open(connection, path).get(annotation_id)
    if as_json:
        print_json(found)
        return
    pairs, derived = found.pop("pairs"), found.pop("derived")
    named = {f"pair {key}": value for key, value in pairs.items()}
    print_fields({name: _shown(value) for name, value in {**found, **derived, **named}.items()})


@annotation.command()
@_path
@click.option(
    "--type",
    "of_type",
    type=click.Choice(TYPE_WORDS),
    default="annotation",
    show_default=True,
    help="Type of the object.",
)
@click.option(
    "--id",
    "annotation_id",
    type=click.IntRange(min=1),
    help="Id of the object.  [default: a new one]",
)
@_fields
@_pairs
@pass_connection
def create(
    connection: ServerOptions,
    path: _Path,
    of_type: str,
    annotation_id: int | None,
    fields: _Pairs,
    pairs: _Pairs,
) -> None:
    """Create an object and print its id.

    \b
    Examples:
      ndlambda annotation create kasthuri11/cells --type segment --field neuron=3
      ndlambda annotation create kasthuri11/syn --type synapse --field weight=0.5
        --field segments=7,9 --field centroid=100,200,3 --pair seen=yes
    """
    document = {"type": of_type, **_values(fields), "pairs": dict(pairs)}
    if annotation_id is not None:
        document["id"] = annotation_id
    click.echo(_open(connection, path).create(**document))


@annotation.command("set")
@_path
@_id
@_fields
@_pairs
@click.option("--unset", multiple=True, help="Field to reset to its default; repeatable.")
@click.option("--unpair", multiple=True, help="Key of a pair to remove; repeatable.")
@click.option("--if-version", type=int, help="Only if the object still has this version.")
@pass_connection
def set_(
    connection: ServerOptions,
    path: _Path,
    annotation_id: int,
    *,
    fields: _Pairs,
    pairs: _Pairs,
    unset: tuple[str, ...],
    unpair: tuple[str, ...],
    if_version: int | None,
) -> None:
    """Change some fields and pairs of an object.

    \b
    Examples:
      ndlambda annotation set kasthuri11/cells 7 --field status=2 --pair seen=yes
      ndlambda annotation set kasthuri11/cells 7 --unset neuron --unpair seen
    """
    changes: dict[str, Any] = {**dict.fromkeys(unset), **_values(fields)}
    if pairs or unpair:
        changes["pairs"] = {**dict.fromkeys(unpair), **dict(pairs)}
    if not changes:
        raise click.UsageError("Say what to change: --field, --pair, --unset or --unpair.")
    found = _open(connection, path).update(annotation_id, if_version=if_version, **changes)
    click.echo(f"object {annotation_id} has version {found['version']}")


@annotation.command()
@_path
@_ids
@resources.yes_option
@pass_connection
def delete(connection: ServerOptions, path: _Path, ids: Sequence[int], yes: bool) -> None:
    """Delete objects with their voxels; no error for ids that do not exist."""
    objects = _open(connection, path)
    if not yes:
        named = ", ".join(map(str, ids))
        click.confirm(f"Delete {named} of {'/'.join(path)} with all voxels?", abort=True)
    absent = {each for each in ids if not _exists(objects, each)}
    pending = frozenset(objects.delete_many(ids))
    for annotation_id in ids:
        if annotation_id in absent - pending:
            click.echo(f"there is no object {annotation_id}")
            continue
        rest = "; its voxels are being erased" if annotation_id in pending else ""
        click.echo(f"object {annotation_id} is deleted{rest}")


def _exists(objects: Annotations, annotation_id: int) -> bool:
    try:
        objects.get(annotation_id)
    except NotFoundError:
        return False
    return True


@annotation.command()
@_path
@_box
@_resolution
@json_option
@pass_connection
def ids(
    connection: ServerOptions, path: _Path, box: Box | None, resolution: int, as_json: bool
) -> None:
    """List the labels in a box of voxels, whether or not they have objects."""
    found = _open(connection, path).ids(box, resolution=resolution)
    _print_ids(found.tolist(), as_json=as_json)


@annotation.command()
@_path
@_id
@_resolution
@click.option("--loose", is_flag=True, help="Use whole cuboids: faster, possibly too large.")
@json_option
@pass_connection
def box(
    connection: ServerOptions,
    path: _Path,
    annotation_id: int,
    resolution: int,
    loose: bool,
    as_json: bool,
) -> None:
    """Print an object's bounding box in the form of --box; nothing if it has no voxels."""
    found = _open(connection, path).box(annotation_id, resolution, loose=loose)
    if as_json:
        ends = None if found is None else [found.start_xyz, found.stop_xyz]
        print_json(ends and dict(zip(("start", "stop"), ends, strict=True)))
    elif found is not None:
        axes = zip(found.start_xyz, found.stop_xyz, strict=True)
        click.echo(",".join(f"{start}:{stop}" for start, stop in axes))


@annotation.command()
@_path
@_id
@_resolution
@params.output_option("File to write; its suffix (.npy .csv) is the format.", required=True)
@pass_connection
def voxels(
    connection: ServerOptions, path: _Path, annotation_id: int, resolution: int, output: Path
) -> None:
    """Fetch the voxels of an object: columns x, y, z in dataset coordinates.

    \b
    Example:
      ndlambda annotation voxels kasthuri11/cells 7 -o cell7.csv
    """
    if output.suffix not in {".npy", ".csv"}:
        raise click.BadParameter(f"{output} ends in neither .npy nor .csv.")
    points = _open(connection, path).voxels(annotation_id, resolution)
    file = io.BytesIO()
    if output.suffix == ".npy":
        np.save(file, points)
    else:
        np.savetxt(file, points, fmt="%d", delimiter=",", header="x,y,z", comments="")
    write_file(output, file.getvalue())
    click.echo(f"{output}: {len(points)} voxels")


@annotation.command()
@_path
@click.option(
    "--type",
    "of_type",
    type=click.Choice(TYPE_WORDS),
    default="segment",
    show_default=True,
    help="Type of the objects.",
)
@json_option
@pass_connection
def adopt(connection: ServerOptions, path: _Path, of_type: str, as_json: bool) -> None:
    """Make objects of all labels that have none, such as those of an ingested segmentation.

    Existing objects stay as they are. It may be interrupted, and repeated.

    \b
    Example:
      ndlambda annotation adopt kasthuri11/cells
    """
    adopted = _open(connection, path).adopt(type=of_type, progress=not as_json)
    if as_json:
        print_json({"adopted": adopted})
    else:
        click.echo(f"{adopted} objects are made")


@annotation.command()
@_path
@_ids
@click.option("--resolution", type=int, help="Relabel only this one.  [default: all resolutions]")
@params.box_option("Relabel only this box, and keep the objects.")
@pass_connection
def merge(
    connection: ServerOptions,
    path: _Path,
    ids: Sequence[int],
    resolution: int | None,
    box: Box | None,
) -> None:
    """Merge objects into the first of them; references to the others are redirected to it.

    \b
    Example:
      ndlambda annotation merge kasthuri11/cells 7 8 9
    """
    survivor = _open(connection, path).merge(ids, resolution=resolution, box=box)
    click.echo(f"merged into {survivor}")


@annotation.command()
@_path
@click.argument("count", type=click.IntRange(min=1))
@json_option
@pass_connection
def reserve(connection: ServerOptions, path: _Path, count: int, as_json: bool) -> None:
    """Reserve consecutive ids for you alone, and print the first and the last."""
    found = _open(connection, path).reserve(count)
    if as_json:
        print_json({"first": found[0], "count": len(found)})
    else:
        click.echo(f"{found[0]} {found[-1]}")


def _print_ids(found: Sequence[int], *, as_json: bool) -> None:
    if as_json:
        print_json(list(found))
    else:
        for annotation_id in found:
            click.echo(annotation_id)


def _shown(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _values(fields: _Pairs) -> dict[str, Any]:
    """Return the values that words spell; the server refuses unknown field names."""
    return {name: _value(name, word) for name, word in fields}


def _value(name: str, word: str) -> Any:
    kinds = {fields[name].kind for fields in map(fields_of, RamonType) if name in fields}
    refusals = []
    for kind in kinds:
        try:
            return kind.parse(word)
        except Refusal as refusal:
            refusals.append(str(refusal))
    if refusals:
        raise click.BadParameter(f"{name}={word!r}: {refusals[0]}.")
    return word
