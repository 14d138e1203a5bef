"""The root command, and its global options."""

import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from ndlambda import __version__
from ndlambda.cli import connection, failures
from ndlambda.cli.catalog import channel, dataset, project, token, user
from ndlambda.cli.data import annotation, get, graph, info, jobs, propagate, put, skeleton
from ndlambda.cli.ingest import command
from ndlambda.cli.server import doctor, sample, serve

_DEBUG: Final = "--debug"


class _RootGroup(click.Group):
    """Ends every command in :mod:`ndlambda.cli.failures`, whatever happens."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command line, and end the process."""
        given = args[0] if args else extra.get("args")
        words = sys.argv[1:] if given is None else list(given)
        command = partial(super().main, *args, **{**extra, "standalone_mode": False})
        failures.run(command, debug=_DEBUG in words)


@click.group(cls=_RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ndlambda")
@click.option(
    "--url",
    envvar="NDLAMBDA_URL",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="Server to talk to. [env: NDLAMBDA_URL]",
)
@click.option("--key", envvar="NDLAMBDA_KEY", help="API key. [env: NDLAMBDA_KEY]")
@click.option(
    "--data",
    envvar="NDLAMBDA_DATA",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder of a server on this machine, which is talked to by its admin.key unless "
    "--url or --key say otherwise. [env: NDLAMBDA_DATA]",
)
@click.pass_context
def main(ctx: click.Context, url: str, key: str | None, data: Path | None) -> None:
    """Store, serve and fetch brain images.

    \b
    Examples:
      ndlambda serve --data nd-data
      ndlambda --data nd-data ingest slices/ demo/em --create
      ndlambda --data nd-data get demo/em -o em.tif
      ndlambda --data nd-data info demo

    Exit codes: 0 done, 2 wrong arguments, 3 not found, 4 not allowed, 5 conflict, 130 interrupted,
    1 other failures.
    """
    ranks: dict[ParameterSource | None, int] = {
        ParameterSource.COMMANDLINE: 2,
        ParameterSource.ENVIRONMENT: 1,
    }
    said = {name: ranks.get(ctx.get_parameter_source(name), 0) for name in ctx.params}
    ctx.obj = connection.ServerOptions(url, key, data, transport=ctx.obj).preferring(said)


for _command in (
    serve.serve,
    sample.sample,
    put.put,
    command.ingest,
    get.get,
    info.info,
    propagate.propagate,
    jobs.jobs,
    skeleton.skeleton,
    graph.graph,
    dataset.dataset,
    project.project,
    channel.channel,
    token.token,
    annotation.annotation,
    user.user,
    doctor.doctor,
):
    main.add_command(_command)


def _accept_debug(command: click.Command) -> None:
    """Accept ``--debug`` before and after every command; :class:`_RootGroup` looks for it."""
    help_text = "Show the traceback of a failure."
    command.params.append(click.Option([_DEBUG], is_flag=True, expose_value=False, help=help_text))
    for child in getattr(command, "commands", {}).values():
        _accept_debug(child)


_accept_debug(main)
