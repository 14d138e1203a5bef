"""Documents that list things list what there is."""

import dataclasses
import inspect
import re
from pathlib import Path

import click

from ndlambda import errors
from ndlambda.cli import main
from ndlambda.settings import Settings, variable_of
from ndlambda.web.problem import Dialect, status_of

ROOT = Path(__file__).resolve().parents[2]


def _rows(page: str) -> list[list[str]]:
    """Return the cells of every table row of a page of the documentation."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]


def _depth(error_class: type) -> int:
    return error_class.__mro__.index(errors.NDLambdaError)


def test_the_errors_page_lists_every_class_with_its_statuses():
    documented = {tuple(cells[:5]) for cells in _rows("errors.md") if cells[0].endswith("Error`")}
    classes = [
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.NDLambdaError)
    ]
    assert documented == {
        (
            f"{'· ' * _depth(cls)}`{cls.__name__}`",
            str(status_of(cls)),
            str(status_of(cls, Dialect.NDSTORE)),
            str(status_of(cls, Dialect.RESOURCE)),
            "yes" if cls.retryable else "",
        )
        for cls in classes
    }


def test_the_settings_page_lists_every_setting_with_its_default():
    documented = {
        cells[0].strip("`"): cells[1].strip("`")
        for cells in _rows("settings.md")
        if cells[0].startswith("`NDLAMBDA_")
    }
    environ = {name: "" if shown == "empty" else shown for name, shown in documented.items()}
    assert set(documented) == {variable_of(item.name) for item in dataclasses.fields(Settings)}
    assert Settings.from_environment(environ) == Settings()
    for item in dataclasses.fields(Settings):
        shown = documented[variable_of(item.name)]
        assert (shown == "empty") == (item.default == "")


def test_no_page_names_a_setting_that_does_not_exist():
    settings = {variable_of(item.name) for item in dataclasses.fields(Settings)}
    of_the_command = {"NDLAMBDA_URL", "NDLAMBDA_KEY"}
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"NDLAMBDA_[A-Z_]+", page.read_text())}
    assert named <= settings | of_the_command


def test_the_map_has_no_links_to_files():
    """The site includes it from another folder, where they would lead nowhere."""
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", (ROOT / "ARCHITECTURE.md").read_text()) == []


def test_every_decision_is_numbered_once_and_in_the_table_of_contents():
    decisions = sorted(path.name for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert [int(name[:4]) for name in decisions] == list(range(1, len(decisions) + 1))
    contents = (ROOT / "mkdocs.yml").read_text()
    assert [name for name in decisions if f"adr/{name}" not in contents] == []


_ORDER = [
    *("create", "add", "start", "status", "list", "show", "set", "put", "get", "ids", "box"),
    *("voxels", "merge", "reserve", "adopt", "cancel", "retry", "verify", "errors", "delete"),
    *("key", "passwd", "revoke", "dead", "redrive"),
]
"""In which a page names the commands of a group."""


def test_the_command_page_lists_every_command():
    rows = {cells[0].split("`")[1].split()[0]: cells[0] for cells in _rows("cli.md")[2:]}
    assert set(rows) == set(main.commands)
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            assert re.findall(r"`(\w+)`", rows[name])[1:] == sorted(
                command.commands,
                key=_ORDER.index,
            )
