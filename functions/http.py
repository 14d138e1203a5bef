"""Passes API Gateway proxy events to the WSGI application."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

from apig_wsgi import make_lambda_handler

from functions.remaining import remaining_s
from ndlambda import runtime
from ndlambda.deadline import Deadline, finish_in_time
from ndlambda.errors import DeadlineExceededError
from ndlambda.web.app import App, late_app

_GATEWAY_S: Final = 28.0
"""API Gateway waits for 29 s."""
_MARGIN_S: Final = 1.0

_Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def _as_handler(app: Any) -> _Handler:
    handler: _Handler = make_lambda_handler(
        app,
        binary_support=True,
        non_binary_content_type_prefixes=(
            "text/",
            "application/json",
            "application/problem+json",
            "application/xml",
        ),
    )
    return handler


@cache
def _wsgi_handler() -> _Handler:
    return _as_handler(App(runtime.current()))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one API Gateway event (payload version 1 or 2) while the gateway still waits."""
    seconds = min(_GATEWAY_S, remaining_s(context, margin_s=_MARGIN_S, otherwise_s=_GATEWAY_S))
    with Deadline.after(seconds).running():
        try:
            return finish_in_time(partial(_wsgi_handler(), event, context))
        except DeadlineExceededError:
            return _as_handler(late_app)(event, context)
