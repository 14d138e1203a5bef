"""``ndlambda propagate``: builds a channel's coarser resolutions."""

import sys
import time
from collections.abc import Iterable
from typing import Any

import click

from ndlambda.cli import params
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option, print_json
from ndlambda.client import Propagation
from ndlambda.errors import InvalidStateError

_INTERVAL_S = 1.0


@click.command()
@click.argument("address", metavar="TOKEN/CHANNEL")
@click.argument("second", metavar="", required=False)
@click.option(
    "--watch",
    is_flag=True,
    help="Show the progress until the end, also of a run started elsewhere.",
)
@click.option("--full", is_flag=True, help="Rebuild everything, not only what was written since.")
@click.option(
    "--method",
    type=click.Choice(["mean", "nearest"]),
    help="How images are downsampled.  [default: as last time, at first mean]",
)
@click.option("--cancel", is_flag=True, help="Stop; a later start resumes there.")
@click.option("--status", "only_status", is_flag=True, help="Only show the progress.")
@json_option
@pass_connection
def propagate(
    connection: ServerOptions,
    address: str,
    second: str | None,
    *,
    watch: bool,
    full: bool,
    method: Any,
    cancel: bool,
    only_status: bool,
    as_json: bool,
) -> None:
    """Build the coarser resolutions of a channel, or update them.

    Only regions written since the last run are rebuilt. The channel accepts no writes meanwhile. A
    run that was cancelled or failed resumes where it stopped. Ctrl-C ends the watching, not the
    run.

    \b
    Examples:
      ndlambda propagate kasthuri11/image --watch
      ndlambda propagate kasthuri11/image --full --method nearest
      ndlambda propagate kasthuri11/image --cancel
    """
    if cancel + only_status > 1 or ((cancel or only_status) and (full or method)):
        raise click.UsageError("--cancel and --status cannot be combined with other options.")
    token, channel = (
        params.read_address(address, None, None)
        if second is None
        else params.read_address(None, address, second)
    )
    client = connection.client()
    propagation = client.propagation(token, channel)
    is_start = not (cancel or only_status)
    if is_start and not as_json and not client.info(token)["dataset"]["scalinglevels"]:
        click.echo(f"{token}/{channel}: its dataset has no coarser resolutions to build.")
        return
    if is_start:
        status = _start(propagation, full=full, method=method, joins=watch)
    else:
        status = propagation.cancel() if cancel else propagation.status()
    if watch:
        try:
            status = _watch(propagation.follow(_INTERVAL_S, time.sleep), f"{token}/{channel}")
        except KeyboardInterrupt:
            click.echo(f"{token}/{channel}: the server goes on without this command.", err=True)
            raise
    if as_json:
        print_json(status)
    else:
        click.echo(f"{token}/{channel}: {_summary(status)}")
    if status["state"] == "failed":
        click.get_current_context().exit(1)


def _start(propagation: Propagation, *, full: bool, method: Any, joins: bool) -> dict[str, Any]:
    """Start a run, or join the one that is under way if that may be and nothing else is asked."""
    try:
        return propagation.start(full=full, method=method)
    except InvalidStateError:
        if not joins or full or method:
            raise
        return propagation.status()


def _watch(statuses: Iterable[dict[str, Any]], title: str) -> dict[str, Any]:
    """Show a progress bar on a terminal and return the last status."""
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TextColumn("{task.fields[pace]}"),
    )
    last: dict[str, Any] = {}
    console = Console(stderr=True)
    with rich_progress.Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=1.0, pace="")
        for last in statuses:
            bar.update(task, completed=last["progress"], pace=_pace(last))
    return last


def _pace(status: dict[str, Any]) -> str:
    rate, eta_s = status["tasks_per_s"], status["eta_s"]
    return "" if rate is None else f"{rate:.1f} tasks/s, {eta_s:.0f} s left"


def _summary(status: dict[str, Any]) -> str:
    text = "never built" if status["state"] == "never" else str(status["state"])
    if status["bands"]:
        text += f", {status['progress']:.0%}, {status['done']} of {status['tasks']} tasks"
    if status["stale"]:
        text += f", {status['stale']} supercuboids written since"
    return f"{text}: {status['reason']}" if status["reason"] else text
