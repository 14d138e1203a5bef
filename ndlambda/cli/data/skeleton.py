"""``ndlambda skeleton``: stores and fetches skeletons of an annotation channel as SWC files."""

from pathlib import Path

import click

from ndlambda.cli import params
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import write_file
from ndlambda.errors import MalformedBodyError


@click.group()
def skeleton() -> None:
    """Store and fetch skeletons as SWC files."""


@skeleton.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@params.channel_address
@pass_connection
def put(connection: ServerOptions, path: Path, *, token: str, channel: str) -> None:
    """Store every tree of an SWC file as a new skeleton, and print their ids.

    Coordinates and radii are kept as given. Running it twice stores the skeletons twice.

    \b
    Example:
      ndlambda skeleton put cell.swc demo/neurons
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"{path} is not UTF-8 text.") from error
    for number in connection.client().skeletons(token, channel).put(text):
        click.echo(number)


@skeleton.command()
@click.argument("words", metavar="TOKEN/CHANNEL [ID]...", nargs=-1)
@click.option("--token", help="With --channel: another way to write TOKEN/CHANNEL.")
@click.option("--channel", help="With --token: another way to write TOKEN/CHANNEL.")
@params.output_option("File to write.  [default: standard output]")
@pass_connection
def get(
    connection: ServerOptions,
    words: tuple[str, ...],
    *,
    token: str | None,
    channel: str | None,
    output: Path | None,
) -> None:
    """Fetch skeletons by their ids, or all of a channel, as one SWC file.

    \b
    Examples:
      ndlambda skeleton get demo/neurons 17 18 -o cells.swc
      ndlambda skeleton get demo/neurons > all.swc
    """
    address = words[0] if words and (token or channel) is None else None
    numbers = words if address is None else words[1:]
    ids = tuple(map(params.read_id, numbers))
    text = (
        connection.client()
        .skeletons(*params.read_address(address, token, channel))
        .get(ids or None)
    )
    write_file(output, text.encode())
