"""Cutouts of the v1 routes: formats by name and by content type, shapes, digests."""

import hashlib
from collections.abc import Callable

import blosc
import numpy as np
import pytest

from tests.support import bodies
from tests.support.app import SHAPE, assert_problem, server_fixture, v1_cutout
from tests.support.bodies import Array, from_hdf5, from_npy, from_npz, noise
from tests.support.uploads import ENCODERS

EM = v1_cutout("open", "em")
MOVIE = v1_cutout("open", "movie")
DIGEST = EM.replace("/cutout", "/digest")

TYPES = {
    "npy": "application/x-npy", "npz": "application/x-npz-ndstore",
    "raw": "application/octet-stream", "blosc": "application/x-blosc", "hdf5": "application/x-hdf5",
}  # fmt: skip
DECODERS: dict[str, Callable[[bytes], Array]] = {
    "npy": from_npy,
    "npz": from_npz,
    "raw": lambda body: np.frombuffer(body, "u1").reshape(SHAPE),
    "blosc": lambda body: np.frombuffer(blosc.decompress(body), "u1").reshape(SHAPE),
    "hdf5": lambda body: from_hdf5(body, "em"),
}


server = server_fixture()


@pytest.fixture(scope="module")
def em(server):
    voxels = noise(SHAPE)
    server.write(EM, bodies.npy(voxels), headers={"Content-Type": "application/x-npy"})
    return voxels


@pytest.fixture(scope="module")
def movie(server):
    voxels = noise((3, *SHAPE), "uint16")
    server.write(f"{MOVIE}&t=2:5&format=raw", voxels.tobytes())
    return voxels


@pytest.mark.parametrize("name", TYPES)
def test_a_format_is_chosen_by_name_or_by_accept(server, em, name):
    for answer in (
        server.get(f"{EM}&format={name}"),
        server.get(EM, headers={"Accept": TYPES[name]}),
        server.get(EM, headers={"Accept": f"text/html, {TYPES[name]};q=0.5"}),
        server.get(f"{EM}&format={name}", headers={"Accept": "text/html"}),
    ):
        assert answer.content_type == TYPES[name]
        assert answer.headers["Vary"] == "Accept"
        assert answer.headers["X-NDLambda-Shape"] == "4,32,64"
        assert answer.headers["X-NDLambda-Dtype"] == "uint8"
        np.testing.assert_array_equal(DECODERS[name](answer.data), em)


@pytest.mark.parametrize("accept", [None, "*/*", "application/*", "text/html, */*;q=0.1"])
def test_npy_is_given_to_those_who_do_not_care(server, em, accept):
    answer = server.get(EM, headers={} if accept is None else {"Accept": accept})
    assert answer.content_type == "application/x-npy"
    np.testing.assert_array_equal(from_npy(answer.data), em)


def test_the_better_quality_wins(server):
    accept = "application/x-npy;q=0.3, application/x-hdf5;q=0.9, application/x-blosc;q=0"
    assert server.get(EM, headers={"Accept": accept}).content_type == "application/x-hdf5"


@pytest.mark.parametrize("accept", ["application/json", "image/png, text/html", "product/npz"])
def test_types_that_cannot_be_made_are_not_acceptable(server, accept):
    problem = assert_problem(server.get(EM, headers={"Accept": accept}), 406, "NotAcceptableError")
    assert set(TYPES.values()) <= set(problem["offered"])


@pytest.mark.parametrize("name", TYPES)
def test_an_upload_is_read_by_its_content_type_or_by_name(server, name):
    for number, (path, headers) in enumerate(
        (
            (EM, {"Content-Type": TYPES[name]}),
            (EM, {"Content-Type": f"{TYPES[name]}; version=1"}),
            (f"{EM}&format={name}", {"Content-Type": "application/x-www-form-urlencoded"}),
        )
    ):
        voxels = noise(SHAPE, seed=number + 1)
        answer = server.post(path, "alice", data=ENCODERS["v1", name](voxels), headers=headers)
        assert (answer.status_code, answer.get_json()) == (200, {"voxels": 4 * 32 * 64})
        np.testing.assert_array_equal(from_npy(server.read(EM)), voxels)
    server.write(f"{EM}&format=npy", bodies.npy(noise(SHAPE)))


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "product/npz", ""])
def test_other_content_types_are_unsupported(server, content_type):
    with server.unchanged():
        answer = server.post(
            EM, "alice", data=bodies.npy(noise(SHAPE, seed=9)), content_type=content_type
        )
        problem = assert_problem(answer, 415, "UnsupportedMediaTypeError")
    assert set(TYPES) <= set(problem["known"])


def test_a_time_range_keeps_the_axis_and_none_drops_it(server, movie):
    np.testing.assert_array_equal(from_npy(server.read(f"{MOVIE}&t=2:5")), movie)
    np.testing.assert_array_equal(from_npy(server.read(f"{MOVIE}&t=3:4")), movie[1:2])
    np.testing.assert_array_equal(from_npy(server.read(MOVIE)), movie[0])
    answer = server.get(f"{MOVIE}&t=2:4&format=raw")
    assert answer.headers["X-NDLambda-Shape"] == "2,4,32,64"
    assert answer.headers["X-NDLambda-Dtype"] == "uint16"
    assert answer.data == movie[:2].tobytes()
    np.testing.assert_array_equal(
        from_hdf5(server.read(f"{MOVIE}&t=4:5&format=hdf5"), "movie"), movie[2:]
    )


def test_axes_left_out_are_whole(server, em):
    whole = from_npy(server.read(v1_cutout("open", "em", "")))
    assert whole.shape == (40, 200, 300)
    np.testing.assert_array_equal(whole[4:8, 16:48, 2:66], em)
    column = from_npy(server.read(v1_cutout("open", "em", "x=10:74&y=20:52")))
    np.testing.assert_array_equal(column, whole[:, 16:48, 2:66])
    coarse = from_npy(server.read(v1_cutout("open", "em", "resolution=3&z=5:6")))
    assert coarse.shape == (1, 25, 38)


def test_default_is_the_default_channel(server, em):
    np.testing.assert_array_equal(from_npy(server.read(v1_cutout("open", "default"))), em)


@pytest.mark.parametrize("more", ["", "&t=2:5", "&t=3:4"])
def test_a_digest_is_that_of_the_voxels(server, movie, more):
    array = from_npy(server.read(MOVIE + more))
    answer = server.get(MOVIE.replace("/cutout", "/digest") + more).get_json()
    digest = hashlib.blake2b(array.tobytes(), digest_size=20).hexdigest()
    assert answer == {"blake2b": digest, "nonzero": True}


def test_a_digest_tells_of_zeros_and_of_a_change(server, em):
    empty = server.get(DIGEST.replace("em/", "em2/")).get_json()
    zeros = hashlib.blake2b(bytes(em.size), digest_size=20).hexdigest()
    assert empty == {"blake2b": zeros, "nonzero": False}
    before = server.get(DIGEST).get_json()
    server.write(
        f"{EM}&format=raw", np.where(np.indices(SHAPE).sum(0) == 5, 77, 0).astype("u1").tobytes()
    )
    assert server.get(DIGEST).get_json() != before
    server.write(f"{EM}&format=raw", em.tobytes())
    assert server.get(DIGEST).get_json() == before
