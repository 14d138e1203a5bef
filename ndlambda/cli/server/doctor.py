"""``ndlambda doctor``: checks that everything the command needs is in place."""

import os

import click

from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option, print_json, print_table
from ndlambda.cli.server.checks import CHECKERS


@click.command()
@json_option
@click.pass_context
@pass_connection
def doctor(connection: ServerOptions, ctx: click.Context, as_json: bool) -> None:
    """Check installation, data folder, server, key and AWS credentials.

    Exits with 1 if something fails; the last column says what to do.

    \b
    Example:
      ndlambda --data nd-data doctor
    """
    checks = [check for checker in CHECKERS for check in checker(connection, os.environ)]
    if as_json:
        print_json([{"name": c.name, "ok": c.ok, "found": c.found} for c in checks])
    else:
        rows = [
            [c.name, "ok" if c.ok else "FAIL", c.found, "" if c.ok else c.remedy] for c in checks
        ]
        print_table(["check", "", "found", "what to do"], rows)
    if not all(check.ok for check in checks):
        ctx.exit(1)
