"""The Python that has ndio: 1.1.5 installed, 1.1.6 in a folder beside it."""

import os
import subprocess
from pathlib import Path

import pytest

VENV = Path(__file__).resolve().parents[2] / ".venv-ndio"


def find_python() -> Path:
    """Return the interpreter; skip the test (on CI: fail it) where there is none."""
    python = VENV / "bin" / "python"
    if not (python.is_file() and (VENV / "ndio-1.1.6").is_dir()):
        message = "ndio is not installed: make .venv-ndio/.installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return python


def run(python: Path, version: str, *words: object) -> str:
    """Run a script by a release of ndio, and return what it said."""
    ended = subprocess.run(
        [python, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(VENV / f"ndio-{version}")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
