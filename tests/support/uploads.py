"""Uploads of one box in every format of both dialects, good and refused."""

from collections.abc import Callable

import blosc
import numpy as np

from tests.support import bodies
from tests.support.app import BOX, SHAPE, Server, assert_problem, v1_cutout
from tests.support.bodies import Array, noise

Encode = Callable[[Array], bytes]
STACK = (1, *SHAPE)


def _blosc_plain(array: Array) -> bytes:
    body: bytes = blosc.compress(array.tobytes(), typesize=array.itemsize)
    return body


def _hdf5_of_em(array: Array) -> bytes:
    return bodies.hdf5({"em": array})


ENCODERS: dict[tuple[str, str], Encode] = {
    ("sd", "npz"): bodies.npz, ("sd", "blosc"): bodies.packed, ("sd", "blaze"): bodies.packed,
    ("sd", "hdf5"): _hdf5_of_em, ("v1", "npy"): bodies.npy, ("v1", "npz"): bodies.npz,
    ("v1", "raw"): np.ndarray.tobytes, ("v1", "blosc"): _blosc_plain, ("v1", "hdf5"): _hdf5_of_em,
}  # fmt: skip


def shape_of(family: str, name: str) -> tuple[int, ...]:
    """Return the shape of a good array: only ndstore's stacked formats have a channel axis."""
    return SHAPE if family == "v1" or name == "hdf5" else STACK


def good(family: str, name: str) -> bytes:
    """Return a body that is taken."""
    return ENCODERS[family, name](noise(shape_of(family, name)))


def path_of(family: str, name: str, channel: str = "em") -> str:
    """Return where a body in a format goes."""
    if family == "sd":
        return f"/sd/open/{channel}/{name}/{BOX}"
    return v1_cutout("open", channel) + f"&format={name}"


def assert_refused(server: Server, path: str, body: bytes, error: str) -> None:
    """Make sure that a body is answered by a problem and writes nothing."""
    with server.unchanged():
        answer = server.post(path, "alice", data=body)
        assert_problem(answer, 404 if path.startswith("/sd/") else 400, error)
