"""From files through the command and the server and back, voxel by voxel."""

import numpy as np
import pytest

from tests.support.server import serving

pytestmark = pytest.mark.e2e


def put(server, source, token, *options):
    return server.ok("put", source, "--token", token, "--channel", "em", *options)


def get(server, token, output):
    server.ok("get", "--token", token, "--channel", "em", "-o", output)
    return np.load(output)


def test_a_stack_survives_a_restart_on_files(synthetic_folder, stack, tmp_path):
    with serving(tmp_path / "nd") as server:
        put(server, synthetic_folder, "em", "--create", "--voxelres", "8,8,8")
        assert np.array_equal(get(server, "em", tmp_path / "first.npy"), stack)
    with serving(tmp_path / "nd", port=server.port) as server:
        assert np.array_equal(get(server, "em", tmp_path / "second.npy"), stack)
        said = put(server, synthetic_folder, "em")
        assert " 0 sent" in said, "everything is there already"


def test_a_stack_goes_through_the_aws_adapters(synthetic_folder, stack, tmp_path):
    with serving(tmp_path / "nd", "--moto") as server:
        put(server, synthetic_folder, "em", "--create", "--scaling", "isotropic")
        assert np.array_equal(get(server, "em", tmp_path / "out.npy"), stack)
    assert {path.name for path in (tmp_path / "nd").iterdir()} == {"admin.key", "secret.key"}


def test_two_puts_at_once_into_the_same_supercuboids(server, tmp_path):
    voxels = np.random.default_rng(9).integers(1, 255, (40, 100, 100), dtype=np.uint8)
    np.save(tmp_path / "all.npy", voxels)
    put(server, tmp_path / "all.npy", "pair", "--create")
    again = 255 - voxels // 2
    halves = {13: again[:13], 40: again[13:]}
    running = []
    for stop, half in halves.items():
        np.save(tmp_path / f"{stop}.npy", half)
        offset = f"0,0,{stop - len(half)}"
        target = ("--token", "pair", "--channel", "em", "--offset", offset)
        running.append(server.start_command("put", tmp_path / f"{stop}.npy", *target))
    for process in running:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert np.array_equal(get(server, "pair", tmp_path / "out.npy"), again)
