"""Sends a large body: directly, or on Lambda by the object store and a redirect."""

import json
from contextlib import ExitStack

from werkzeug.wrappers import Response

from ndlambda.settings import LAMBDA_BODY_BYTES
from ndlambda.web.routing import Context
from ndlambda.wire.volume.contract import Body


def deliver(
    context: Context,
    body: Body,
    content_type: str,
    headers: dict[str, str],
    held: ExitStack,
) -> Response:
    """Return a response with a body, or a redirect to it if Lambda cannot carry it.

    Lambda's payload ends at 6 MB with the body in base64, so bodies over 4 MiB are stored under
    ``results/`` (expiring in a day) and answered by 303 to a URL that needs no key.

    Parameters
    ----------
    held
        Resources reserved for the body. They are released when the response is closed, because a
        slow client keeps the body in memory until then.
    """
    response = _answer(context, body, content_type, headers)
    response.call_on_close(held.pop_all().close)
    return response


def deliver_json(context: Context, value: object) -> Response:
    """Return a value as a JSON response that may exceed Lambda's limit."""
    body = json.dumps(value).encode()
    return deliver(context, body, "application/json", {}, ExitStack())


def _answer(context: Context, body: Body, content_type: str, headers: dict[str, str]) -> Response:
    if not context.runtime.settings.lambda_limits or len(body) <= LAMBDA_BODY_BYTES:
        response = Response(bytes(body), content_type=content_type, headers=headers)
        response.headers["Content-Length"] = str(len(body))
        return response
    results = context.runtime.results
    name = results.store(body)
    url = results.address(name)
    return Response(
        status=303,
        headers={
            **headers,
            "Location": url or f"/v1/results/{name}",
            "Cache-Control": "no-store",
        },
    )
