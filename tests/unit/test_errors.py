"""The error tree: drawn as it is, explained, and ready for JSON."""

import inspect
import json
import re

import pytest

from ndlambda import errors
from ndlambda.errors import NDLambdaError, UnknownNameError, ValidationError

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, NDLambdaError) and value.__module__ == errors.__name__
]


def drawn_parents() -> dict[str, str | None]:
    """Read class name -> parent name from the drawing, four columns a generation."""
    parents: dict[str, str | None] = {}
    ancestors: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│├└─ ]*)(\w+Error)", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        del ancestors[depth:]
        parents[match[2]] = ancestors[-1] if ancestors else None
        ancestors.append(match[2])
    return parents


def test_the_drawn_tree_is_the_real_one():
    real = {
        cls.__name__: None if cls is NDLambdaError else cls.__base__.__name__ for cls in CLASSES
    }
    assert drawn_parents() == real


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_class_has_one_parent_and_says_cause_and_remedy_itself(cls):
    assert len(cls.__bases__) == 1
    assert cls.__doc__
    assert cls.__doc__.rstrip().endswith(".")
    assert cls is NDLambdaError or cls.__doc__ != cls.__base__.__doc__


def test_an_error_carries_a_message_and_json_able_details():
    error = errors.OutOfBoundsError("The box leaves the volume.", limit=[1, 2, 3])
    assert str(error) == error.message == "The box leaves the volume."
    assert json.loads(json.dumps(error.details)) == {"limit": [1, 2, 3]}
    assert not error.retryable


def test_what_another_attempt_may_cure_is_marked():
    retryable = {cls.__name__ for cls in CLASSES if cls.retryable}
    assert retryable == {
        "WriteContentionError", "QuotaExceededError", "DeadlineExceededError", "UpstreamError",
        "StoreUnavailableError", "StoreFullError", "UpstreamThrottledError", "UpstreamTimeoutError",
        "RequestTimeoutError", "ServerBusyError",
    }  # fmt: skip


def test_an_unknown_name_lists_the_known_ones():
    error = UnknownNameError("format", "bmp", ["npz", "hdf5"])
    assert error.message == "Unknown format 'bmp'; known are hdf5, npz."
    assert error.details["known"] == ["hdf5", "npz"]


def test_a_refused_document_names_each_field():
    error = ValidationError({"ximagesize": "is missing", "public": "is not 0 or 1"})
    assert error.message == "Refused: ximagesize: is missing; public: is not 0 or 1."
    assert error.details["errors"] == [
        {"field": "ximagesize", "detail": "is missing"},
        {"field": "public", "detail": "is not 0 or 1"},
    ]
