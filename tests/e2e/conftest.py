import os

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ndlambda.cli import main
from ndlambda.local.synthetic import em_stack
from tests.support.ndio import find_python
from tests.support.server import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server on files that the tests of a module share; each uses a token of its own."""
    with serving(tmp_path_factory.mktemp("server") / "nd") as running:
        yield running


@pytest.fixture
def run(server, monkeypatch):
    """Run a command line as the administrator; give its output, and fail if it ends otherwise.

    In this process, which saves half a second of starting Python for each.
    """
    for name in [name for name in os.environ if name.startswith("NDLAMBDA_")]:
        monkeypatch.delenv(name)
    own = {"NDLAMBDA_URL": server.url, "NDLAMBDA_DATA": str(server.data)}

    def run_line(line, *, code=0, **environment):
        done = CliRunner().invoke(main, line.split(), env={**own, **environment})
        assert done.exit_code == code, (line, done.stdout, done.stderr)
        if code:
            assert isinstance(done.exception, SystemExit), done.exception
            assert done.stderr.startswith(("ndlambda: ", "Usage: ", "Aborted!")), done.stderr
        return done.stdout

    return run_line


@pytest.fixture(scope="session")
def ndio_python():
    """A Python that has ndio."""
    return find_python()


@pytest.fixture(scope="module")
def synthetic_folder(tmp_path_factory):
    """A folder of PNG slices that look like electron microscopy, numbered without zeros."""
    folder = tmp_path_factory.mktemp("synthetic")
    for z, plane in enumerate(em_stack((24, 130, 270), seed=3)):
        Image.fromarray(plane).save(folder / f"slice{z}.png")
    return folder


@pytest.fixture(scope="session")
def fib25_folder(shared_data):
    """The 250 slices of FIB-25: a fly's medulla, isotropic 8 nm (Takemura et al., 2015)."""
    return shared_data / "fib25" / "grayscale"


@pytest.fixture(scope="module")
def stack(synthetic_folder):
    """The voxels (z, y, x) of ``synthetic_folder``, read by Pillow."""
    paths = (synthetic_folder / f"slice{z}.png" for z in range(24))
    return np.stack([np.asarray(Image.open(path)) for path in paths])
