"""Channels, defaults, names and headers of ndstore's cutouts, on files."""

import io
import zlib

import h5py
import numpy as np
import pytest

from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.catalog import service as catalog_service
from tests.support import bodies
from tests.support.app import BOX, SHAPE, assert_problem, server_fixture
from tests.support.bodies import from_hdf5, from_npz, noise, unpacked
from tests.support.twins import CHANNEL, RESOURCE, V1

server = server_fixture()


@pytest.fixture(scope="module")
def em(server):
    """The voxels (1, z, y, x) that lie in channel ``em``."""
    voxels = noise((1, *SHAPE))
    server.write(f"/sd/open/em/npz/{BOX}", bodies.npz(voxels))
    return voxels


@pytest.mark.parametrize(("service", "suffix"), [
    ("npz", None), ("blosc", "blosc"), ("zip", None), ("raw", "raw"), ("hdf5", "h5"),
])  # fmt: skip
def test_answers_say_their_type_and_file_name(server, em, service, suffix):
    answer = server.get(f"/nd//sd/open/em/{service}/{BOX}", "alice")
    assert answer.content_type == f"product/{service}"
    name = f"open-em-{service}-0-10_74-20_52-5_9-ndcutout.{suffix}"
    wanted = None if suffix is None else f"attachment; filename={name}"
    assert answer.headers.get("Content-Disposition") == wanted
    assert answer.content_length == len(answer.data)


@pytest.mark.parametrize("tail", ["%0dX-Evil:%20yes", "λ", '"; rm', "filter/" + "1," * 9999])
def test_whatever_follows_the_options_does_not_reach_a_header(server, em, tail):
    answer = server.get(f"/sd/open/em/raw/{BOX}{tail}/", "alice")
    assert answer.status_code == 200
    name = answer.headers["Content-Disposition"].removeprefix("attachment; filename=")
    assert name.isascii()
    assert name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert len(name) < 255
    assert "X-Evil" not in answer.headers


def test_hdf5_has_type_and_dtype_beside_the_voxels(server, em):
    body = server.read(f"/sd/open/em,frozen/hdf5/{BOX}window/0,100/")
    with h5py.File(io.BytesIO(body)) as file:
        assert sorted(file) == ["em", "frozen"]
        assert file["em/CHANNELTYPE"][0] == b"image"
        assert file["em/DATATYPE"][0] == b"uint8"
        assert file["em/CHANNELTYPE"].shape == (1,)
        assert file["em/CUTOUT"].compression == "gzip"


@pytest.mark.parametrize("path", ["/sd/open/npz/", "/sd/open/default/npz/", "/sd/open/,/npz/"])
def test_no_channel_means_the_default_one(server, em, path):
    np.testing.assert_array_equal(from_npz(server.read(path + BOX)), em)
    body = server.read(f"{path.replace('npz', 'hdf5')}{BOX}")
    for group in ("em", "default"):
        np.testing.assert_array_equal(from_hdf5(body, group), em[0])


def test_the_default_channel_can_be_written(server):
    other = Channel("", "other", ChannelType.IMAGE, DataType.UINT8)
    first = Channel("", "first", ChannelType.IMAGE, DataType.UINT8, default=True)
    server.add_volume(Dataset("written", (300, 200, 40), offset_xyz=(8, 4, 1)), other, first)
    one, two = (noise((1, *SHAPE), seed=seed) | 1 for seed in (1, 2))
    hdf5 = bodies.hdf5({"default": two[0]})
    for path, voxels, body in (("npz", one, bodies.npz(one)), ("default/hdf5", two, hdf5)):
        server.write(f"/sd/written/{path}/{BOX}", body)
        stored = from_npz(server.read(f"/sd/written/first,other/npz/{BOX}"))
        np.testing.assert_array_equal(stored[:1], voxels)
        assert not stored[1].any()


@pytest.mark.parametrize("service", ["npz", "blosc", "raw", "zip"])
def test_channel_0_behind_the_first_is_a_plane_of_zeros(server, em, service):
    body = server.read(f"/sd/open/em,0,em2/{service}/{BOX}")
    if service in {"raw", "zip"}:
        flat = body if service == "raw" else zlib.decompress(body)
        array = np.frombuffer(flat, "u1").reshape(3, *SHAPE)
    else:
        array = from_npz(body) if service == "npz" else unpacked(body)
    assert array.shape == (3, *SHAPE)
    np.testing.assert_array_equal(array[:1], em)
    assert not array[1:].any()
    assert server.get(f"/sd/open/0/{service}/{BOX}", "alice").status_code == 404


@pytest.fixture
def unreserved(monkeypatch):
    """Names are made as they were before some were reserved."""
    monkeypatch.setattr(catalog_service, "check_unreserved", lambda *_: None)


def test_names_that_are_also_services_are_names(server, em, unreserved):
    """Seen to fail when the arguments were cut off at the first ``/npz/`` of the path."""
    catalog = server.runtime.catalog
    catalog.create_project(Project("npz", "brain", user_id=server.owner))
    catalog.create_token(Token("npz", "npz", user_id=server.owner))
    catalog.create_channel(Channel("npz", "npz", ChannelType.IMAGE, DataType.UINT8))
    server.write(f"/sd/npz/npz/npz/{BOX}", bodies.npz(em))
    np.testing.assert_array_equal(from_npz(server.read(f"/sd/npz/npz/{BOX}")), em)
    np.testing.assert_array_equal(from_npz(server.read(f"/sd/npz/npz/npz/{BOX}")), em)


def test_a_token_of_a_word_that_was_reserved_later_keeps_working(server, em, unreserved):
    server.runtime.catalog.create_token(Token("views", "pr", user_id=server.owner))
    np.testing.assert_array_equal(from_npz(server.read(f"/sd/views/em/npz/{BOX}")), em)
    assert server.get("/v1/projects/views", "alice").status_code == 200


@pytest.mark.parametrize("twin", [RESOURCE, V1], ids=["resource", "v1"])
def test_words_of_paths_name_no_new_tokens_and_channels(server, twin):
    *_, channel, token = twin.paths("brain", "pr", ch="xy", tk="stats")
    for path, fields in ((channel, CHANNEL), (token, {})):
        assert_problem(server.post(path, "alice", json=fields), 400, "InvalidNameError")
        assert server.get(path, "alice").status_code == 404
    body = {"channels": {"nii": {"channel_name": "nii", **CHANNEL}}}
    answer = server.post("/sd/closed/createChannel/", "alice", json=body)
    assert_problem(answer, 400, "InvalidNameError")


def test_names_of_255_characters_can_be_written_and_read(server, em):
    name = "n" * 255
    server.add_volume(
        Dataset(name, (300, 200, 40)), Channel("", name, ChannelType.IMAGE, DataType.UINT8)
    )
    server.write(f"/sd/{name}/{name}/npz/{BOX}", bodies.npz(em))
    np.testing.assert_array_equal(from_npz(server.read(f"/sd/{name}/{name}/npz/{BOX}")), em)
