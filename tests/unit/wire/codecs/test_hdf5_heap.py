"""Strings of variable length in damaged HDF5 files."""

import struct
from io import BytesIO

import h5py
import pytest

from ndlambda.errors import MalformedBodyError
from ndlambda.wire.codecs.hdf5_heap import read_heap_text
from ndlambda.wire.codecs.hdf5_reader import find_text, open_bytes


def file_with(**texts: str) -> bytearray:
    out = BytesIO()
    with h5py.File(out, "w") as file:
        for name, text in texts.items():
            file.create_dataset(name, (1,), h5py.string_dtype(), [text])
    return bytearray(out.getvalue())


def find(body: bytes | bytearray, name: str) -> str | None:
    with open_bytes(bytes(body)) as root:
        return find_text(root, name, bytes(body))


def test_each_string_is_found():
    texts = {f"t{number}": "é" * (3 * number) for number in range(60)}
    body = file_with(**texts)
    assert {name: find(body, name) for name in texts} == texts
    assert find(body, "none") is None


def one_text(*given: object, kind: object = None, **options: object) -> bytes:
    out = BytesIO()
    with h5py.File(out, "w") as file:
        file.create_dataset("a", (1,), kind or h5py.string_dtype(), *given, **options)
    return out.getvalue()


@pytest.mark.parametrize(("body", "text"), [
    (one_text(), ""), (one_text(chunks=(1,)), ""), (one_text(["text"], chunks=(1,)), "text"),
], ids=["never written", "nor its chunk", "in a chunk"])  # fmt: skip
def test_a_string_that_was_never_written_is_empty_and_one_in_a_chunk_is_found(body, text):
    assert find(body, "a") == text


def test_a_fixed_string_of_gigabytes_is_refused_unread():
    with pytest.raises(MalformedBodyError):
        find(one_text(kind=h5py.string_dtype("utf-8", 1 << 30)), "a")


def test_a_heap_of_empty_objects_ends():
    """libhdf5 never comes back from such a heap: seen with the dataset read by h5py instead."""
    body = file_with(author="somebody")
    heap = body.index(b"GCOL")
    struct.pack_into("<HHIQ", body, heap + 16, 2, 0, 0, 0)
    with pytest.raises(MalformedBodyError):
        find(body, "author")


@pytest.mark.parametrize(
    "reference",
    [(9, 16, 1), (8, 16, 2), (8, 0, 1), (8, 2**64 - 1, 1), (2**32 - 1, 16, 1), (8, 50, 1)],
)
def test_references_that_lead_nowhere_are_refused(reference):
    heap = struct.pack("<4sB3xQ", b"GCOL", 1, 40) + struct.pack("<HHIQ", 1, 1, 0, 8) + b"somebody"
    good = struct.pack("<IQI", 8, 16, 1) + heap
    assert read_heap_text(good, 0) == b"somebody"
    with pytest.raises(MalformedBodyError):
        read_heap_text(struct.pack("<IQI", *reference) + heap, 0)
