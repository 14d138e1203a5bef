from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ndlambda.local.synthetic import em_stack
from tests.support.server import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server on files that the tests of a module share; each uses a token of its own."""
    with serving(tmp_path_factory.mktemp("server") / "nd") as running:
        yield running


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


@pytest.fixture(params=["synthetic_folder", "fib25_folder"])
def stack_folder(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def stack(stack_folder):
    """The voxels (z, y, x) of ``stack_folder``, read by Pillow."""
    by_number = sorted(
        stack_folder.glob("*.png"), key=lambda path: int("".join(filter(str.isdigit, path.name)))
    )
    return np.stack([np.asarray(Image.open(path)) for path in by_number])
