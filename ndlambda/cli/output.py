"""Prints tables for people and JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ndlambda.wire.export import finished_file

_PIPE_WIDTH: Final = 240
"""Width of a table that is not printed to a terminal."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(document: Any) -> None:
    """Print a JSON document, indented."""
    click.echo(json.dumps(document, indent=2, sort_keys=True))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under column titles, or ``none`` without rows."""
    if not rows:
        click.echo("none")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(file=sys.stdout, width=width, highlight=False).print(table)


def print_fields(document: Mapping[str, Any]) -> None:
    """Print a resource, one field per line."""
    print_table(["field", "value"], sorted(document.items()))


def write_file(path: Path | None, body: bytes) -> None:
    """Write a file, which gets its name only when complete; None is standard output."""
    if path is None:
        sys.stdout.buffer.write(body)
        return
    with finished_file(path) as partial:
        partial.write_bytes(body)


def _text(value: object) -> str:
    from rich.markup import escape

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value))
    return escape(str(value))
