"""``ndlambda user``: users and their API keys."""

import click

from ndlambda.cli import params
from ndlambda.cli.catalog.resources import list_resources, yes_option
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import json_option, print_json
from ndlambda.cli.params import limit_option

_COLUMNS = ("name", "id", "superuser", "revocations")


@click.group()
def user() -> None:
    """Users and their API keys (for superusers)."""


@user.command("list")
@limit_option
@json_option
@pass_connection
def list_(connection: ServerOptions, limit: int | None, as_json: bool) -> None:
    """List the users."""
    list_resources(connection.client().users.list(limit), _COLUMNS, as_json=as_json)


@user.command()
@params.name_argument("user")
@click.option("--superuser", is_flag=True, help="Allow the user to see and change everything.")
@click.option("--ask-password", is_flag=True, help="Ask for a password for /ndauth/validate/.")
@json_option
@pass_connection
def add(
    connection: ServerOptions, name: str, superuser: bool, ask_password: bool, as_json: bool
) -> None:
    """Create a user and print the API key, which cannot be shown again.

    \b
    Example:
      ndlambda --data nd-data user add alice
    """
    password = _ask_password() if ask_password else None
    created = connection.client().users.add(name, superuser=superuser, password=password)
    if as_json:
        print_json(created)
    else:
        _print_key(name, created["key"])


@user.command()
@params.name_argument("user")
@pass_connection
def key(connection: ServerOptions, name: str) -> None:
    """Issue another key for a user and print it, to replace a lost or revoked one.

    Existing keys stay valid; revoke them first if they have leaked.

    \b
    Example:
      ndlambda --data nd-data user key alice
    """
    _print_key(name, connection.client().users.new_key(name))


def _print_key(name: str, text: str) -> None:
    click.echo(text)
    click.echo(f"{name} uses this key with --key or NDLAMBDA_KEY; keep it.", err=True)


@user.command()
@params.name_argument("user")
@pass_connection
def passwd(connection: ServerOptions, name: str) -> None:
    """Set a user's password, of letters and digits; the keys stay valid.

    \b
    Example:
      ndlambda --data nd-data user passwd alice
    """
    connection.client().users.set_password(name, _ask_password())
    click.echo(f"{name} has a new password")


def _ask_password() -> str:
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return answer


@user.command()
@params.name_argument("user")
@yes_option
@pass_connection
def revoke(connection: ServerOptions, name: str, yes: bool) -> None:
    """Revoke all keys of a user."""
    if not yes:
        click.confirm(f"Revoke all keys of {name}?", abort=True)
    connection.client().users.revoke(name)
    click.echo(f"the keys of {name} are revoked")
