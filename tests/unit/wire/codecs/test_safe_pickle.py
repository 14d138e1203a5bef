import os
import pickle
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ndlambda.errors import MalformedBodyError
from ndlambda.model.dtypes import DataType
from ndlambda.wire.codecs import safe_pickle
from ndlambda.wire.codecs.safe_pickle import PickledArray, latin_1_of, read_array, wrap_array
from tests.support.memory import peak_bytes

VOLUME = np.arange(-30, 30).reshape(1, 3, 4, 5)

PYTHON_2 = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq"
    b"\x03(K\x01K\x01K\x01K\x04\x87cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ"
    b"\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x00\x7f\x80\xfftb."
)
"""``pickle.dumps(numpy.array([[[0, 127, 128, 255]]], 'u1'), 2)``, by hand as by Python 2.7."""


def rebuilt(pickled: PickledArray) -> NDArray[Any]:
    order = "F" if pickled.fortran else "C"
    return np.frombuffer(pickled.data, pickled.dtype).reshape(pickled.shape, order=order)


def as_numpy_1(pickled: bytes) -> bytes:
    """Rewrite the names in a pickle of numpy 2, with their lengths where they have them."""
    for module in ("multiarray", "numeric"):
        new, old = f"numpy._core.{module}".encode(), f"numpy.core.{module}".encode()
        pickled = pickled.replace(b"c" + new + b"\n", b"c" + old + b"\n")
        for head in (b"\x8c%c", b"X%c\x00\x00\x00"):
            pickled = pickled.replace(head % len(new) + new, head % len(old) + old)
    assert b"_core" not in pickled
    return pickled


LAYOUTS: tuple[tuple[Any, Any], ...] = (("C", "<"), ("F", ">"), ("C", ">"), ("F", "<"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_every_protocol_are_read(protocol):
    for number, kind in enumerate(DataType):
        order, byte_order = LAYOUTS[(number + protocol) % 4]
        array = np.asarray(VOLUME.astype(kind.numpy.newbyteorder(byte_order)), order=order)
        for pickled in (written := pickle.dumps(array, protocol), as_numpy_1(written)):
            found = read_array(pickled)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(rebuilt(found), array)
    large = np.arange(120_000, dtype="<u4").reshape(2, 30, 40, 50)[..., ::2]
    np.testing.assert_array_equal(rebuilt(read_array(pickle.dumps(large, protocol))), large)


def test_a_pickle_of_python_2_is_read():
    assert rebuilt(read_array(PYTHON_2)).tolist() == [[[0, 127, 128, 255]]]


@pytest.mark.parametrize("kind", DataType)
def test_what_is_written_is_loaded_by_pickle_itself(kind):
    array = VOLUME.astype(kind.numpy)
    before, after = wrap_array(array.dtype, array.shape, array.nbytes)
    pickled = before + array.tobytes() + after
    assert b"_core" not in pickled
    loaded = pickle.loads(pickled)
    assert loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)
    np.testing.assert_array_equal(rebuilt(read_array(pickled)), array)


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_is_not_run(tmp_path, protocol):
    """Seen to fail with ``pickle.loads`` in place of the interpreter: the file appears."""
    evidence = tmp_path / "evidence"
    with pytest.raises(MalformedBodyError):
        read_array(pickle.dumps(Runs(f"touch {evidence}"), protocol))
    assert not evidence.exists()


PREFIX = b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
DTYPE = b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87R"
FROMBUFFER = b"\x80\x03cnumpy.core.numeric\n_frombuffer\n"


@pytest.mark.parametrize("pickled", [
    pytest.param(b"", id="nothing"),
    pytest.param(b".", id="only a stop"),
    pytest.param(b"\x80\x03N.", id="None"),
    pytest.param(pickle.dumps(np.array([{}, []], object)), id="objects"),
    pytest.param(pickle.dumps(np.array(["a", "b"])), id="text"),
    pytest.param(pickle.dumps(np.zeros(2, "V100")), id="void"),
    pytest.param(pickle.dumps(np.zeros(2, "u1,f4")), id="records"),
    pytest.param(pickle.dumps(np.zeros(2, "M8[s]")), id="dates"),
    pytest.param(pickle.dumps(np.float32(1)), id="a numpy scalar"),
    pytest.param(pickle.dumps(np.ma.masked_array([1], [0])), id="a masked array"),
    pytest.param(pickle.dumps([np.zeros(3)]), id="a list with an array"),
    pytest.param(PREFIX + b".", id="an array without state"),
    pytest.param(PREFIX[:40], id="a cut name"),
    pytest.param(b"\x80\x03cnumpy\nndarray\n(M\xff\xffM\xff\xfft\x85R.", id="ndarray called"),
    pytest.param(b"\x80\x03cnumpy\nndarray\n.", id="a bare name"),
    pytest.param(PREFIX + b"(K\x01K\x05" + DTYPE + b"\x89C\x01xtb.", id="shape not a tuple"),
    pytest.param(PREFIX + b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"\x89C\x01xtb.", id="-1"),
    pytest.param(PREFIX + b"(K\x01\x88\x85" + DTYPE + b"\x89C\x01xtb.", id="a shape of True"),
    pytest.param(PREFIX + b"(K\x01K\x01\x85N\x89C\x01xtb.", id="no dtype"),
    pytest.param(PREFIX + b"(K\x01K\x01\x85" + DTYPE + b"\x89Ntb.", id="no contents"),
    pytest.param(PREFIX + b"(K\x02K\x01\x85" + DTYPE + b"\x89C\x01xtb.", id="state version"),
    pytest.param(PREFIX + b"}b.", id="a dictionary as state"),
    pytest.param(FROMBUFFER + b"C\x01x\x85R.", id="too few arguments"),
    pytest.param(FROMBUFFER + b"C\x01x" + DTYPE + b"K\x01\x85tR.", id="a tuple without a mark"),
    pytest.param(b"\x80\x03" + DTYPE + b"(K\x03X\x01\0\0\0!tb.", id="byte order"),
    pytest.param(b"\x80\x03cnumpy\ndtype\nX\x02\0\0\0O8\x89\x88\x87R.", id="dtype O8"),
    pytest.param(b"\x80\x03cnumpy\ndtype\nX\x02\0\0\0\xff\xff\x85R.", id="no UTF-8"),
    pytest.param(b"\x80\x03c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0hex\x86R.", id="hex codec"),
    pytest.param(b"\x80\x03c_codecs\ndecode\nX\x01\0\0\0aX\x03\0\0\0hex\x86R.", id="decode"),
    pytest.param(b"\x80\x03c" + b"a" * 100_000, id="a name without end"),
    pytest.param(b"\x80\x03\x8a\xff" + b"\xff" * 255 + b".", id="a long number"),
    pytest.param(b"\x80\x03h\x07.", id="an empty memo recalled"),
    pytest.param(b"\x80\x03q\x07.", id="an empty stack remembered"),
    pytest.param(b"\x80\x03" + b"N" * 5000 + b".", id="too many instructions"),
    pytest.param(b"\x80\x09N.", id="protocol 9"),
])  # fmt: skip
def test_other_pickles_are_refused(pickled):
    with pytest.raises(MalformedBodyError):
        read_array(pickled)


ENCODED = b"X\x80\x84\x1e\x00" + b"a" * 2_000_000


AGAIN = b"q\x01" + b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R" * 30
DECLARED = {
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 29) + b".",
    "bytes": b"\x80\x05\x8e" + struct.pack("<Q", 1 << 29) + b".",
    "text": b"\x80\x05\x8d" + struct.pack("<Q", (1 << 64) - 1) + b".",
    "frame": b"\x80\x05\x95" + struct.pack("<Q", 1 << 60) + b".",
    "memo index": b"\x80\x03Nr\xff\xff\xff\x01.",
    "empty dictionaries": b"\x80\x03" + b"}" * 1_000_000 + b".",
    "empty tuples": b"\x80\x03" + b")" * 1_000_000 + b".",
    "the same text encoded again and again": b"\x80\x03" + ENCODED + AGAIN + b".",
}


@pytest.mark.parametrize("pickled", DECLARED.values(), ids=DECLARED)
def test_nothing_of_a_declared_size_is_allocated(pickled):
    def refused() -> None:
        with pytest.raises(MalformedBodyError):
            read_array(pickled)

    assert peak_bytes(refused)[1] < 1 << 20


def test_a_huge_shape_is_only_reported():
    shape = b"(" + b"J\xff\xff\xff\x7f" * 4 + b"t"
    found = read_array(PREFIX + b"(K\x01" + shape + DTYPE + b"\x89C\x01xtb.")
    assert found.shape == (2**31 - 1,) * 4
    assert len(found.data) == 1


def test_contents_are_not_copied():
    pickled = memoryview(pickle.dumps(np.zeros(1000, "u1"), 5))
    assert read_array(pickled).data.obj is pickled.obj


@pytest.mark.parametrize("window", [1, 2, 3, 1 << 18])
def test_text_comes_back_as_the_bytes_it_stands_for(monkeypatch, window):
    """Windows may cut a character in two."""
    monkeypatch.setattr(safe_pickle, "_WINDOW", window)
    data = np.random.default_rng(window).integers(0, 256, 101, np.uint8).tobytes()
    for part in (data, b"", b"plain", bytes(range(128, 256))):
        made = latin_1_of(memoryview(part.decode("latin-1").encode()))
        assert (bytes(made), made.readonly) == (part, True)


@pytest.mark.parametrize("text", [b"ab\xc3", b"\x80", b"\xc3\xc3", "\u20ac".encode(), b"\xff\xfe"])
@pytest.mark.parametrize("window", [1, 1 << 18])
def test_what_is_no_such_text_is_refused(monkeypatch, window, text):
    monkeypatch.setattr(safe_pickle, "_WINDOW", window)
    with pytest.raises(UnicodeError):
        latin_1_of(memoryview(text))
