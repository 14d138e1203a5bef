"""Cutouts that name what is not there or cannot be: the right problem, and nothing written."""

import math
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from tests.support.app import BOX, QUERY, SHAPE, Server, assert_problem, serving, v1_cutout
from tests.support.bodies import npy, npz

HUGE = Dataset("huge", (1 << 20, 1 << 20, 1 << 10))
EM = Channel("", "em", ChannelType.IMAGE, DataType.UINT8, default=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("boxes")) as server:
        server.add_volume(HUGE, EM, Channel("", "em2", ChannelType.IMAGE, DataType.UINT8))
        server.write(f"/sd/open/em/npz/{BOX}", npz(np.ones((1, *SHAPE), "u1")))
        yield server


@dataclass(frozen=True)
class Fault:
    """One wrong request in both dialects: path, status, error class."""

    legacy: tuple[str, int, str]
    v1: tuple[str, int, str]


def _box(x: str = "10,74", y: str = "20,52", z: str = "5,9", resolution: str = "0") -> str:
    return f"/sd/open/em/npz/{resolution}/{x}/{y}/{z}/"


def _query(x: str = "10:74", y: str = "20:52", z: str = "5:9", more: str = "") -> str:
    return v1_cutout("open", "em", f"x={x}&y={y}&z={z}{more}")


FAULTS = {
    "unknown channel": Fault(
        (f"/sd/open/nope/npz/{BOX}", 404, "ChannelNotFoundError"),
        (v1_cutout("open", "nope"), 404, "ChannelNotFoundError"),
    ),
    "unknown second channel": Fault(
        (f"/sd/open/em,nope/npz/{BOX}", 404, "ChannelNotFoundError"),
        (v1_cutout("open", "em%2Cnope"), 404, "RouteNotFoundError"),
    ),
    "channel with a hyphen": Fault(
        (f"/sd/open/e-m/npz/{BOX}", 404, "RouteNotFoundError"),
        (v1_cutout("open", "e-m"), 404, "RouteNotFoundError"),
    ),
    "unknown format": Fault(
        (f"/sd/open/em/gif/{BOX}", 404, "RouteNotFoundError"),
        (v1_cutout("open", "em", f"{QUERY}&format=gif"), 404, "UnknownNameError"),
    ),
    "format in capitals": Fault(
        (f"/sd/open/em/HDF5/{BOX}", 404, "RouteNotFoundError"),
        (v1_cutout("open", "em", f"{QUERY}&format=NPY"), 404, "UnknownNameError"),
    ),
    "unknown resolution": Fault(
        (_box(resolution="4"), 404, "ResolutionNotFoundError"),
        (_query(more="&resolution=4"), 404, "ResolutionNotFoundError"),
    ),
    "resolution in words": Fault(
        (_box(resolution="fine"), 404, "PathSyntaxError"),
        (_query(more="&resolution=fine"), 400, "InvalidArgumentError"),
    ),
    "negative resolution": Fault(
        (_box(resolution="-1"), 404, "PathSyntaxError"),
        (_query(more="&resolution=-1"), 400, "InvalidArgumentError"),
    ),
    "empty box": Fault(
        (_box(x="10,10"), 404, "EmptyBoxError"), (_query(x="10:10"), 400, "EmptyBoxError")
    ),
    "reversed box": Fault(
        (_box(y="52,20"), 404, "EmptyBoxError"), (_query(y="52:20"), 400, "EmptyBoxError")
    ),
    "negative box": Fault(
        (_box(z="-1,9"), 404, "PathSyntaxError"), (_query(z="-1:9"), 400, "InvalidArgumentError")
    ),
    "before the offset": Fault(
        (_box(x="7,74"), 404, "OutOfBoundsError"), (_query(x="7:74"), 400, "OutOfBoundsError")
    ),
    "a voxel too far": Fault(
        (_box(x="10,309"), 404, "OutOfBoundsError"), (_query(x="10:309"), 400, "OutOfBoundsError")
    ),
    "entirely outside": Fault(
        (_box(z="500,501"), 404, "OutOfBoundsError"), (_query(z="500:501"), 400, "OutOfBoundsError")
    ),
    "an axis missing": Fault(
        ("/sd/open/em/npz/0/10,74/20,52/", 404, "PathSyntaxError"),
        (_query(x=""), 400, "InvalidArgumentError"),
    ),
    "fractions": Fault(
        (_box(x="10.5,74"), 404, "PathSyntaxError"),
        (_query(x="10.5:74"), 400, "InvalidArgumentError"),
    ),
    "a number of forty digits": Fault(
        (_box(x=f"0,{'9' * 40}"), 404, "PathSyntaxError"),
        (_query(x=f"0:{'9' * 40}"), 400, "InvalidArgumentError"),
    ),
    "reversed times": Fault(
        (_box() + "5,3/", 404, "OutOfBoundsError"), (_query(more="&t=5:3"), 400, "OutOfBoundsError")
    ),
    "more voxels than the limit": Fault(
        ("/sd/huge/em/npz/0/0,65536/0,8192/0,1/", 413, "PayloadTooLargeError"),
        (v1_cutout("huge", "em", "x=0:65536&y=0:8192&z=0:1"), 413, "PayloadTooLargeError"),
    ),
    "more voxels than the limit by times": Fault(
        (_box() + "0,1000000000/", 413, "PayloadTooLargeError"),
        (_query(more="&t=0:1000000000"), 413, "PayloadTooLargeError"),
    ),
    "everything of a huge volume": Fault(
        ("/sd/huge/em/hdf5/0/0,1048576/0,1048576/0,1024/", 413, "PayloadTooLargeError"),
        (v1_cutout("huge", "em", ""), 413, "PayloadTooLargeError"),
    ),
    "more voxels than the limit by channels": Fault(
        ("/sd/huge/em,em2/npz/0/0,16384/0,16384/0,1/", 413, "PayloadTooLargeError"),
        (v1_cutout("huge", "em2", "z=0:1"), 413, "PayloadTooLargeError"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_wrong_box_is_a_problem_and_nothing_is_written(server: Server, fault: Fault) -> None:
    legacy_body, v1_body = npz(np.ones((1, *SHAPE), "u1")), npy(np.ones(SHAPE, "u1"))
    with server.unchanged():
        for (path, status, error), body in ((fault.legacy, legacy_body), (fault.v1, v1_body)):
            assert_problem(server.get(path, "alice"), status, error)
            sent = server.post(path, "alice", data=body, content_type="application/x-npy")
            assert_problem(sent, status, error)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_more_voxels_than_the_limit_are_refused_before_anything_is_allocated(
    server: Server, method: str
) -> None:
    """The default limit is 2^28 voxels; these boxes would need 512 MiB and a petabyte."""
    paths = [
        fault[0]
        for name in ("more voxels than the limit", "everything of a huge volume")
        for fault in (FAULTS[name].legacy, FAULTS[name].v1)
    ]
    for path in paths:
        headers = {"Content-Type": "application/x-npy"}
        tracemalloc.start()
        answer = server.call(method, path, "alice", headers=headers)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        problem = assert_problem(answer, 413, "PayloadTooLargeError")
        assert problem["limit"] == 1 << 28
        assert peak < 1 << 20


def test_the_limit_counts_all_channels_and_times_and_may_be_reached(tmp_path: Path) -> None:
    with serving(tmp_path, max_cutout_voxels=2 * math.prod(SHAPE)) as server:
        assert server.read(f"/sd/open/em,em2/raw/{BOX}") == bytes(2 * math.prod(SHAPE))
        assert server.read(f"/sd/open/em/raw/{BOX}0,2/") == bytes(2 * math.prod(SHAPE))
        for path in (f"/sd/open/em,em2,em/raw/{BOX}", f"/sd/open/em/raw/{BOX}0,3/"):
            assert_problem(server.get(path, "alice"), 413, "PayloadTooLargeError")


@pytest.mark.parametrize(
    ("user", "legacy", "v1"),
    [
        (None, (403, "AuthenticationError"), (401, "AuthenticationError")),
        ("bob", (403, "PermissionDeniedError"), (403, "PermissionDeniedError")),
        ("admin", (404, "TokenNotFoundError"), (404, "TokenNotFoundError")),
    ],
)
@pytest.mark.parametrize("token", ["nope", "t" * 300, "t" * 3000, "tøken"])
def test_an_unknown_token_is_denied_and_only_superusers_hear_why(
    server: Server,
    token: str,
    user: str | None,
    legacy: tuple[int, str],
    v1: tuple[int, str],
) -> None:
    with server.unchanged():
        for path, (status, error) in (
            (f"/sd/{token}/em/npz/{BOX}", legacy),
            (v1_cutout(token, "em"), v1),
        ):
            assert_problem(server.get(path, user), status, error)
            sent = server.post(path, user, data=b"x", content_type="application/x-npy")
            assert_problem(sent, status, error)


def test_an_unknown_format_tells_which_are_known(server: Server) -> None:
    problem = assert_problem(
        server.get(v1_cutout("open", "em", "format=gif"), "alice"), 404, "UnknownNameError"
    )
    assert {"npy", "raw", "blosc", "hdf5", "npz"} <= set(problem["known"])


def test_a_misspelt_query_parameter_is_refused_instead_of_read_as_the_whole_axis(
    server: Server,
) -> None:
    for query in ("X=10:74", f"{QUERY}&reslution=1", f"{QUERY}&x=11:75"):
        path = v1_cutout("open", "em", query)
        with server.unchanged():
            assert_problem(server.get(path, "alice"), 400, "InvalidArgumentError")
            sent = server.post(path, "alice", data=b"", content_type="application/x-npy")
            assert_problem(sent, 400, "InvalidArgumentError")
