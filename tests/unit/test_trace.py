"""Spans are nothing by default, and lines or subsegments where they are asked for."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from ndlambda import trace
from ndlambda.errors import InvalidArgumentError
from ndlambda.trace import span
from tests.support.app import BOX, SHAPE, serving
from tests.support.bodies import noise, npz


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    yield
    trace.configure("off")


@pytest.fixture(scope="module")
def core() -> Iterator[Any]:
    found = pytest.importorskip("aws_xray_sdk.core")
    yield found
    found.xray_recorder.emitter._socket.close()  # which the SDK opens when it is imported


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    found = [record for record in caplog.records if record.name == "ndlambda.trace"]
    return [getattr(record, "fields", {}) for record in found]


def test_by_default_a_span_is_one_object_that_does_nothing(caplog):
    caplog.set_level(logging.INFO, "ndlambda.trace")
    first, second = span("object.get", key="a"), span("encode")
    assert first is second
    with first, second:
        pass
    assert lines(caplog) == []


def test_a_logged_span_has_its_duration_and_what_it_was_about(caplog):
    caplog.set_level(logging.INFO, "ndlambda.trace")
    trace.configure("log")
    with span("object.get", key="a/b"):
        pass
    with pytest.raises(KeyError), span("decode"):
        raise KeyError("x")
    first, second = lines(caplog)
    assert (first["span"], first["key"], "error" in first) == ("object.get", "a/b", False)
    assert isinstance(first["ms"], float)
    assert (second["span"], second["error"]) == ("decode", "KeyError")


def test_a_request_is_seen_from_end_to_end(tmp_path, caplog):
    caplog.set_level(logging.INFO, "ndlambda.trace")
    path = f"/sd/open/em/npz/{BOX}"
    with serving(tmp_path, trace="log") as server:
        for request, spans in [
            (
                lambda: server.write(path, npz(noise((1, *SHAPE)))),
                {"decode", "object.put", "table.read"},
            ),
            (lambda: server.read(path), {"encode", "object.get"}),
        ]:
            caplog.clear()
            request()
            assert {line["span"] for line in lines(caplog)} >= {"request", *spans}


def test_x_ray_gets_a_subsegment_with_its_annotations(core, monkeypatch):
    trace.configure("xray")
    recorder = core.xray_recorder
    monkeypatch.setattr(recorder.emitter, "send_entity", lambda entity: None)
    segment = recorder.begin_segment("test", sampling=1)
    try:
        with span("object.get", key="a/b", bytes=3):
            pass
        (made,) = segment.subsegments
    finally:
        recorder.end_segment()
    assert (made.name, made.annotations) == ("object.get", {"key": "a/b", "bytes": 3})


def test_x_ray_without_a_segment_does_no_harm(core, caplog):
    """Seen to fail at the SDK's own level of logging: it warned of every span."""
    trace.configure("xray")
    with span("object.get", key="a"):
        pass
    with pytest.raises(KeyError), span("object.get", key="a"):
        raise KeyError("x")
    assert caplog.records == []


def test_another_word_is_refused():
    with pytest.raises(InvalidArgumentError) as refusal:
        trace.configure("loud")
    assert refusal.value.details["setting"] == "trace"
