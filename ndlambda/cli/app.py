"""The root command: global options, and errors as one line with an exit code."""

from pathlib import Path
from typing import Any

import click

from ndlambda import __version__, errors
from ndlambda.cli import connection
from ndlambda.cli.catalog import channel, dataset, project, token, user
from ndlambda.cli.data import annotation, get, graph, info, jobs, propagate, put, skeleton
from ndlambda.cli.ingest import command
from ndlambda.cli.server import doctor, serve

_EXIT_CODES: dict[type[errors.NDLambdaError], int] = {
    errors.InvalidArgumentError: 2,
    errors.ValidationError: 2,
    errors.NotFoundError: 3,
    errors.PermissionDeniedError: 4,
    errors.AuthenticationError: 4,
    errors.ConflictError: 5,
    errors.PreconditionFailedError: 5,
}

_ADVICE: dict[type[errors.NDLambdaError], str] = {
    errors.AuthenticationError: "Set a key with --key, NDLAMBDA_KEY or --data.",
    errors.PermissionDeniedError: "Check the name, and the key with `ndlambda doctor`.",
}


def exit_code(error: errors.NDLambdaError) -> int:
    """Return 2 for bad arguments, 3 not found, 4 not allowed, 5 conflict, 1 for everything else."""
    found = (code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))
    return next(found, 1)


class _RootGroup(click.Group):
    """Prints ndlambda's errors and file errors as one line on standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except errors.NDLambdaError as error:
            advice = [text for kind, text in _ADVICE.items() if isinstance(error, kind)]
            message = " ".join([*error.message.split(), *advice])
            click.echo(f"ndlambda: {message}", err=True)
            ctx.exit(exit_code(error))
        except BrokenPipeError:  # the reader closed the pipe; click ends the command quietly
            raise
        except OSError as error:
            click.echo(f"ndlambda: {error}", err=True)
            ctx.exit(1)


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
    help="Data folder of a server on this machine; without --key its admin.key is used. "
    "[env: NDLAMBDA_DATA]",
)
@click.pass_context
def main(ctx: click.Context, url: str, key: str | None, data: Path | None) -> None:
    """Store, serve and fetch brain images.

    \b
    Examples:
      ndlambda serve --data nd-data
      ndlambda --data nd-data ingest slices/ --token demo --channel em --create
      ndlambda --data nd-data get --token demo --channel em -o em.tif
      ndlambda --data nd-data info demo

    Exit codes: 0 done, 2 wrong arguments, 3 not found, 4 not allowed, 5 conflict, 1 other failures.
    """
    ctx.obj = connection.ServerOptions(url, key, data, transport=ctx.obj)


for _command in (
    serve.serve,
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
