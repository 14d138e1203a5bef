"""Bodies of cutouts that attack: nothing is run, followed, believed, allocated or written."""

import os
import pickle
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blosc
import h5py
import numpy as np
import pytest

from tests.support import bodies
from tests.support.app import BOX, SHAPE, Server, assert_problem, serving
from tests.support.bodies import noise
from tests.support.uploads import ENCODERS, STACK, assert_refused, path_of, shape_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("bodies")) as server:
        server.write(f"/sd/open/em/npz/{BOX}", bodies.npz(noise(STACK)))
        yield server


def peak_of_refusal(server: Server, path: str, body: bytes, error: str) -> int:
    """Return the most memory that Python held beyond the body, in bytes."""
    with server.unchanged():
        tracemalloc.start()
        answer = server.post(path, "alice", data=body)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert_problem(answer, 404 if path.startswith("/sd/") else 400, error)
    return peak - 2 * len(body)


@pytest.mark.parametrize("family", ["sd", "v1"])
def test_a_zlib_bomb_is_not_inflated(server: Server, family: str) -> None:
    """Each would be 64 MiB; a good body is 8 KiB."""
    promised = bodies.npy(np.zeros(shape_of(family, "npz"), "u1"))
    declared = promised.replace(b"32, 64", b"32768, 512")
    bombs = {
        "no header": (b"", "MalformedBodyError"),
        "more than the header says": (promised[:128], "MalformedBodyError"),
        "as much as the header says": (declared[:128], "ShapeMismatchError"),
    }
    for header, error in bombs.values():
        compressor = zlib.compressobj(1)
        parts = [compressor.compress(header)]
        parts += [compressor.compress(bytes(1 << 24)) for _ in range(4)]
        bomb = b"".join([*parts, compressor.flush()])
        assert peak_of_refusal(server, path_of(family, "npz"), bomb, error) < 2 << 20


class Runs:
    """Touches a file when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.evidence}",)


@pytest.fixture
def evidence(tmp_path: Path) -> Iterator[Path]:
    """A file that only hostile code makes."""
    yield tmp_path / "evidence"
    assert not (tmp_path / "evidence").exists()


def test_the_evidence_appears_where_a_pickle_is_loaded(tmp_path: Path) -> None:
    """So that its absence below says something."""
    blosc.unpack_array(blosc.compress(pickle.dumps(Runs(tmp_path / "evidence")), typesize=1))
    assert (tmp_path / "evidence").exists()


@pytest.mark.parametrize(("family", "name"), [("sd", "npz"), ("v1", "npz"), ("v1", "npy")])
def test_a_pickle_in_an_npy_body_is_not_loaded(
    server: Server, evidence: Path, family: str, name: str
) -> None:
    body = ENCODERS[family, name](np.array([Runs(evidence)], object))
    assert_refused(server, path_of(family, name), body, "MalformedBodyError")


@pytest.mark.parametrize("name", ["blosc", "blaze"])
def test_a_hostile_pickle_in_a_blosc_body_is_not_loaded(
    server: Server, evidence: Path, name: str
) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for hostile in (Runs(evidence), [noise(STACK), Runs(evidence)]):
            body = blosc.compress(pickle.dumps(hostile, protocol), typesize=1)
            assert_refused(server, path_of("sd", name), body, "MalformedBodyError")
    objects = np.array([[Runs(evidence)]], object)
    body = blosc.compress(pickle.dumps(objects), typesize=1)
    assert_refused(server, path_of("sd", name), body, "MalformedBodyError")


@pytest.mark.parametrize("family", ["sd", "v1"])
@pytest.mark.parametrize("value", [0, 1, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("offset", [4, 8, 12], ids=["nbytes", "blocksize", "cbytes"])
def test_a_blosc_header_that_lies_is_refused_without_being_believed(
    server: Server, family: str, offset: int, value: int
) -> None:
    array = noise(shape_of(family, "blosc")) // 32 + 1
    body = bytearray(ENCODERS[family, "blosc"](array))
    struct.pack_into("<I", body, offset, value)
    peak = peak_of_refusal(server, path_of(family, "blosc"), bytes(body), "MalformedBodyError")
    assert peak < 2 << 20


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file on the server that holds just what the upload promises."""
    path = tmp_path / "secret.h5"
    path.write_bytes(bodies.hdf5({"em": noise(SHAPE, seed=9)}))
    path.with_suffix(".raw").write_bytes(noise(SHAPE, seed=9).tobytes())
    return path


@pytest.mark.parametrize("family", ["sd", "v1"])
@pytest.mark.parametrize("kind", ["group", "dataset", "storage", "virtual"])
def test_hdf5_does_not_reach_out_of_the_body(
    server: Server, secret: Path, family: str, kind: str
) -> None:
    def write(file: h5py.File) -> None:
        if kind == "group":
            file["em"] = h5py.ExternalLink(secret, "/em")
        elif kind == "dataset":
            file["em/CUTOUT"] = h5py.ExternalLink(secret, "/em/CUTOUT")
        elif kind == "storage":
            raw = (str(secret.with_suffix(".raw")), 0, 8192)
            file.create_dataset("em/CUTOUT", SHAPE, "u1", external=[raw])
        else:
            layout = h5py.VirtualLayout(SHAPE, "u1")
            layout[...] = h5py.VirtualSource(secret, "em/CUTOUT", SHAPE)
            file.create_group("em").create_virtual_dataset("CUTOUT", layout)

    body = bodies.hdf5_file(write)
    assert_refused(server, path_of(family, "hdf5"), body, "MalformedBodyError")


@pytest.mark.parametrize("family", ["sd", "v1"])
def test_an_hdf5_dataset_of_a_huge_declared_shape_is_not_allocated(
    server: Server, family: str
) -> None:
    options = {"chunks": (64, 64, 64), "compression": "gzip"}
    path = path_of(family, "hdf5")
    body = bodies.hdf5_file(
        lambda f: f.create_dataset("em/CUTOUT", (1 << 20,) * 3, "u1", **options)
    )
    assert peak_of_refusal(server, path, body, "ShapeMismatchError") < 2 << 20
    options |= {"chunks": (1024, 1024, 512), "maxshape": (None,) * 3}
    body = bodies.hdf5_file(lambda f: f.create_dataset("em/CUTOUT", SHAPE, "u1", **options))
    assert peak_of_refusal(server, path, body, "MalformedBodyError") < 2 << 20
