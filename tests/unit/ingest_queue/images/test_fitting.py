import numpy as np
import pytest

from ingest_queue.images.fitting import fitted, may_fit
from ndlambda.errors import DataTypeMismatchError


@pytest.mark.parametrize(
    ("values", "found", "wanted"),
    [
        ([0, 2**31 - 1], "int32", "uint32"),
        ([0, 2**32 - 1], "int64", "uint32"),
        ([0, 2**63 - 1], "uint64", "int64"),
        ([-128, 127], "int16", "int8"),
        ([False, True], "bool", "uint8"),
        ([0.0, 255.0], "float32", "uint8"),
        ([0.1, np.nan, np.inf], "float64", "float32"),
    ],
)
def test_values_that_fit_stay_what_they_are(values, found, wanted):
    cast = fitted(np.array(values, found), np.dtype(wanted), "a")
    assert cast.dtype == wanted
    assert np.array_equal(cast, np.array(values, wanted), equal_nan=cast.dtype.kind == "f")


@pytest.mark.parametrize(
    ("value", "found", "wanted"),
    [
        (-1, "int32", "uint32"),
        (2**32, "int64", "uint32"),
        (2**63, "uint64", "int64"),
        (128, "int16", "int8"),
        (2.0**64, "float64", "uint64"),
        (0.5, "float32", "uint8"),
        (np.nan, "float32", "uint8"),
        (1e300, "float64", "float32"),
        (2**24 + 1, "int32", "float32"),
    ],
)
def test_a_value_that_would_change_is_named(value, found, wanted):
    voxels = np.array([1, value], found)
    with pytest.raises(DataTypeMismatchError, match=f"a has the value .*, which {wanted} cannot"):
        fitted(voxels, np.dtype(wanted), "a")


def test_integer_labels_may_fit_and_images_are_of_one_dtype():
    signed, unsigned, floating = map(np.dtype, ("int64", "uint32", "float32"))
    assert may_fit(signed, unsigned, labels=True)
    assert not may_fit(signed, unsigned, labels=False)
    assert not may_fit(floating, unsigned, labels=True)
    assert may_fit(floating, floating, labels=False)
