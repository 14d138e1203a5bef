"""Passes API Gateway proxy events to the WSGI application."""

from collections.abc import Callable
from functools import cache
from typing import Any

from apig_wsgi import make_lambda_handler

from ndlambda import runtime
from ndlambda.web.app import App

_Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@cache
def _wsgi_handler() -> _Handler:
    handler: _Handler = make_lambda_handler(
        App(runtime.current()),
        binary_support=True,
        non_binary_content_type_prefixes=(
            "text/",
            "application/json",
            "application/problem+json",
            "application/xml",
        ),
    )
    return handler


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one API Gateway event (payload version 1 or 2)."""
    return _wsgi_handler()(event, context)
