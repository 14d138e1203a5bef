"""The tours of README and quickstart, as they are printed, on a server of their own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import serving

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
NOT_HERE = ("make ", "ndlambda serve", "from ndio", "token create")
"""Blocks of the demonstration, of the server, and for clients that are not installed."""


def blocks(page: Path, language: str) -> str:
    """Return the code of a page, without activation of an environment."""
    found = re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)
    code = "\n".join(block for block in found if not any(word in block for word in NOT_HERE))
    return code.replace(". .venv/bin/activate\n", "")


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_a_newcomer_can_type_what_the_page_says(tmp_path, page):
    if shutil.which("curl") is None:
        pytest.skip("the pages show curl, which is not installed")
    with serving(tmp_path / "nd-data") as server:

        def run(*program: str, code: str) -> None:
            environment = {
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
                "NDLAMBDA_URL": server.url,
                "NDLAMBDA_KEY": server.key,
            }
            done = subprocess.run(
                [*program, "-c", code.replace("http://127.0.0.1:8080", server.url)],
                env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr

        run("sh", "-e", code=blocks(ROOT / page, "sh"))
        run(sys.executable, code=blocks(ROOT / page, "python"))
        assert (tmp_path / "piece.npy").stat().st_size > 512 * 512 * 16
