"""``ndlambda skeleton``: stores and fetches skeletons of an annotation channel as SWC files."""

from pathlib import Path

import click

from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import write_file
from ndlambda.errors import MalformedBodyError


@click.group()
def skeleton() -> None:
    """Store and fetch skeletons as SWC files."""


@skeleton.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--token", required=True, help="Token of the project.")
@click.option("--channel", required=True, help="Annotation channel to write.")
@pass_connection
def put(connection: ServerOptions, path: Path, *, token: str, channel: str) -> None:
    """Store every tree of an SWC file as a new skeleton, and print their ids.

    Coordinates and radii are kept as given. Running it twice stores the skeletons twice.

    \b
    Example:
      ndlambda skeleton put cell.swc --token demo --channel neurons
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"{path} is not UTF-8 text.") from error
    for number in connection.client().skeletons(token, channel).put(text):
        click.echo(number)


@skeleton.command()
@click.argument("ids", metavar="[ID]...", type=click.IntRange(min=1), nargs=-1)
@click.option("--token", required=True, help="Token of the project.")
@click.option("--channel", required=True, help="Annotation channel to read.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: standard output]",
)
@pass_connection
def get(
    connection: ServerOptions,
    ids: tuple[int, ...],
    *,
    token: str,
    channel: str,
    output: Path | None,
) -> None:
    """Fetch skeletons by their ids, or all of a channel, as one SWC file.

    \b
    Examples:
      ndlambda skeleton get 17 18 --token demo --channel neurons -o cells.swc
      ndlambda skeleton get --token demo --channel neurons > all.swc
    """
    text = connection.client().skeletons(token, channel).get(ids or None)
    write_file(output, text.encode())
