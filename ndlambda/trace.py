"""Spans: durations of parts of a request or a task, as log lines or on AWS X-Ray.

Off by default, when ``with span(...)`` costs at most a microsecond. A span belongs to the thread
that runs it; work on other threads has spans of its own.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, get_args

from ndlambda.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

Mode: TypeAlias = Literal["off", "log", "xray"]
_Span: TypeAlias = AbstractContextManager[object]

_log: Final = logging.getLogger("ndlambda.trace")
_NOTHING: Final = nullcontext()

_open: Callable[[str, dict[str, Any]], _Span] | None = None


def span(name: str, **annotations: object) -> _Span:
    """Return a context whose duration is recorded if tracing is on.

    Parameters
    ----------
    name
        The operation, such as ``object.get``.
    annotations
        Its subject; texts and numbers.
    """
    if _open is None:
        return _NOTHING
    return _open(name, annotations)


def configure(mode: str) -> None:
    """Set where the spans of this process go: ``off``, ``log`` or ``xray``.

    Raises
    ------
    InvalidArgumentError
        The mode is unknown, or aws-xray-sdk is not installed.
    """
    global _open  # noqa: PLW0603 - one switch per process, like logging's
    match mode:
        case "off":
            _open = None
        case "log":
            _open = _Logged
        case "xray":
            _open = _xray()
        case _:
            raise InvalidArgumentError(
                f"NDLAMBDA_TRACE={mode!r} is none of {', '.join(get_args(Mode))}.", setting="trace"
            )


class _Logged:
    """Logs one line at the end of a span, with milliseconds and the error that ended it, if any."""

    __slots__ = ("_fields", "_name", "_started")

    def __init__(self, name: str, annotations: dict[str, Any]) -> None:
        self._name = name
        self._fields = annotations

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: object, __: "TracebackType | None"
    ) -> None:
        ms = round((time.perf_counter() - self._started) * 1000, 3)
        error = {} if kind is None else {"error": kind.__name__}
        _log.info(
            self._name, extra={"fields": {"span": self._name, "ms": ms, **self._fields, **error}}
        )


def _xray() -> Callable[[str, dict[str, Any]], _Span]:
    try:
        from aws_xray_sdk.core import xray_recorder
    except ImportError as error:
        raise InvalidArgumentError(
            "NDLAMBDA_TRACE=xray needs aws-xray-sdk: pip install 'ndlambda[xray]'.", setting="trace"
        ) from error
    # Worker threads and hosts without a segment have no parent for a span: it is omitted, and the
    # SDK's warning for each span with it.
    xray_recorder.configure(context_missing="IGNORE_ERROR")
    logging.getLogger("aws_xray_sdk").setLevel(logging.ERROR)

    @contextmanager
    def open_span(name: str, annotations: dict[str, Any]) -> "Iterator[None]":
        with xray_recorder.in_subsegment(name) as subsegment:
            if subsegment is not None:
                for key, value in annotations.items():
                    subsegment.put_annotation(key, value)
            yield

    return open_span
