"""Bodies of cutouts that are wrong or broken: a problem, and nothing written."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import bodies
from tests.support.app import BOX, SHAPE, Server, assert_problem, serving, v1_cutout
from tests.support.bodies import noise
from tests.support.uploads import ENCODERS, STACK, assert_refused, good, path_of, shape_of

EVERY_FORMAT = pytest.mark.parametrize(("family", "name"), ENCODERS, ids=map("-".join, ENCODERS))
WITH_A_HEADER = [key for key in ENCODERS if key not in {("v1", "raw"), ("v1", "blosc")}]
FORMATS_WITH_A_HEADER = pytest.mark.parametrize(
    ("family", "name"), WITH_A_HEADER, ids=map("-".join, WITH_A_HEADER)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("bodies")) as server:
        server.write(f"/sd/open/em/npz/{BOX}", bodies.npz(noise(STACK)))
        yield server


@EVERY_FORMAT
def test_the_good_body_is_taken(server: Server, family: str, name: str) -> None:
    """So that the refusals below are of what they say."""
    with server.unchanged():
        server.write(path_of(family, name), ENCODERS[family, name](noise(shape_of(family, name))))


@FORMATS_WITH_A_HEADER
@pytest.mark.parametrize("dtype", ["int8", "uint16", "float32", "bool"])
def test_another_dtype_is_refused_and_never_cast(
    server: Server, family: str, name: str, dtype: str
) -> None:
    body = ENCODERS[family, name](np.ones(shape_of(family, name), dtype))
    # Four times too long already by the header of the frame around the array's own.
    too_long = dtype == "float32" and name in {"blosc", "blaze"}
    error = "MalformedBodyError" if too_long else "DataTypeMismatchError"
    assert_refused(server, path_of(family, name), body, error)


@FORMATS_WITH_A_HEADER
@pytest.mark.parametrize("change", ["a slice less", "turned", "an axis more"])
def test_another_shape_is_refused(server: Server, family: str, name: str, change: str) -> None:
    array = noise(shape_of(family, name))
    wrong = {
        "a slice less": array[..., :-1, :, :],
        "turned": np.ascontiguousarray(array.swapaxes(-1, -2)),
        "an axis more": array[np.newaxis],
    }[change]
    body = ENCODERS[family, name](wrong)
    assert_refused(server, path_of(family, name), body, "ShapeMismatchError")


@pytest.mark.parametrize("name", ["raw", "blosc"])
def test_another_length_is_refused_where_a_body_has_no_header(server: Server, name: str) -> None:
    for wrong in (noise(SHAPE, "uint16"), noise(SHAPE)[:-1], noise((2, *SHAPE))):
        body = ENCODERS["v1", name](wrong)
        assert_refused(server, path_of("v1", name), body, "MalformedBodyError")


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["npz", "blosc"])
def test_another_number_of_channels_is_refused(server: Server, name: str, count: int) -> None:
    body = ENCODERS["sd", name](noise((count, *SHAPE)))
    assert_refused(server, f"/sd/open/em,em2/{name}/{BOX}", body, "ShapeMismatchError")


def test_an_hdf5_file_without_a_group_of_every_channel_is_refused(server: Server) -> None:
    body = bodies.hdf5({"em": noise(SHAPE)})
    assert_refused(server, f"/sd/open/em,em2/hdf5/{BOX}", body, "MalformedBodyError")
    assert_refused(server, f"/sd/open/em2/hdf5/{BOX}", body, "MalformedBodyError")


def test_all_channels_are_checked_before_the_first_is_written(server: Server) -> None:
    """ndstore wrote the channels before the bad one.

    Seen to fail with the decoding of each channel moved into the loop that writes.
    """
    fresh = noise(SHAPE, seed=1)
    bad = {
        "a dtype": {"em": fresh, "em2": fresh.astype("u2")},
        "a shape": {"em": fresh, "em2": fresh[:3]},
        "a missing group": {"em": fresh},
    }
    for channels in bad.values():
        with server.unchanged():
            path = f"/sd/open/em,em2/hdf5/{BOX}"
            assert server.post(path, "alice", data=bodies.hdf5(channels)).status_code == 404
    with server.unchanged():
        path = f"/sd/open/em,frozen/npz/{BOX}"
        sent = server.post(path, "alice", data=bodies.npz(np.stack([fresh, fresh])))
        assert_problem(sent, 404, "ReadOnlyChannelError")


def test_channels_of_several_dtypes_are_refused_in_one_array(server: Server) -> None:
    body = bodies.npz(noise((2, *SHAPE)))
    assert_refused(server, f"/sd/open/em,movie/npz/{BOX}", body, "DataTypeMismatchError")
    for service in ("npz", "blosc", "raw", "zip"):
        answer = server.get(f"/sd/open/em,movie/{service}/{BOX}", "alice")
        assert_problem(answer, 404, "DataTypeMismatchError")


@EVERY_FORMAT
@pytest.mark.parametrize("keep", [0, 1, 10, 0.5, -1])
def test_a_truncated_body_is_refused(server: Server, family: str, name: str, keep: float) -> None:
    body = good(family, name)
    cut = body[: int(keep * len(body)) if keep == 0.5 else int(keep)]
    assert_refused(server, path_of(family, name), cut, "MalformedBodyError")


@EVERY_FORMAT
def test_a_body_with_bytes_behind_its_end_is_refused_or_they_mean_nothing(
    server: Server, family: str, name: str
) -> None:
    body = good(family, name) + b"more"
    if name == "hdf5":  # HDF5 files may be followed by anything
        with server.unchanged():
            server.write(path_of(family, name), body)
    else:
        assert_refused(server, path_of(family, name), body, "MalformedBodyError")


@EVERY_FORMAT
def test_text_is_refused(server: Server, family: str, name: str) -> None:
    text = b'{"this": "is not an array"}'
    assert_refused(server, path_of(family, name), text, "MalformedBodyError")


@pytest.mark.parametrize("user", ["alice", "admin"])
def test_a_read_only_channel_is_not_written(server: Server, user: str) -> None:
    with server.unchanged():
        sent = server.post(f"/sd/open/frozen/npz/{BOX}", user, data=bodies.npz(noise(STACK)))
        assert_problem(sent, 404, "ReadOnlyChannelError")
        path = v1_cutout("open", "frozen") + "&format=npy"
        sent = server.post(path, user, data=bodies.npy(noise(SHAPE)))
        assert_problem(sent, 403, "ReadOnlyChannelError")


def test_a_channel_under_propagation_is_not_written(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.runtime.catalog.update_channel("pr", "em", propagate=1)
        with server.unchanged():
            sent = server.post(f"/sd/open/em/npz/{BOX}", "alice", data=bodies.npz(noise(STACK)))
            assert_problem(sent, 404, "InvalidStateError")
            path = v1_cutout("open", "em") + "&format=npy"
            sent = server.post(path, "alice", data=bodies.npy(noise(SHAPE)))
            assert_problem(sent, 409, "InvalidStateError")


@pytest.mark.parametrize(
    ("service", "status", "error"),
    [
        ("raw", 404, "InvalidArgumentError"),
        ("zip", 400, "MethodNotAllowedError"),
        ("xy", 404, "RouteNotFoundError"),
    ],
)
def test_services_that_are_not_for_posting_refuse(
    server: Server, service: str, status: int, error: str
) -> None:
    with server.unchanged():
        sent = server.post(f"/sd/open/em/{service}/{BOX}", "alice", data=bytes(8192))
        assert_problem(sent, status, error)


def test_blaze_is_not_for_getting(server: Server) -> None:
    answer = server.get(f"/sd/open/em/blaze/{BOX}", "alice")
    assert_problem(answer, 400, "MethodNotAllowedError")


def test_the_zero_channel_is_not_written(server: Server) -> None:
    body = bodies.npz(noise((2, *SHAPE)))
    assert_refused(server, f"/sd/open/em,0/npz/{BOX}", body, "InvalidArgumentError")


def test_a_time_range_needs_a_time_axis_and_the_reverse(server: Server) -> None:
    flat, timed = noise((1, *SHAPE), "uint16"), noise((1, 2, *SHAPE), "uint16")
    for path, body in (
        (f"/sd/open/movie/npz/{BOX}3,5/", bodies.npz(flat)),
        (f"/sd/open/movie/npz/{BOX}3,4/", bodies.npz(flat)),
        (f"/sd/open/movie/npz/{BOX}", bodies.npz(timed)),
        (f"/sd/open/movie/npz/{BOX}3,6/", bodies.npz(timed)),
        (f"/sd/open/movie/hdf5/{BOX}3,6/", bodies.hdf5({"movie": timed[0]})),
        (v1_cutout("open", "movie") + "&t=3:6&format=npy", bodies.npy(timed[0])),
        (v1_cutout("open", "movie") + "&format=npy", bodies.npy(timed[0])),
    ):
        assert_refused(server, path, body, "ShapeMismatchError")


def test_a_body_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with serving(tmp_path, body_bytes=5000) as server:
        body = noise(SHAPE).tobytes()
        paths = (path_of("sd", "npz"), path_of("v1", "raw"), "/resource/dataset/new")
        with server.unchanged():
            for path in paths:
                problem = assert_problem(
                    server.post(path, "alice", data=body), 413, "PayloadTooLargeError"
                )
                assert problem["limit"] == 5000


def test_a_body_that_does_not_say_its_length_is_read_no_further_than_the_limit(
    tmp_path: Path,
) -> None:
    """Seen to fail without ``max_content_length`` in ``App``, on the JSON route."""
    with serving(tmp_path, body_bytes=5000) as server:
        for path in (path_of("sd", "npz"), path_of("v1", "raw"), "/resource/dataset/new"):
            body = io.BytesIO(noise(SHAPE).tobytes())
            chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
            with server.unchanged():
                sent = server.post(path, "alice", input_stream=body, environ_overrides=chunked)
            assert 400 <= sent.status_code < 500
            assert body.tell() <= 5000


def test_a_json_body_over_a_megabyte_is_refused(server: Server) -> None:
    with server.unchanged():
        sent = server.post(
            "/v1/datasets/new", "alice", json={"dataset_description": "x" * (1 << 20)}
        )
        assert_problem(sent, 413, "PayloadTooLargeError")


def test_more_memory_than_the_server_gives_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, memory_bytes=10_000) as server:
        for path in (path_of("sd", "npz"), path_of("v1", "raw")):
            assert_problem(server.get(path, "alice"), 413, "PayloadTooLargeError")
            with server.unchanged():
                sent = server.post(path, "alice", data=bytes(8192))
                assert_problem(sent, 413, "PayloadTooLargeError")
