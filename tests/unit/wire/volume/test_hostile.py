"""Bodies that lie, overflow or attack are refused, and cost little."""

import io
import os
import pickle
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc
import h5py
import numpy as np
import pytest

from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    MalformedBodyError,
    ShapeMismatchError,
)
from ndlambda.wire.volume import Dialect, Expected, get_format

SHAPE = (4, 30, 50)
WANTED = Expected(("em",), (np.dtype("u1"),), SHAPE)
VOLUME = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def decode(dialect: Dialect, name: str, body: bytes, wanted: Expected = WANTED) -> None:
    decoder = get_format(dialect, name).decode
    assert decoder is not None
    decoder(body, wanted)


def header(text: str, version: int = 1) -> bytes:
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode()


def declared(descr: str = "'|u1'", shape: str = "(1, 4, 30, 50)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


NPY_LIES = [
    pytest.param(header("[" * 3000), id="deep brackets"),
    pytest.param(header("a" * 60_000), id="a long header"),
    pytest.param(header("a" * 100, 2)[:8] + b"\xff\xff\xff\xff", id="4 GiB of header"),
    pytest.param(header(declared("'|O'")), id="objects"),
    pytest.param(header(declared("[('a', '<u1')]")), id="records"),
    pytest.param(header(declared("'|V1000000000'")), id="a gigabyte an element"),
    pytest.param(header(declared("'<u3'")), id="three bytes an element"),
    pytest.param(header(declared(shape=f"({10**19},)")), id="a huge edge"),
    pytest.param(header(declared(shape="(-1, 4, 30, 50)")), id="a negative edge"),
    pytest.param(header(declared(shape="(1 4, , 30)")), id="no numbers"),
    pytest.param(header(declared(shape="(,)")), id="only a comma"),
    pytest.param(header(declared(shape="()")), id="no axes"),
    pytest.param(header(declared(shape="(2000000, 2000000, 2000000, 9)")), id="a huge volume"),
    pytest.param(header(declared(), version=4), id="version 4"),
    pytest.param(header(declared()), id="no elements"),
    pytest.param(header(declared()) + bytes(6001), id="an element more"),
    pytest.param(b"\x93NUM", id="cut magic"),
    pytest.param(b"PK\x03\x04" + bytes(100), id="a zip archive"),
    pytest.param(b"", id="nothing"),
]


@pytest.mark.parametrize("lie", NPY_LIES)
def test_npy_headers_that_lie_are_refused(lie):
    with pytest.raises(InvalidArgumentError):
        decode("ndstore", "npz", zlib.compress(lie))
    with pytest.raises(InvalidArgumentError):
        decode("v1", "npy", lie.replace(b"(1, 4, 30, 50)", b"(4, 30, 50)"))


def test_a_pickle_in_an_npy_file_is_not_loaded(tmp_path):
    out = io.BytesIO()
    np.save(out, np.array([Runs(tmp_path / "evidence")], object), allow_pickle=True)
    with pytest.raises(MalformedBodyError):
        decode("ndstore", "npz", zlib.compress(out.getvalue()))
    with pytest.raises(MalformedBodyError):
        decode("v1", "npy", out.getvalue())
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize("body", [b"", b"x", bytes(100), zlib.compress(b"")], ids=repr)
@pytest.mark.parametrize("name", ["npz", "blosc", "hdf5"])
def test_other_bodies_are_malformed(name, body):
    with pytest.raises(MalformedBodyError):
        decode("ndstore", name, body)


def peak_of(call: Callable[[], None]) -> int:
    tracemalloc.start()
    with pytest.raises(InvalidArgumentError):
        call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    "start",
    [b"", header(declared()), header(declared(shape="(1, 16, 1000, 1000)"))],
    ids=["no header", "more than the header says", "a shape unlike the request"],
)
def test_a_zlib_bomb_is_not_inflated(start):
    bomb = zlib.compress(start + bytes(16_000_000))
    for dialect in ("ndstore", "v1"):
        assert peak_of(lambda dialect=dialect: decode(dialect, "npz", bomb)) < 1 << 20


def packed(pickled: bytes) -> bytes:
    frame: bytes = blosc.compress(pickled, typesize=1)
    return frame


class Runs:
    """Touches a file when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.evidence}",)


def test_a_command_in_a_blosc_body_is_not_run(tmp_path):
    """Seen to fail with ``blosc.unpack_array`` in the decoder: the file appears."""
    with pytest.raises(MalformedBodyError):
        decode("ndstore", "blosc", packed(pickle.dumps(Runs(tmp_path / "evidence"))))
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize(("array", "error"), [
    (VOLUME, ShapeMismatchError),
    (VOLUME[np.newaxis, ..., :49], ShapeMismatchError),
    (VOLUME[np.newaxis].view("i1"), DataTypeMismatchError),
    (np.empty((1, *SHAPE), object), MalformedBodyError),
    (np.zeros((1, 4, 30, 100), "u1"), InvalidArgumentError),
], ids=["no channel axis", "shape", "dtype", "objects", "size"])  # fmt: skip
def test_another_array_in_a_blosc_body_is_refused(array, error):
    with pytest.raises(error):
        decode("ndstore", "blosc", blosc.pack_array(array))


def test_a_pickle_of_a_huge_shape_with_few_bytes_is_refused():
    few = pickle.dumps(VOLUME[np.newaxis, :1], 3).replace(
        b"K\x01K\x01K\x1eK2", b"K\x01K\x04K\x1eK2"
    )
    with pytest.raises(MalformedBodyError, match="1500 bytes where its shape needs 6000"):
        decode("ndstore", "blosc", packed(few))


NBYTES, BLOCKSIZE, CBYTES = 4, 8, 12


@pytest.mark.parametrize(("offset", "value"), [
    (NBYTES, 0), (NBYTES, 1), (NBYTES, 2**31 - 1), (NBYTES, 2**32 - 1), (NBYTES, 6000 * 2 + 1025),
    (BLOCKSIZE, 0), (BLOCKSIZE, 2**31 - 1), (BLOCKSIZE, 2**32 - 1), (CBYTES, 0), (CBYTES, 16),
    (CBYTES, 2**31 - 1), (CBYTES, 2**32 - 1),
])  # fmt: skip
@pytest.mark.parametrize("source", [VOLUME, np.zeros_like(VOLUME)], ids=["noise", "zeros"])
def test_blosc_headers_that_lie_are_refused(offset, value, source):
    for dialect, body in (
        ("ndstore", blosc.pack_array(source[np.newaxis])),
        ("v1", blosc.compress(source.tobytes(), typesize=1)),
    ):
        lie = bytearray(body)
        struct.pack_into("<I", lie, offset, value)
        with pytest.raises(MalformedBodyError):
            decode(dialect, "blosc", bytes(lie))


def test_more_blocks_than_a_blosc_frame_has_room_for_are_refused():
    lie = bytearray(blosc.compress(bytes(6000), typesize=1))
    struct.pack_into("<I", lie, BLOCKSIZE, 1)
    with pytest.raises(MalformedBodyError, match="too short"):
        decode("v1", "blosc", bytes(lie))


def test_a_blosc_bomb_is_refused_by_its_header():
    bomb = blosc.compress(bytes(20_000_000), typesize=1)
    assert len(bomb) < 1_000_000
    assert peak_of(lambda: decode("ndstore", "blosc", bomb)) < 100_000
    assert peak_of(lambda: decode("v1", "blosc", bomb)) < 100_000


@pytest.mark.parametrize("dialect", ["ndstore", "v1"])
def test_truncated_and_damaged_blosc_bodies_are_refused(dialect):
    body = blosc.pack_array(VOLUME[np.newaxis] // 128, cname="zstd")
    for size in (0, 15, 16, 20, len(body) // 2, len(body) - 1):
        with pytest.raises(MalformedBodyError):
            decode(dialect, "blosc", body[:size])
    with pytest.raises(MalformedBodyError):
        decode(dialect, "blosc", body + b"x")
    with pytest.raises(MalformedBodyError):
        decode(dialect, "blosc", body[:24] + bytes(len(body) - 24))


def hdf5(write: Callable[[h5py.File], object]) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        write(file)
    return out.getvalue()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file on the server that would do as an answer if a link to it were followed."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["em/CUTOUT"] = VOLUME
    (tmp_path / "secret.raw").write_bytes(VOLUME.tobytes())
    return path


def test_hdf5_external_links_are_not_followed(secret):
    """Seen to fail with ``root[name]`` without the look at the link: the secret is read."""
    for link, target in (("em", "/em"), ("em/CUTOUT", "/em/CUTOUT")):
        body = hdf5(lambda f, a=link, b=target: f.__setitem__(a, h5py.ExternalLink(secret, b)))
        with pytest.raises(MalformedBodyError, match="ExternalLink"):
            decode("ndstore", "hdf5", body)


def test_hdf5_soft_links_are_not_followed():
    def write(file: h5py.File, link: str, target: str) -> None:
        file["elsewhere/CUTOUT"] = VOLUME
        file[link] = h5py.SoftLink(target)

    for link, target in (("em", "/elsewhere"), ("em/CUTOUT", "/elsewhere/CUTOUT"), ("em", "/em")):
        body = hdf5(lambda f, a=link, b=target: write(f, a, b))
        with pytest.raises(MalformedBodyError, match="SoftLink"):
            decode("ndstore", "hdf5", body)


@pytest.mark.parametrize("resizable", [False, True])
def test_hdf5_virtual_datasets_are_not_read(secret, resizable):
    layout = h5py.VirtualLayout(SHAPE, "u1", maxshape=(None, *SHAPE[1:]) if resizable else None)
    source = h5py.VirtualSource(secret, "em/CUTOUT", SHAPE, maxshape=layout.maxshape)
    if resizable:
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    else:
        layout[...] = source
    body = hdf5(lambda file: file.create_group("em").create_virtual_dataset("CUTOUT", layout))
    with pytest.raises(MalformedBodyError, match="virtual"):
        decode("ndstore", "hdf5", body)


def test_hdf5_external_storage_is_not_read(secret):
    raw = str(secret.with_suffix(".raw"))
    body = hdf5(lambda f: f.create_dataset("em/CUTOUT", SHAPE, "u1", external=[(raw, 0, 6000)]))
    with pytest.raises(MalformedBodyError, match="other files"):
        decode("ndstore", "hdf5", body)


def dataset(shape: tuple[int, ...] = SHAPE, dtype: Any = "u1", **options: Any) -> bytes:
    return hdf5(lambda file: file.create_dataset("em/CUTOUT", shape, dtype, **options))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(
            dataset((1 << 20,) * 3, chunks=(64, 64, 64), compression="gzip"),
            ShapeMismatchError,
            id="an exabyte declared",
        ),
        pytest.param(
            dataset(chunks=(1024, 1024, 1024), maxshape=(None,) * 3, compression="gzip"),
            MalformedBodyError,
            id="a gigabyte a chunk",
        ),
        pytest.param(
            dataset(chunks=(128, 128, 128), maxshape=(None,) * 3, compression="lzf"),
            MalformedBodyError,
            id="2 MiB a chunk of lzf",
        ),
        pytest.param(dataset(scaleoffset=0), MalformedBodyError, id="scaleoffset"),
        pytest.param(dataset(fillvalue=7), MalformedBodyError, id="a fill value"),
        pytest.param(dataset(()), ShapeMismatchError, id="a scalar"),
        pytest.param(dataset(dtype="i1"), DataTypeMismatchError, id="int8"),
        pytest.param(dataset(dtype="<f4"), DataTypeMismatchError, id="float32"),
        pytest.param(dataset(dtype="?"), DataTypeMismatchError, id="booleans"),
        pytest.param(dataset(dtype="u1,u1"), DataTypeMismatchError, id="records"),
        pytest.param(dataset(dtype="V1"), DataTypeMismatchError, id="opaque"),
        pytest.param(dataset(dtype=h5py.string_dtype()), DataTypeMismatchError, id="text"),
        pytest.param(dataset(dtype=h5py.vlen_dtype("u1")), DataTypeMismatchError, id="vlen"),
        pytest.param(dataset(dtype=h5py.ref_dtype), DataTypeMismatchError, id="references"),
        pytest.param(
            hdf5(lambda f: f.create_dataset("em/CUTOUT", data=h5py.Empty("u1"))),
            InvalidArgumentError,
            id="a null dataspace",
        ),
        pytest.param(hdf5(lambda f: None), MalformedBodyError, id="an empty file"),
        pytest.param(hdf5(lambda f: f.create_group("em")), MalformedBodyError, id="no CUTOUT"),
        pytest.param(
            hdf5(lambda f: f.create_group("em/CUTOUT")), MalformedBodyError, id="a group CUTOUT"
        ),
        pytest.param(
            hdf5(lambda f: f.create_dataset("em", data=VOLUME)), MalformedBodyError, id="no group"
        ),
        pytest.param(
            hdf5(lambda f: f.create_dataset("retina/CUTOUT", data=VOLUME)),
            MalformedBodyError,
            id="another channel",
        ),
        pytest.param(
            hdf5(lambda f: f.__setitem__("em/CUTOUT", np.dtype("u1"))),
            MalformedBodyError,
            id="a named type",
        ),
    ],
)
def test_other_hdf5_files_are_refused(body, error):
    with pytest.raises(error):
        decode("ndstore", "hdf5", body)


def with_chunk(stored: bytes, **options: Any) -> bytes:
    def write(file: h5py.File) -> None:
        made = file.create_dataset(
            "em/CUTOUT", SHAPE, "u1", chunks=SHAPE, compression="gzip", **options
        )
        made.id.write_direct_chunk((0, 0, 0), stored)

    return hdf5(write)


@pytest.mark.parametrize("stored", [
    pytest.param(zlib.compress(bytes(5999)), id="a byte fewer"),
    pytest.param(zlib.compress(bytes(6001)), id="a byte more"),
    pytest.param(zlib.compress(bytes(6000))[:-2], id="truncated"),
    pytest.param(b"no zlib stream", id="text"),
])  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"fletcher32": True}], ids=str)
def test_hdf5_chunks_of_another_size_are_refused(stored, options):
    with pytest.raises(MalformedBodyError):
        decode("ndstore", "hdf5", with_chunk(stored, **options))


def test_a_bomb_in_an_hdf5_chunk_is_not_inflated(monkeypatch):
    """HDF5's own gzip filter would grow its buffer up to the end of the stream."""

    def read_direct(*_arguments: object) -> None:
        pytest.fail("HDF5 was asked to inflate")

    monkeypatch.setattr(h5py.Dataset, "read_direct", read_direct)
    bomb = with_chunk(zlib.compress(bytes(20_000_000)))
    assert peak_of(lambda: decode("ndstore", "hdf5", bomb)) < 2 << 20


def test_too_many_chunks_are_refused():
    shape = (1, 300, 300)
    body = dataset(shape, chunks=(1, 1, 1), compression="gzip")
    with pytest.raises(MalformedBodyError, match="chunks"):
        decode("ndstore", "hdf5", body, Expected(("em",), (np.dtype("u1"),), shape))


def test_truncated_hdf5_files_are_refused():
    body = hdf5(lambda file: file.create_dataset("em/CUTOUT", data=VOLUME, compression="gzip"))
    for size in (7, 8, 100, len(body) // 2, len(body) - 1):
        with pytest.raises(MalformedBodyError):
            decode("ndstore", "hdf5", body[:size])
