"""Multiply labelled voxels as HDF5."""

from io import BytesIO

import h5py
import numpy as np
import pytest

from ndlambda.wire.ramon.hdf5_exceptions import encode_exceptions


def read(body: memoryview) -> h5py.Dataset:
    return h5py.File(BytesIO(body), "r")["exceptions"]


@pytest.mark.parametrize(
    ("largest", "dtype"), [(2**32 - 1, np.uint32), (2**32, np.uint64), (2**64 - 1, np.uint64)]
)
def test_rows_are_places_and_labels_as_narrow_as_clients_expect(largest, dtype):
    points = np.array([[1, 2, 3], [4, 5, 6]], np.int64)
    labels = np.array([[7, largest, 0], [0, 8, 9]], np.uint64)
    rows = read(encode_exceptions(points, labels))
    assert (rows.dtype, rows.compression) == (dtype, "gzip")
    assert rows[...].tolist() == [[1, 2, 3, 7, largest, 0], [4, 5, 6, 0, 8, 9]]


def test_places_that_do_not_fit_make_rows_wider():
    rows = read(encode_exceptions(np.array([[2**32, 0, 0]]), np.ones((1, 2), np.uint64)))
    assert rows[...].tolist() == [[2**32, 0, 0, 1, 1]]


def test_no_such_voxels_are_three_bytes():
    rows = read(encode_exceptions(np.empty((0, 3), np.int64), np.empty((0, 2), np.uint64)))
    assert (rows.shape, rows.dtype) == ((3,), np.uint8)
