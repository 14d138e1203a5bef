"""Decoding holds no more memory than a format says that it does."""

import io
import pickle
from typing import Any

import blosc
import h5py
import numpy as np
import pytest

from ndlambda.wire.volume import ChannelData, Expected, VolumeFormat, formats
from tests.support.memory import peak_bytes

READABLE = [
    each
    for dialect in ("ndstore", "v1")
    for each in formats(dialect).values()
    if each.encode and each.decode
]
SLACK_BYTES = 1 << 20
NOISE = np.random.default_rng(0).integers(128, 256, (4, 1024, 1024), np.uint8)
"""4 MiB; as text each of its bytes is two."""


def check_held(entry: VolumeFormat, body: bytes, array: np.ndarray[Any, Any]) -> None:
    """Check that decoding holds no more than it says."""
    wanted = Expected(("em",), (array.dtype,), array.shape)
    (made,), peak = peak_bytes(lambda: entry.decode(body, wanted))
    assert np.array_equal(made, array)
    assert peak <= entry.held_bytes(len(body), array.nbytes) - len(body) + SLACK_BYTES


@pytest.mark.parametrize("entry", READABLE, ids=lambda entry: f"{entry.dialect}-{entry.name}")
@pytest.mark.parametrize("dtype", ["uint8", "uint32"])
def test_decoding_holds_what_it_says(entry, dtype):
    """The image that libhdf5 makes is not seen here; it is the second copy of the body."""
    array = NOISE.view(dtype)
    body = bytes(entry.encode([ChannelData("em", "image", dtype, array)]))
    check_held(entry, body, array)


def test_a_pickle_of_text_is_no_exception():
    """Python 3 writes bytes as UTF-8 in protocol 2; unpacked as a whole it held five times."""
    body = blosc.compress(pickle.dumps(NOISE[None], 2), typesize=1, cname="lz4")
    check_held(formats("ndstore")["blosc"], body, NOISE)


def test_one_shuffled_chunk_of_hdf5_is_no_exception():
    """It is whole in memory, before and after the bytes are put in order, beside the voxels."""
    array, file = (NOISE & 1).view("uint32"), io.BytesIO()
    with h5py.File(file, "w") as root:
        options: dict[str, Any] = {"chunks": array.shape, "compression": "gzip", "shuffle": True}
        root.create_group("em").create_dataset("CUTOUT", data=array, **options)
    check_held(formats("v1")["hdf5"], file.getvalue(), array)
