"""``ndlambda jobs``: what runs and what failed, of all kinds."""

from itertools import islice
from typing import Any

import click

from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option, print_fields, print_json, print_table

_COLUMNS = ("id", "state", "token", "channel", "progress", "created_at", "reason")
_STATES = ("QUEUED", "RUNNING", "FAILED", "CANCELLED", "DONE")
_KINDS = ("ingest", "propagation", "deletion", "merge")


@click.group()
def jobs() -> None:
    """Jobs of all kinds: ingests, propagations, deletions, merges.

    \b
    Examples:
      ndlambda jobs list --state FAILED
      ndlambda jobs retry deletion-0a1b2c3d4e5f6071
    """


@jobs.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only of this state.")
@click.option("--kind", type=click.Choice(_KINDS), help="Only of this kind.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@json_option
@pass_connection
def list_(connection: ServerOptions, state: Any, kind: Any, limit: int, *, as_json: bool) -> None:
    """List your jobs, newest first; all for superusers."""
    listed = connection.client().jobs.list(state=state, kind=kind, page_size=min(limit, 1000))
    found = list(islice(listed, limit))
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [[_text(job, name) for name in _COLUMNS] for job in found])


@jobs.command()
@click.argument("job")
@json_option
@pass_connection
def show(connection: ServerOptions, job: str, *, as_json: bool) -> None:
    """Show a job."""
    _print(connection.client().jobs.get(job), as_json=as_json)


@jobs.command()
@click.argument("job")
@json_option
@pass_connection
def retry(connection: ServerOptions, job: str, *, as_json: bool) -> None:
    """Let a failed job go on where it stopped."""
    _print(connection.client().jobs.retry(job), as_json=as_json)


@jobs.command()
@click.argument("job")
@json_option
@pass_connection
def cancel(connection: ServerOptions, job: str, *, as_json: bool) -> None:
    """End a job before it is done; what it did stays. Deletions and merges cannot be cancelled."""
    _print(connection.client().jobs.cancel(job), as_json=as_json)


@jobs.command()
@json_option
@pass_connection
def dead(connection: ServerOptions, *, as_json: bool) -> None:
    """List messages that failed too often (for superusers)."""
    found = connection.client().jobs.dead()
    if as_json:
        print_json(found)
    else:
        columns = ("queue", "tries", "body")
        print_table(columns, [[message[name] for name in columns] for message in found])


@jobs.command()
@pass_connection
def redrive(connection: ServerOptions) -> None:
    """Send those messages again, after their cause is mended (for superusers)."""
    click.echo(f"{connection.client().jobs.redrive()} messages are sent again")


def _print(job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        print_fields({name: _text(job, name) for name in job})


def _text(job: dict[str, Any], name: str) -> object:
    value = job[name]
    if name == "progress":
        return value["done"] if value["total"] is None else f"{value['done']}/{value['total']}"
    return "" if value is None else value
