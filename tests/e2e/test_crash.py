"""SIGKILL in the middle of a put, on either side.

Seen to fail with a store that writes a file in place, in small steps (the supercuboids that the
dead server was writing were damaged), and with a put that takes every block for stored (the voxels
that the dead put had not sent were missing after the second).
"""

import re

import numpy as np
import pytest

from tests.support.server import serving

pytestmark = pytest.mark.e2e

PLANES_A_BLOCK = 16  # what ``--slab-mb 1`` makes of planes of 250x250 bytes; half a supercuboid
TARGET = ("--token", "crash", "--channel", "em", "--slab-mb", 1)
SLABS = ("--create", "--scaling", "zslices", "--levels", "0")
POSTED = "POST /v1/projects/crash/channels/em/cutout 200"


@pytest.fixture
def random_file(tmp_path):
    """A stack of 25 blocks without a zero."""
    path = tmp_path / "random.npy"
    np.save(path, np.random.default_rng(2).integers(1, 255, (400, 250, 250), dtype=np.uint8))
    return path


def stored(server):
    return server.client().volume("crash", "em")[:]


def whole_blocks(found, voxels):
    """Count the blocks that are stored; fail where a block is neither stored nor missing."""
    count = 0
    for start in range(0, len(voxels), PLANES_A_BLOCK):
        block = slice(start, start + PLANES_A_BLOCK)
        is_stored = np.array_equal(found[block], voxels[block])
        assert is_stored or not found[block].any(), f"planes {block} are torn"
        count += is_stored
    return count


def put_again(server, source, voxels, *, least):
    """Run the same put a second time: it sends what is missing and nothing else."""
    said = server.ok("put", source, *TARGET)
    sent, skipped = map(int, re.search(r"(\d+) sent, (\d+) skipped", said).groups())
    assert skipped >= least
    assert sent + skipped == -(-len(voxels) // PLANES_A_BLOCK)
    assert np.array_equal(stored(server), voxels)


def test_a_put_that_was_killed_is_finished_by_the_next(random_file, tmp_path):
    voxels = np.load(random_file)
    with serving(tmp_path / "nd") as server:
        with server.start_command("put", random_file, *TARGET, *SLABS) as process:
            server.wait_for_requests(POSTED, 3)
            process.kill()
        server.terminate()  # the server may still be busy with what the dead process has sent
    with serving(tmp_path / "nd") as server:
        count = whole_blocks(stored(server), voxels)
        assert 3 <= count < 25, "the put was killed in the middle"
        put_again(server, random_file, voxels, least=count)


def test_a_server_that_was_killed_keeps_what_it_acknowledged(random_file, tmp_path):
    voxels = np.load(random_file)
    with serving(tmp_path / "nd") as server:
        with server.start_command("put", random_file, *TARGET, *SLABS) as process:
            server.wait_for_requests(POSTED, 3)
            server.kill()
            _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "check the URL and that the server runs" in err
        acknowledged = sum(POSTED in line for line in server.log.all())
    with serving(tmp_path / "nd", port=server.port) as server:
        count = whole_blocks(stored(server), voxels)
        assert 25 > count >= acknowledged
        put_again(server, random_file, voxels, least=count)
