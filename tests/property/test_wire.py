"""Laws of bodies: what is written is read back, and nothing but our errors comes of garbage."""

import io

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ndlambda.errors import InvalidArgumentError
from ndlambda.model.dtypes import DataType
from ndlambda.wire.codecs.inflate import deflate
from ndlambda.wire.codecs.safe_pickle import read_array
from ndlambda.wire.volume import ChannelData, Expected, formats

ENTRIES = [
    entry
    for dialect in ("ndstore", "v1")
    for entry in formats(dialect).values()
    if entry.encode and entry.decode
]

volumes = st.one_of(
    arrays.arrays(
        st.sampled_from([kind.numpy for kind in DataType]),
        arrays.array_shapes(min_dims=3, max_dims=4, max_side=9),
    )
)
either = pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.dialect}-{e.name}")


def promise(array):
    return Expected(("em",), (array.dtype,), array.shape)


def body_of(entry, array):
    assert entry.encode is not None
    return bytes(entry.encode([ChannelData("em", "image", array.dtype.name, array)]))


def decode_or_refuse(entry, body, wanted):
    """Decode; what is decoded must be as promised, and what is not must be refused by our error."""
    assert entry.decode is not None
    try:
        (found,) = entry.decode(body, wanted)
    except InvalidArgumentError:
        return
    assert (found.dtype, found.shape) == (wanted.dtypes[0], wanted.shape)


@either
@given(array=volumes)
def test_every_volume_comes_back_bit_for_bit(entry, array):
    assert entry.decode is not None
    (found,) = entry.decode(body_of(entry, array), promise(array))
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


@either
@given(body=st.binary(max_size=300))
@example(body=b"")
def test_garbage_is_refused(entry, body):
    decode_or_refuse(entry, body, Expected(("em",), (np.dtype("<u2"),), (2, 3, 4)))


@either
@given(
    array=volumes,
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.floats(0.5, 1),
)
def test_damaged_bodies_are_refused_or_hold_what_was_promised(entry, array, changes, keep):
    body = bytearray(body_of(entry, array))
    for place, value in changes:
        body[int(place * (len(body) - 1))] = value
    decode_or_refuse(entry, bytes(body), promise(array))
    decode_or_refuse(entry, bytes(body[: int(keep * len(body))]), promise(array))


@given(pickled=st.binary(max_size=200))
@example(pickled=b"\x80\x03" + b"(" * 100 + b"t" * 100)
def test_a_garbage_pickle_is_refused_or_describes_an_array(pickled):
    for start in (b"", b"\x80\x03", b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n"):
        try:
            found = read_array(start + pickled)
        except InvalidArgumentError:
            continue
        assert len(found.data) <= len(pickled)


@given(text=st.binary(max_size=120))
def test_a_garbage_npy_header_is_refused(text):
    body = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    wanted = Expected(("em",), (np.dtype("u1"),), (1, 1, 1))
    decode_or_refuse(formats("v1")["npy"], body, wanted)
    decode_or_refuse(formats("ndstore")["npz"], deflate(body), wanted)


@given(
    array=volumes,
    seed=st.integers(0, 2**32 - 1),
    options=st.fixed_dictionaries(
        {},
        optional={
            "compression": st.sampled_from(["gzip", "lzf"]),
            "shuffle": st.booleans(),
            "fletcher32": st.booleans(),
        },
    ),
)
def test_hdf5_files_of_any_allowed_storage_are_read(array, seed, options):
    random = np.random.default_rng(seed)
    chunks = tuple(int(random.integers(1, edge + 1)) for edge in array.shape)
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_dataset("em/CUTOUT", data=array, chunks=chunks, **options)
    decoder = formats("ndstore")["hdf5"].decode
    assert decoder is not None
    (found,) = decoder(out.getvalue(), promise(array))
    assert found.tobytes() == array.tobytes()
