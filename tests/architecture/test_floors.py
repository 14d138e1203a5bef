"""The plan of the house: who may import whom, what is loaded at a cold start, how long a file is.

The contracts themselves are in ``pyproject.toml``. They were seen to fail: with ``import boto3``,
``import h5py``, ``import chalice``, ``from ndlambda.stores import disk`` and ``from ndlambda
import web`` added to a module of services, five of the eight broke.
"""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
MAX_LINES = 450

SLOW = {
    "PIL",
    "aws_xray_sdk",
    "h5py",
    "moto",
    "networkx",
    "nibabel",
    "pynamodb",
    "pytest",
    "rich",
    "tifffile",
}
"""Packages that cost tens to hundreds of milliseconds of a cold start to import."""

ENTRANCES = ["ndlambda.web.app", "functions.http", "functions.erase"]
"""What Lambda loads first."""


def _sources() -> list[Path]:
    roots = [ROOT / name for name in (*CONFIG["root_packages"], "benchmarks")]
    return [ROOT / "chalice_app.py", *(path for root in roots for path in root.rglob("*.py"))]


def _imported_by(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def test_every_import_contract_is_kept():
    linter = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", linter, "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_of_the_project_is_under_contract():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages == set(CONFIG["root_packages"])


def test_every_room_has_its_floor():
    (floors,) = [
        contract["layers"]
        for contract in CONFIG["contracts"]
        if contract["type"] == "layers" and "containers" not in contract
    ]
    placed = {name.strip(" ()") for floor in floors for name in floor.replace("|", ":").split(":")}
    rooms = {
        f"ndlambda.{path.stem}"
        for path in (ROOT / "ndlambda").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"ndlambda.__init__"}
    stores = {
        f"ndlambda.stores.{path.stem}"
        for path in (ROOT / "ndlambda" / "stores").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"ndlambda.stores.__init__"}
    assert rooms - {"ndlambda.stores"} <= placed
    assert stores <= placed


ALONE = {
    "ndlambda.web": {"app", "auth", "openapi", "problem", "routing"},
    "ingest_queue": {"assembly", "erasure", "job_kind", "service"},
    "ndlambda.client": {"catalog", "client", "ingest", "jobs", "propagation"},
    "ndlambda.cli": {"__main__", "app", "connection", "failures", "interrupts", "output", "params"},
    "ndlambda.wire": {"discovery"},
    "ndlambda.services": set(),
}
"""Modules that need no room, because all rooms beside them use them or they use all of these."""


def test_every_module_lies_in_a_room():
    for house, alone in ALONE.items():
        folder = ROOT.joinpath(*house.split("."))
        assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == alone


def test_every_room_has_its_place_among_the_rooms_beside_it():
    """``exhaustive`` makes the linter refuse a room that no layer names."""
    contracts = {
        house: contract
        for contract in CONFIG["contracts"]
        for house in contract.get("containers", ())
    }
    assert contracts.keys() == ALONE.keys()
    assert all(contract["exhaustive"] for contract in contracts.values())


def test_no_class_name_means_two_things():
    named: dict[str, list[str]] = {}
    for path in _sources():
        if path.relative_to(ROOT).parts[0] == "benchmarks":
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                named.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in named.items() if len(paths) > 1} == {}


def test_chalice_app_only_binds_functions():
    assert _imported_by(ROOT / "chalice_app.py") - sys.stdlib_module_names <= {
        "chalice",
        "functions",
    }


def test_nothing_imports_the_chalice_app():
    assert [path for path in _sources() if "chalice_app" in _imported_by(path)] == []


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_a_cold_start_imports_nothing_slow(entrance):
    """Seen to fail with ``import h5py`` at the top of a module of ``wire``."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {entrance}; print(*sys.modules, sep='\\n')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & SLOW == set()


POOLS_WITHOUT_REQUESTS = ("benchmarks/", "client/", "testing/", "sources/", "deadline.py")
"""Pools of the command, of tests and of benchmarks, and the one from which all others are made."""


def test_threads_that_work_for_requests_know_their_deadline():
    bare = {
        str(path)
        for path in _sources()
        if "ThreadPoolExecutor(" in path.read_text()
        and not any(part in str(path) for part in POOLS_WITHOUT_REQUESTS)
    }
    assert bare == set()


def test_no_module_is_too_long_to_read_at_one_sitting():
    lines = {path: len(path.read_text().splitlines()) for path in _sources()}
    assert {str(path): count for path, count in lines.items() if count > MAX_LINES} == {}
