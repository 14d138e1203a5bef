"""The JSON Schemas say what the readers say, as far as a schema can."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ingest_queue.requests import job_config
from ingest_queue.requests.job_config import JobConfig
from ingest_queue.requests.manifest import Manifest
from ingest_queue.requests.schemas import SCHEMAS
from ndlambda.errors import NDLambdaError
from tests.support.ingest_configs import client_config

_NUMBERS = st.integers(-1, 30) | st.just(2**62) | st.just(2**62 + 1) | st.just(0.5)
_ODD = st.none() | st.booleans() | _NUMBERS | st.just("x") | st.just([]) | st.just({})
_SPANS = st.lists(_NUMBERS, min_size=1, max_size=3) | st.sampled_from([[0, 9], [2, 400]])
_EXTENTS = st.dictionaries(st.sampled_from("xyztw"), _SPANS | _ODD, max_size=3)
_WHAT: dict[str, Any] = {
    "resolution": st.integers(0, 20) | _ODD,
    "extent": _EXTENTS | _ODD,
    "on_bad": st.sampled_from(["fail", "zero", "skip", "FAIL"]) | _ODD,
    "propagate": st.sampled_from([True, 0, 1, 2]) | _ODD,
}
_NAMES = st.sampled_from(["kasthuri", "", "x" * 255, "x" * 256]) | _ODD
_JOBS = st.fixed_dictionaries({"token": st.just("kasthuri"), "channel": _NAMES}, optional=_WHAT | {
    "id": st.sampled_from(["0123456789abcdef", "0123456789ABCDEF", "0"]) | _ODD,
    "mode": st.sampled_from(["slices", "chunks", "tiles"]) | _ODD,
    "of": _ODD,
})  # fmt: skip
_FIELDS = st.just({"ximagesize": 9}) | _ODD
_MANIFESTS = st.fixed_dictionaries(
    {}, optional=_WHAT | dict.fromkeys(("dataset", "project", "channel", "of"), _FIELDS)
)


def _accepted_by_schema(name: str, document: Any) -> bool:
    return Draft202012Validator(SCHEMAS[name]).is_valid(document)


def _refusal(document: Any, name: str) -> NDLambdaError | None:
    try:
        if name == "job":
            JobConfig.read(document)
        else:
            Manifest.read(json.dumps(document).encode())
    except NDLambdaError as error:
        return error
    return None


@pytest.mark.parametrize("name", SCHEMAS)
def test_they_are_schemas(name):
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=100)
@given(data=st.data())
def test_a_schema_refuses_only_what_is_refused_and_all_but_empty_ranges(name, data):
    """Seen to fail for a key, a bound or a value that only one of both knows."""
    document = data.draw(_JOBS if name == "job" else _MANIFESTS)
    error = _refusal(document, name)
    is_empty = error is not None and all(
        "must not be empty" in each["detail"] for each in error.details["errors"]
    )
    assert _accepted_by_schema(name, document) == (error is None or is_empty), error


@pytest.mark.parametrize("words", ["boss", "nd"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_configurations_of_the_ingest_client_are_accepted(version, words):
    document = client_config(version, words=words)
    assert _accepted_by_schema("job", document)
    for key in job_config.CLIENT_KEYS:
        broken = {name: value for name, value in document.items() if name != key}
        assert not _accepted_by_schema("job", broken)
        assert _refusal(broken, "job") is not None
