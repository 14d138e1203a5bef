"""Decoding holds no more memory than a format says that it does."""

import io
import pickle
import tracemalloc
from typing import Any

import blosc
import h5py
import numpy as np
import pytest

from ndlambda.wire.volume import ChannelData, Expected, VolumeFormat, formats

READABLE = [
    each
    for dialect in ("ndstore", "v1")
    for each in formats(dialect).values()
    if each.encode and each.decode
]
SLACK_BYTES = 1 << 20
NOISE = np.random.default_rng(0).integers(128, 256, (4, 1024, 1024), np.uint8)
"""4 MiB; as text each of its bytes is two."""


def held(entry: VolumeFormat, body: bytes, array: np.ndarray[Any, Any]) -> int:
    """Return the most memory that decoding held, beside the body."""
    assert entry.decode is not None
    wanted = Expected(("em",), (array.dtype,), array.shape)
    tracemalloc.start()
    try:
        (made,) = entry.decode(body, wanted)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(made, array)
    return peak


@pytest.mark.parametrize("entry", READABLE, ids=lambda entry: f"{entry.dialect}-{entry.name}")
@pytest.mark.parametrize("dtype", ["uint8", "uint32"])
def test_decoding_holds_what_it_says(entry, dtype):
    """The image that libhdf5 makes is not seen here; it is the second copy of the body."""
    assert entry.encode is not None
    array = NOISE.view(dtype)
    body = bytes(entry.encode([ChannelData("em", "image", dtype, array)]))
    said = entry.held_bytes(len(body), array.nbytes) - len(body)
    assert held(entry, body, array) <= said + SLACK_BYTES


def test_a_pickle_of_text_is_no_exception():
    """Python 3 writes bytes as UTF-8 in protocol 2; unpacked as a whole it held five times."""
    entry = formats("ndstore")["blosc"]
    body = blosc.compress(pickle.dumps(NOISE[None], 2), typesize=1, cname="lz4")
    said = entry.held_bytes(len(body), NOISE.nbytes) - len(body)
    assert held(entry, body, NOISE) <= said + SLACK_BYTES


def test_one_shuffled_chunk_of_hdf5_is_no_exception():
    """It is whole in memory, before and after the bytes are put in order, beside the voxels."""
    entry, array = formats("v1")["hdf5"], (NOISE & 1).view("uint32")
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        options: dict[str, Any] = {"chunks": array.shape, "compression": "gzip", "shuffle": True}
        root.create_group("em").create_dataset("CUTOUT", data=array, **options)
    body = file.getvalue()
    said = entry.held_bytes(len(body), array.nbytes) - len(body)
    assert held(entry, body, array) <= said + SLACK_BYTES
