"""The WSGI application that the local server, Lambda and the tests call."""

import logging
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)
from werkzeug.routing import MapAdapter
from werkzeug.wrappers import Request, Response

from ndlambda.deadline import Deadline
from ndlambda.errors import (
    DeadlineExceededError,
    MalformedBodyError,
    MethodNotAllowedError,
    NDLambdaError,
    PayloadTooLargeError,
    RouteNotFoundError,
)
from ndlambda.model.principal import ANONYMOUS, Principal
from ndlambda.services.support.budget import MemoryAwaited
from ndlambda.trace import span
from ndlambda.web.auth import principal_of, refuse_foreign_page
from ndlambda.web.problem import Dialect, problem_document, problem_response
from ndlambda.web.request.address import check_address
from ndlambda.web.request.withheld import BodyNeeded, WithheldBody
from ndlambda.web.response.safety import add_safety
from ndlambda.web.routing import Context, Route, build_map, discover, normalise

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from ndlambda.runtime import Runtime

_log = logging.getLogger("ndlambda.web")

_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_STRAY_BODY_BYTES = 1 << 16
"""Longest body of a request to a route that reads none; some clients send one all the same."""
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_EXPOSED_HEADERS = (
    "X-NDLambda-Shape, X-NDLambda-Dtype, X-NDLambda-Corner, X-NDLambda-Skipped, "
    "X-NDLambda-Skipped-Count, X-NDLambda-Note, X-Request-Id, Content-Disposition, ETag"
)


class App:
    """Routes requests to views, turns errors into problem documents, and logs each request.

    Parameters
    ----------
    runtime
        The services that views use.
    routes
        The route table; by default all of ``ndlambda.web.routes``.
    """

    def __init__(self, runtime: "Runtime", routes: Sequence[Route] | None = None) -> None:
        self._runtime = runtime
        self.routes = tuple(discover("ndlambda.web.routes") if routes is None else routes)
        self._map = build_map(self.routes)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one WSGI request."""
        return self._respond(Request(environ))(environ, start_response)

    def judge(self, environ: "WSGIEnvironment") -> Response | int:
        """Answer a request by its head, or return how long its body may be.

        For hosts that receive a body only after this. The view runs up to the place where it needs
        the body, so it checks in the same order as ever; it must not have changed anything by then.
        """
        request = Request({**environ, "wsgi.input": WithheldBody(), "wsgi.input_terminated": True})
        try:
            with self._runtime.volume.budget.impatient():
                return self._respond(request)
        except (BodyNeeded, MemoryAwaited):
            return request.max_content_length or 0

    def _respond(self, request: Request) -> Response:
        started = time.perf_counter()
        request_id = _request_id(request)
        deadline = Deadline.after(self._runtime.settings.deadline_s)
        with (
            span("request", request_id=request_id, method=request.method, path=request.path),
            deadline.running(),
        ):
            principal, response = self._answer(request, request_id)
        response.headers["X-Request-Id"] = request_id
        add_safety(response.headers)
        if request.method in _SAFE_METHODS:
            response.headers["Access-Control-Allow-Origin"] = "*"
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
        _log.info(
            "%s %s %s",
            request.method,
            request.path,
            response.status_code,
            extra={
                "fields": {
                    "request_id": request_id,
                    "method": request.method,
                    "path": request.path,
                    "status": response.status_code,
                    "user": principal.name,
                    "bytes_in": request.content_length or 0,
                    "bytes_out": response.content_length or 0,
                    "ms": round((time.perf_counter() - started) * 1000, 1),
                }
            },
        )
        return response

    def _answer(self, request: Request, request_id: str) -> tuple[Principal, Response]:
        principal, dialect = ANONYMOUS, Dialect.V1
        try:
            check_address(request)
            path = normalise(request.path)
            adapter = self._map.bind("", path_info=path.rstrip("/") or "/")
            if request.method == "OPTIONS":
                return principal, self._options(adapter, path)
            route, arguments = self._match(adapter, request.method, path)
            dialect = route.dialect
            self._check_body(request, route)
            principal = principal_of(request, self._runtime.users, dialect)
            if principal.anonymous and route.may_change:
                refuse_foreign_page(request)
            context = Context(request, self._runtime, principal, request_id, path, self.routes)
            return principal, route.view(context, **arguments)
        except NDLambdaError as error:
            response = problem_response(error, request_id, dialect)
            if response.status_code >= 500:
                _log.exception("request failed", extra={"fields": {"request_id": request_id}})
            return principal, response
        except HTTPException as error:  # raised by werkzeug while it reads a malformed request
            return principal, problem_response(_as_own_error(error), request_id, dialect)
        except Exception:  # noqa: BLE001 - last resort: a 500 that exposes no internals
            _log.exception("unexpected error", extra={"fields": {"request_id": request_id}})
            return principal, problem_document(
                name="NDLambdaError",
                status=500,
                detail="The server failed; its log has the reason under this request id.",
                request_id=request_id,
            )

    def _match(self, adapter: MapAdapter, method: str, path: str) -> tuple[Route, dict[str, Any]]:
        try:
            route, arguments = adapter.match(method=method)
        except MethodNotAllowed as error:
            allowed = sorted(error.valid_methods or ())
            raise MethodNotAllowedError(
                f"{method} is not for this path, only {', '.join(allowed)}.", allow=allowed
            ) from error
        except NotFound as error:
            raise RouteNotFoundError(
                f"No route has the path {path!r}; /openapi.json lists all routes.", path=path
            ) from error
        return route, dict(arguments)

    def _options(self, adapter: MapAdapter, path: str) -> Response:
        allowed = sorted({*adapter.allowed_methods(), "OPTIONS"})
        if allowed == ["OPTIONS"]:
            raise RouteNotFoundError(f"No route has the path {path!r}.", path=path)
        return Response(
            status=204,
            headers={
                "Allow": ", ".join(allowed),
                "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
                "Access-Control-Allow-Headers": "Authorization",
                "Access-Control-Max-Age": "86400",
            },
        )

    def _check_body(self, request: Request, route: Route) -> None:
        settings = self._runtime.settings
        limit = settings.max_body_bytes if route.carries_uploads else settings.max_request_bytes
        if not route.body:
            limit = min(limit, _STRAY_BODY_BYTES)
        if (request.content_length or 0) > limit:
            raise PayloadTooLargeError(
                f"The body of {request.content_length} bytes is over the limit of {limit}; send "
                "smaller boxes, or upload it ahead (POST …/channels/CHANNEL/uploads).",
                limit=limit,
            )
        request.max_content_length = limit
        if not route.body and isinstance(request.environ["wsgi.input"], WithheldBody):
            raise BodyNeeded


def late_app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer a request whose time was up before the application had an answer (WSGI)."""
    request_id = _request_id(Request(environ))
    response = problem_response(DeadlineExceededError(), request_id)
    response.headers["X-Request-Id"] = request_id
    return response(environ, start_response)


def _as_own_error(error: HTTPException) -> NDLambdaError:
    if isinstance(error, RequestEntityTooLarge):  # a body without Content-Length
        return PayloadTooLargeError("The body is over the limit; send smaller boxes.")
    return MalformedBodyError(error.description or "The request cannot be read.")


def _request_id(request: Request) -> str:
    """Return the id that the client chose, if it is a short word, or else a new one."""
    chosen = request.headers.get("X-Request-Id", "")
    return chosen if _CLIENT_ID.fullmatch(chosen) else secrets.token_hex(8)
