"""Cutouts of boxes and bodies that are wrong or attack: the right problem, and nothing written.

What each format makes of a bad body is the concern of ``tests/unit/wire``; here is that the routes
ask it, and what they refuse themselves.
"""

import math
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import blosc
import numpy as np
import pytest

from ndlambda import errors
from ndlambda.errors import NDLambdaError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.web.problem import Dialect, status_of
from tests.support import bodies
from tests.support.app import BOX, QUERY, SHAPE, assert_problem, serving, v1_cutout
from tests.support.bodies import noise
from tests.support.uploads import ENCODERS, STACK, assert_refused, good, path_of, shape_of

HUGE = Dataset("huge", (1 << 20, 1 << 20, 1 << 10))
EM = Channel("", "em", ChannelType.IMAGE, DataType.UINT8, default=True)
EVERY_FORMAT = pytest.mark.parametrize(("family", "name"), ENCODERS, ids=map("-".join, ENCODERS))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("bad")) as server:
        server.add_volume(HUGE, EM, Channel("", "em2", ChannelType.IMAGE, DataType.UINT8))
        server.write(f"/sd/open/em/npz/{BOX}", bodies.npz(noise(STACK)))
        yield server


def _box(x: str = "10,74", y: str = "20,52", z: str = "5,9", resolution: str = "0") -> str:
    return f"/sd/open/em/npz/{resolution}/{x}/{y}/{z}/"


def _query(x: str = "10:74", y: str = "20:52", z: str = "5:9", more: str = "") -> str:
    return v1_cutout("open", "em", f"x={x}&y={y}&z={z}{more}")


BAD_PATH, BAD_VALUE = errors.PathSyntaxError, errors.InvalidArgumentError
NO_ROUTE, TOO_LARGE = errors.RouteNotFoundError, errors.PayloadTooLargeError
OUTSIDE, NO_LEVEL = errors.OutOfBoundsError, errors.ResolutionNotFoundError
UNKNOWN, EMPTY = errors.UnknownNameError, errors.EmptyBoxError
Fault = tuple[str, type[NDLambdaError]]

FAULTS: dict[str, tuple[Fault, Fault]] = {
    "second channel": (
        (f"/sd/open/em,nope/npz/{BOX}", errors.ChannelNotFoundError),
        (v1_cutout("open", "em%2Cnope"), NO_ROUTE),
    ),
    "unknown format": (
        (f"/sd/open/em/gif/{BOX}", NO_ROUTE),
        (v1_cutout("open", "em", f"{QUERY}&format=gif"), UNKNOWN),
    ),
    "format in capitals": (
        (f"/sd/open/em/HDF5/{BOX}", NO_ROUTE),
        (v1_cutout("open", "em", f"{QUERY}&format=NPY"), UNKNOWN),
    ),
    "resolution": ((_box(resolution="4"), NO_LEVEL), (_query(more="&resolution=4"), NO_LEVEL)),
    "empty": ((_box(x="10,10"), EMPTY), (_query(x="10:10"), EMPTY)),
    "before the offset": ((_box(x="7,74"), OUTSIDE), (_query(x="7:74"), OUTSIDE)),
    "a voxel too far": ((_box(x="10,309"), OUTSIDE), (_query(x="10:309"), OUTSIDE)),
    "an axis missing": (("/sd/open/em/npz/0/10,74/20,52/", BAD_PATH), (_query(x=""), BAD_VALUE)),
    "reversed times": ((_box() + "5,3/", OUTSIDE), (_query(more="&t=5:3"), OUTSIDE)),
    "too large": (
        ("/sd/huge/em/npz/0/0,65536/0,8192/0,1/", TOO_LARGE),
        (v1_cutout("huge", "em", "x=0:65536&y=0:8192&z=0:1"), TOO_LARGE),
    ),
    "too many times": (
        (_box() + "0,1000000000/", TOO_LARGE),
        (_query(more="&t=0:1000000000"), TOO_LARGE),
    ),
    "a petabyte": (
        ("/sd/huge/em/hdf5/0/0,1048576/0,1048576/0,1024/", TOO_LARGE),
        (v1_cutout("huge", "em", ""), TOO_LARGE),
    ),
    "too many channels": (
        ("/sd/huge/em,em2/npz/0/0,16384/0,16384/0,1/", TOO_LARGE),
        (v1_cutout("huge", "em2", "z=0:1"), TOO_LARGE),
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_wrong_box_is_a_problem_and_nothing_is_allocated_or_written(server, fault):
    """The default limit is 2^28 voxels; the boxes above it would need 512 MiB and more."""
    sent_in = (good("sd", "npz"), good("v1", "npy"))
    for (path, error), body, dialect in zip(
        fault, sent_in, (Dialect.NDSTORE, Dialect.V1), strict=True
    ):
        for method in ("GET", "POST"):
            headers = {"Content-Type": "application/x-npy"}
            with server.unchanged():
                tracemalloc.start()
                answer = server.call(method, path, "alice", headers=headers, data=body)
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            problem = assert_problem(answer, status_of(error, dialect), error.__name__)
            assert peak < 1 << 20
            if error is TOO_LARGE:
                assert problem["limit"] == 1 << 28


def test_the_limit_counts_all_channels_and_times_and_may_be_reached(tmp_path):
    with serving(tmp_path, max_cutout_voxels=2 * math.prod(SHAPE)) as server:
        assert server.read(f"/sd/open/em,em2/raw/{BOX}") == bytes(2 * math.prod(SHAPE))
        assert server.read(f"/sd/open/em/raw/{BOX}0,2/") == bytes(2 * math.prod(SHAPE))
        for path in (f"/sd/open/em,em2,em/raw/{BOX}", f"/sd/open/em/raw/{BOX}0,3/"):
            assert_problem(server.get(path, "alice"), 413, "PayloadTooLargeError")


def test_an_unknown_format_tells_which_are_known(server):
    answer = server.get(v1_cutout("open", "em", "format=gif"), "alice")
    problem = assert_problem(answer, 404, "UnknownNameError")
    assert {"npy", "raw", "blosc", "hdf5", "npz"} <= set(problem["known"])


@EVERY_FORMAT
def test_a_body_unlike_its_box_is_refused(server, family, name):
    """The good one is taken, so that the others are refused for what they say."""
    path, body = path_of(family, name), good(family, name)
    with server.unchanged():
        server.write(path, body)
    encode, shape = ENCODERS[family, name], shape_of(family, name)
    has_header = (family, name) not in {("v1", "raw"), ("v1", "blosc")}
    kind = "DataTypeMismatchError" if has_header else "MalformedBodyError"
    other_shape = "ShapeMismatchError" if has_header else "MalformedBodyError"
    wrong = {
        "another dtype": (encode(np.ones(shape, "u2")), kind),
        "a slice less": (encode(noise(shape)[..., :-1, :, :]), other_shape),
        "cut": (body[:-1], "MalformedBodyError"),
        "text": (b'{"this": "is not an array"}', "MalformedBodyError"),
    }
    if name != "hdf5":  # HDF5 files may be followed by anything
        wrong["longer"] = (body + b"more", "MalformedBodyError")
    if has_header:  # one without a header has neither sign nor shape
        wrong["signed"] = (encode(np.ones(shape, "i1")), kind)
        wrong["turned"] = (encode(noise(shape).swapaxes(-1, -2).copy()), other_shape)
        wrong["an axis more"] = (encode(noise(shape)[np.newaxis]), other_shape)
    for sent, error in wrong.values():
        assert_refused(server, path, sent, error)


def test_all_channels_are_checked_before_the_first_is_written(server):
    """ndstore wrote the channels before the bad one. Seen to fail with the decoding of each channel
    moved into the loop that writes."""
    fresh, path = noise(SHAPE, seed=1), f"/sd/open/em,em2/hdf5/{BOX}"
    for channels, error in (
        ({"em": fresh, "em2": fresh.astype("u2")}, "DataTypeMismatchError"),
        ({"em": fresh, "em2": fresh[:3]}, "ShapeMismatchError"),
        ({"em": fresh}, "MalformedBodyError"),
    ):
        assert_refused(server, path, bodies.hdf5(channels), error)
    body = bodies.npz(np.stack([fresh, fresh]))
    assert_refused(server, f"/sd/open/em,frozen/npz/{BOX}", body, "ReadOnlyChannelError")


@pytest.mark.parametrize(("method", "service", "status", "error"), [
    ("POST", "raw", 404, "InvalidArgumentError"), ("POST", "zip", 400, "MethodNotAllowedError"),
    ("POST", "xy", 404, "RouteNotFoundError"), ("GET", "blaze", 400, "MethodNotAllowedError"),
])  # fmt: skip
def test_services_that_are_not_for_a_method_refuse(server, method, service, status, error):
    with server.unchanged():
        path = f"/sd/open/em/{service}/{BOX}"
        answer = server.call(method, path, "alice", data=bytes(8192))
        assert_problem(answer, status, error)


def test_a_time_range_needs_a_time_axis_and_the_reverse(server):
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


def test_more_memory_than_the_server_gives_is_refused(tmp_path):
    with serving(tmp_path, max_memory_bytes=10_000) as server:
        for path in (path_of("sd", "npz"), path_of("v1", "raw")):
            with server.unchanged():
                assert_problem(server.get(path, "alice"), 413, "PayloadTooLargeError")
                sent = server.post(path, "alice", data=bytes(8192))
                assert_problem(sent, 413, "PayloadTooLargeError")


class Runs:
    """Touches a file when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.evidence}",)


def test_no_pickle_is_loaded(server, tmp_path):
    """It appears where one is loaded, so that its absence says something."""
    evidence = tmp_path / "evidence"
    hostile = blosc.compress(pickle.dumps(Runs(evidence)), typesize=1)
    for family, name in (("sd", "npz"), ("v1", "npz"), ("v1", "npy")):
        body = ENCODERS[family, name](np.array([Runs(evidence)], object))
        assert_refused(server, path_of(family, name), body, "MalformedBodyError")
    for name in ("blosc", "blaze"):
        assert_refused(server, path_of("sd", name), hostile, "MalformedBodyError")
    assert not evidence.exists()
    blosc.unpack_array(hostile)
    assert evidence.exists()


def test_channels_that_do_not_go_into_one_array_are_refused(server):
    for name in ("npz", "blosc"):
        for count in (1, 3):
            body = ENCODERS["sd", name](noise((count, *SHAPE)))
            assert_refused(server, f"/sd/open/em,em2/{name}/{BOX}", body, "ShapeMismatchError")
    body = bodies.npz(noise((2, *SHAPE)))
    assert_refused(server, f"/sd/open/em,0/npz/{BOX}", body, "InvalidArgumentError")
    assert_refused(server, f"/sd/open/em,movie/npz/{BOX}", body, "DataTypeMismatchError")
    for service in ("npz", "blosc", "raw", "zip"):
        answer = server.get(f"/sd/open/em,movie/{service}/{BOX}", "alice")
        assert_problem(answer, 404, "DataTypeMismatchError")
