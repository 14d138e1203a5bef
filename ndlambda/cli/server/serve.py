"""``ndlambda serve``: runs the whole service on this machine."""

from pathlib import Path

import click

from ndlambda.cli.connection import ServerOptions, pass_connection


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for all data; created if missing.  [default: that of `ndlambda --data`, else "
    "nd-data]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port; 0 picks a free one, printed in the ready line.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 opens it to the network.",
)
@click.option("--moto", is_flag=True, help="Run on a simulated AWS; nothing is kept.")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Requests processed in parallel.",
)
@pass_connection
def serve(
    connection: ServerOptions, data: Path | None, port: int, host: str, moto: bool, threads: int
) -> None:
    """Serve volumes from a folder until Ctrl-C or SIGTERM.

    The first start creates the superuser `admin`; the key is in DATA/admin.key.

    \b
    Example:
      ndlambda serve --data nd-data --port 8080
    """
    # Importing the server takes half a second, which no other command needs.
    from ndlambda.local.serve import ServeOptions, run

    folder = data or connection.data or Path("nd-data")
    run(ServeOptions(data=folder, port=port, host=host, moto=moto, threads=threads))
