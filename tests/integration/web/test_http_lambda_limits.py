"""``NDLAMBDA_LAMBDA_LIMITS=1``: bodies that Lambda cannot carry go through the object store."""

import urllib.request

import pytest
from werkzeug.test import TestResponse

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.settings import LAMBDA_BODY_BYTES
from tests.support.app import BOX, SHAPE, Server, assert_problem, serving, v1_cutout
from tests.support.bodies import from_npy, noise, npz


def add_broad(server: Server) -> None:
    server.add_volume(BROAD, Channel("", "em", ChannelType.IMAGE, DataType.UINT8), public=False)
    server.write("/sd/broad/em/npz/0/10,74/20,52/0,4/", npz(noise((1, *SHAPE))))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("limits"), lambda_limits=True) as server:
        add_broad(server)
        yield server


def follow(server: Server, answer: TestResponse) -> bytes:
    """Return what lies where a 303 points, without a key."""
    assert (answer.status_code, answer.data) == (303, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    location = answer.headers["Location"]
    if server.settings.store == "disk":
        assert location.startswith("/v1/results/")
        return server.read(location, None)
    assert location.startswith(server.settings.aws_endpoint)
    with urllib.request.urlopen(location, timeout=10) as stored:
        body: bytes = stored.read()
    return body


@pytest.mark.parametrize("store", ["server", "aws_server"])
def test_a_large_answer_is_a_303_to_the_same_bytes(request, store):
    server: Server = request.getfixturevalue(store)
    if store == "aws_server":
        add_broad(server)
    answer = server.get(f"/sd/broad/em/raw/{OVER}", "alice")
    body = follow(server, answer)
    assert len(body) == 3 * 2048 * 1024
    assert answer.headers["Content-Disposition"].endswith("ndcutout.raw")
    planes = [server.read(f"/sd/broad/em/raw/0/0,2048/0,1024/{z},{z + 1}/") for z in range(3)]
    assert body == b"".join(planes)
    assert any(body)
    answer = server.get(v1_cutout("broad", "em", "z=0:3"), "alice")
    assert answer.headers["X-NDLambda-Shape"] == "3,1024,2048"
    assert from_npy(follow(server, answer)).shape == (3, 1024, 2048)


def test_an_answer_up_to_the_limit_is_direct(server):
    answer = server.get(f"/sd/broad/em/raw/{EXACT}", "alice")
    assert (answer.status_code, len(answer.data)) == (200, LAMBDA_BODY_BYTES)
    compressed = server.get(f"/sd/broad/em/npz/{OVER}", "alice")
    assert compressed.status_code == 200
    assert server.get("/v1/server").get_json()["limits"]["body_bytes"] == LAMBDA_BODY_BYTES


BROAD = Dataset("broad", (2048, 1024, 10))
OVER = "0/0,2048/0,1024/0,3/"
"""6 MiB."""
EXACT = "0/0,2048/0,1024/0,2/"
"""4 MiB, which is the limit."""


def test_a_result_needs_its_whole_name(server):
    answer = server.get(f"/sd/broad/em/raw/{OVER}", "alice")
    name = answer.headers["Location"].partition("?")[0].rsplit("/", 1)[1]
    for wrong in (name[:-1], name + "x", name.swapcase(), "..", "%2e%2e", "x" * 43):
        assert_problem(server.get(f"/v1/results/{wrong}"), 404, "NotFoundError")


def test_without_the_setting_large_bodies_go_both_ways(tmp_path):
    with serving(tmp_path) as server:
        server.add_volume(BROAD, Channel("", "em", ChannelType.IMAGE, DataType.UINT8))
        voxels = noise((3, 1024, 2048))
        server.write(v1_cutout("broad", "em", "z=0:3&format=raw"), voxels.tobytes())
        assert server.read(f"/sd/broad/em/raw/{OVER}") == voxels.tobytes()


def test_voxels_of_a_project_named_results_are_no_results(tmp_path):
    """Their keys start with the prefix under which results lie."""
    with serving(tmp_path) as server:
        channel = "c" * 43
        server.add_volume(
            Dataset("results", (300, 200, 40)),
            Channel("", channel, ChannelType.IMAGE, DataType.UINT8),
            public=False,
        )
        server.write(f"/sd/results/{channel}/npz/{BOX}", npz(noise((1, *SHAPE))))
        assert_problem(server.get(f"/v1/results/{channel}"), 404, "NotFoundError")
