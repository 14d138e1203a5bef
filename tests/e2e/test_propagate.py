"""Coarser resolutions built by the workers of a running server."""

import numpy as np
import pytest

from ndlambda.local.synthetic import em_stack
from ndlambda.voxels.downsample import Method, downsample
from tests.support.server import serving

pytestmark = pytest.mark.e2e


def test_the_command_has_a_stack_propagated_and_waits_for_it(tmp_path):
    stack = em_stack((20, 150, 270), seed=5)
    np.save(tmp_path / "em.npy", stack)
    target = ("--token", "em", "--channel", "em")
    with serving(tmp_path / "nd", "--moto") as server:
        server.ok("dataset", "create", "em", "--size", "270,150,20", "--levels", "2")
        server.ok("put", tmp_path / "em.npy", *target, "--create")
        assert "never built" in server.ok("propagate", "em/em", "--status")
        said = server.ok("propagate", "em", "em", "--watch")
        assert said.startswith("em/em: done, 100%")
        for resolution in (1, 2):
            stack = downsample(stack, (2, 2, 1), Method.MEAN)
            output = tmp_path / f"{resolution}.npy"
            server.ok("get", *target, "--resolution", resolution, "-o", output)
            np.testing.assert_array_equal(np.load(output), stack)
