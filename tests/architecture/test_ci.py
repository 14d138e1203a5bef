"""What runs before a commit is merged runs the Makefile, on every Python that is supported."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_the_workflow_runs_every_supported_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    supported = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    (matrix,) = re.findall(r"python: \[(.*)\]", WORKFLOW)
    assert re.findall(r"3\.\d+", matrix) == supported


def test_the_workflow_only_calls_the_makefile() -> None:
    commands = set(re.findall(r"- run: (.*)", WORKFLOW))
    assert commands == {".ci/run", "make docs"}
    assert "run: |" not in WORKFLOW


def test_hooks_run_what_is_installed() -> None:
    config = (ROOT / ".pre-commit-config.yaml").read_text()
    assert set(re.findall(r"- repo: (.*)", config)) == {"local"}
    entries = re.findall(r"entry: (\S+)", config)
    assert {entry for entry in entries if not entry.startswith(".venv/bin/")} == {"make"}
