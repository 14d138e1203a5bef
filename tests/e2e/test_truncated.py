"""Stored files that are cut short in place under the running server."""

import os
import threading
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tests.support.server import serving

pytestmark = pytest.mark.e2e


def test_a_supercuboid_cut_short_while_it_is_read_is_an_error_that_names_it(tmp_path):
    """Seen to end the server by SIGBUS where files are mapped."""
    voxels = np.random.default_rng(1).integers(1, 255, (16, 256, 256), dtype=np.uint8)
    np.save(tmp_path / "voxels.npy", voxels)
    with serving(tmp_path / "data") as server:
        server.ok(
            "put",
            tmp_path / "voxels.npy",
            "--token",
            "cut",
            "--channel",
            "em",
            "--create",
            "--scaling",
            "zslices",
        )
        objects = server.data / "objects"
        (stored,) = [
            path for path in objects.rglob("*") if path.is_file() and path.stat().st_size > 1 << 19
        ]
        whole, key = stored.read_bytes(), str(stored.relative_to(objects)).encode()
        asked = Request(
            f"{server.url}/v1/projects/cut/channels/em/cutout?format=raw",
            headers={"Authorization": f"Token {server.key}"},
        )

        def read() -> bool:
            """Return whether the answer is right: the voxels, or an error with the key."""
            try:
                with urlopen(asked) as answer:
                    return answer.read() == voxels.tobytes()
            except HTTPError as error:
                return error.code == 500 and key in error.read()

        answers, is_enough = list[bool](), threading.Event()

        def read_on() -> None:
            while not is_enough.is_set():
                answers.append(read())

        readers = [threading.Thread(target=read_on) for _ in range(3)]
        for reader in readers:
            reader.start()
        while (
            len(answers) < 60
            and server.process.poll() is None
            and any(each.is_alive() for each in readers)
        ):
            os.truncate(stored, len(whole) // (len(answers) % 3 + 2))
            stored.write_bytes(whole)
        os.truncate(stored, len(whole) // 2)
        is_enough.set()
        for reader in readers:
            reader.join()
        assert server.process.poll() is None
        assert all(answers)
        with pytest.raises(HTTPError) as raised:
            urlopen(asked)
        assert key in raised.value.read()
        with urlopen(f"{server.url}/healthz") as answer:
            assert answer.status == 200
