"""The server's life: start, keys, the end by SIGTERM, the next start."""

import http.client
import json
import socket
import stat
import subprocess
from contextlib import suppress
from io import BytesIO
from urllib.parse import urlsplit

import h5py
import pytest

from ndlambda.client import connect
from ndlambda.errors import AuthenticationError
from tests.support.server import serving

pytestmark = pytest.mark.e2e


def user_of(server, key):
    return connect(server.url, key).server["user"]


def refuses_connections(server):
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", server.port)) != 0


def test_the_first_start_makes_a_key_that_the_next_keeps(tmp_path):
    """Standard output has the ready line only."""
    with serving(tmp_path / "nd") as server:
        key = server.key
        assert len(key) == 64
        assert stat.S_IMODE((tmp_path / "nd" / "admin.key").stat().st_mode) == 0o600
        assert user_of(server, key) == "admin"
        server.terminate()
        assert server.out.all() == [f"ndlambda ready on http://127.0.0.1:{server.port}"]
        lines = [json.loads(line) for line in server.log.all()]
        assert [line["message"] for line in lines if "status" in line] == ["GET /v1/server 200"]
    with serving(tmp_path / "nd") as server:
        assert server.key == key
        assert user_of(server, key) == "admin"


def test_the_administrators_key_may_come_from_the_environment(tmp_path):
    with serving(tmp_path / "nd", NDLAMBDA_ADMIN_KEY="chosen" * 8) as server:
        assert user_of(server, "chosen" * 8) == "admin"
        assert not (tmp_path / "nd" / "admin.key").exists()
        with pytest.raises(AuthenticationError):
            user_of(server, "other" * 8)


def test_sigterm_lets_a_large_cutout_under_way_end(tmp_path):
    """2^25 voxels as HDF5; the unit tests of the host hold the moments that time cannot hit."""
    with serving(tmp_path / "nd") as server:
        client = server.client()
        client.datasets.create("ds", ximagesize=512, yimagesize=512, zimagesize=128)
        client.projects("ds").create("pr", public=0)
        client.channels("ds", "pr").create("em", channel_type="image", channel_datatype="uint8")
        client.tokens("ds", "pr").create("big", public=1)
        client.volume("big", "em")[7, 7, 7] = 77
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        connection.request("GET", "/sd/big/em/hdf5/0/0,512/0,512/0,128/")
        server.process.terminate()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status == 200
        with h5py.File(BytesIO(body)) as file:
            voxels = file["em"]["CUTOUT"]
            assert voxels.shape == (128, 512, 512)
            assert voxels[7, 7, 7] == 77
        assert server.process.wait(60) == 0
        assert refuses_connections(server)


def test_an_impatient_operator_does_not_cut_the_end_short(tmp_path):
    """Signals without a pause until it has ended; seen to end with -15 before all were heeded."""
    with serving(tmp_path / "nd") as server:
        while server.process.poll() is None:
            server.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.process.wait(0.002)
        assert server.process.returncode == 0


def test_a_taken_port_and_a_bad_setting_are_one_line(tmp_path):
    with serving(tmp_path / "nd") as server:
        start = ("serve", "--data", tmp_path / "other")
        second = server.command(*start, "--port", server.port)
        wrong = server.command(*start, NDLAMBDA_THREADS="many")
    assert (second.code, second.out, second.err.count("\n")) == (2, "", 1)
    assert "in use" in second.err
    assert "choose another --port" in second.err
    assert f"127.0.0.1:{server.port}" in second.err
    assert "--port" in second.err
    assert not (tmp_path / "other").exists()
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == "ndlambda: NDLAMBDA_THREADS='many' is not a whole number.\n"


def test_a_second_server_on_a_folder_is_told_of_and_the_command_finds_the_first(tmp_path):
    """The address is in the folder while the server runs, so ``--data`` is enough to say."""
    elsewhere = {"NDLAMBDA_URL": "http://127.0.0.1:1", "NDLAMBDA_KEY": "wrong"}
    with serving(tmp_path / "nd") as first:
        asked = ("--data", first.data, "token", "list")
        assert first.command(*asked, **elsewhere).code == 0
        assert not first.log.so_far(lambda line: "Another server" in line)
        with serving(tmp_path / "nd") as second:
            assert second.log.so_far(lambda line: "Another server runs on" in line)
            assert len(second.out.so_far(bool)) == 1, "the ready line alone"
        assert first.command(*asked, **elsewhere).code == 0, "the second has ended"
    assert not list((tmp_path / "nd").glob("server.*.url"))
