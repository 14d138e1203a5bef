"""The bytes of extra labels."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndlambda.cuboids import extras
from ndlambda.cuboids.extras import decode_extras, encode_extras
from ndlambda.errors import CuboidDecodeError, PayloadTooLargeError
from ndlambda.voxels.extra_labels import ExtraLabels

VOXELS = 512

pairs = st.sets(
    st.tuples(st.integers(0, VOXELS - 1), st.sampled_from([1, 2, 2**32, 2**64 - 1])), max_size=60
)


def extra_of(chosen) -> ExtraLabels:
    chosen = list(chosen)
    return ExtraLabels.of(
        np.array([at for at, _ in chosen], np.int64),
        np.array([label for _, label in chosen], np.uint64),
    )


@given(pairs)
def test_extra_labels_are_read_back_and_have_one_encoding(chosen) -> None:
    data = encode_extras(extra_of(sorted(chosen)))
    assert data == encode_extras(extra_of(sorted(chosen, reverse=True)))
    found = decode_extras(memoryview(data), VOXELS)
    assert list(zip(found.at.tolist(), found.labels.tolist(), strict=True)) == sorted(chosen)
    assert found.at.dtype == np.int64
    assert found.labels.dtype == np.uint64


def test_no_extra_labels_are_no_bytes() -> None:
    assert encode_extras(ExtraLabels.none()) == b""
    assert len(decode_extras(memoryview(b""), VOXELS)) == 0


def test_the_bytes_are_frozen() -> None:
    """What is stored must stay readable."""
    data = encode_extras(extra_of([(5, 9), (6, 9), (7, 9), (9, 9), (6, 2**64 - 1)]))
    assert data == bytes.fromhex(
        "01000000 02000000 03000000 05000000 0900000000000000 ffffffffffffffff "
        "02000000 01000000 05000000 03000000 09000000 01000000 06000000 01000000"
    )


def test_an_overlap_of_two_objects_takes_few_bytes() -> None:
    block = np.zeros((64, 64, 64), np.bool_)
    block[10:30, 10:40, 10:50] = True
    at = np.flatnonzero(block)
    data = encode_extras(ExtraLabels.of(at, np.full(at.size, 7, np.uint64)))
    assert len(data) < at.size / 4


@given(pairs.filter(bool), st.data())
def test_damage_is_an_error_or_another_legal_set(chosen, data) -> None:
    """The header's checksum finds damage; this is about what a hostile writer could do."""
    stored = bytearray(encode_extras(extra_of(chosen)))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_extras(memoryview(stored), VOXELS)
    except CuboidDecodeError:
        return
    assert encode_extras(found) == bytes(stored)
    assert found.labels.all()
    assert (found.at < VOXELS).all()


@given(pairs.filter(bool), st.data())
def test_cut_or_lengthened_bytes_are_an_error(chosen, data) -> None:
    stored = encode_extras(extra_of(chosen))
    cut = data.draw(st.integers(1, len(stored) - 1))
    for damaged in (stored[:cut], stored + b"\0"):
        with pytest.raises(CuboidDecodeError):
            decode_extras(memoryview(damaged), VOXELS)


def section(labels, counts, runs, pair_count, version=1) -> memoryview:
    head = struct.pack("<B3xIII", version, len(labels), len(runs), pair_count)
    flat = [number for run in runs for number in run]
    return memoryview(
        head
        + np.array(labels, "<u8").tobytes()
        + np.array(counts, "<u4").tobytes()
        + np.array(flat, "<u4").tobytes()
    )


@pytest.mark.parametrize(
    ("labels", "counts", "runs", "pair_count"),
    [
        ([], [], [], 0),
        ([0], [1], [(0, 1)], 1),
        ([2, 1], [1, 1], [(0, 1), (0, 1)], 2),
        ([1, 1], [1, 1], [(0, 1), (5, 1)], 2),
        ([1], [2], [(0, 1)], 1),
        ([1, 2], [2, 0], [(0, 1), (5, 1)], 2),
        ([1, 2], [2**32 - 1, 3], [(0, 1), (5, 1)], 2),
        ([1], [1], [(0, 0)], 1),
        ([1], [1], [(VOXELS, 1)], 1),
        ([1], [1], [(VOXELS - 1, 2)], 2),
        ([1], [1], [(2**32 - 1, 2**32 - 1)], 2**22),
        ([1], [2], [(0, 2), (2, 1)], 3),
        ([1], [2], [(0, 2), (1, 2)], 4),
        ([1], [2], [(5, 1), (0, 1)], 2),
        ([1], [1], [(0, 2)], 3),
        ([1], [1], [(0, 2)], 2**32 - 1),
    ],
)
def test_what_no_writer_of_ours_makes_is_refused(labels, counts, runs, pair_count) -> None:
    with pytest.raises(CuboidDecodeError):
        decode_extras(section(labels, counts, runs, pair_count), VOXELS)


def test_another_version_is_refused() -> None:
    assert len(decode_extras(section([1], [1], [(0, 1)], 1), VOXELS)) == 1
    with pytest.raises(CuboidDecodeError, match="version"):
        decode_extras(section([1], [1], [(0, 1)], 1, version=2), VOXELS)


def test_more_than_the_most_pairs_are_not_read(monkeypatch) -> None:
    """Seen to fail without ``MAX_PAIRS`` in ``decode_extras``."""
    monkeypatch.setattr(extras, "MAX_PAIRS", 3)
    assert len(decode_extras(section([1], [1], [(0, 3)], 3), VOXELS)) == 3
    with pytest.raises(CuboidDecodeError, match="counts"):
        decode_extras(section([1], [1], [(0, 4)], 4), VOXELS)


def test_too_many_are_refused_before_they_are_stored(monkeypatch) -> None:
    monkeypatch.setattr(extras, "MAX_PAIRS", 3)
    assert encode_extras(extra_of([(n, 1) for n in range(3)]))
    with pytest.raises(PayloadTooLargeError):
        encode_extras(extra_of([(n, 1) for n in range(4)]))
