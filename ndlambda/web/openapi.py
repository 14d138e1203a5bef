"""The OpenAPI 3.1 document, generated from the route table so that the two always agree."""

import re
from collections.abc import Sequence
from typing import Any

from ndlambda import __version__
from ndlambda.web.routing import Route

_ARGUMENT = re.compile(r"<(?:(?P<converter>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")


def openapi_document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of a route table."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _ARGUMENT.sub(lambda match: f"{{{match['name']}}}", route.rule)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ndlambda",
            "version": __version__,
            "description": "Brain images and their annotation. Paths under /sd are also reached "
            "with the prefixes /nd and /ocp and as /ca, as ndstore's clients send them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "'Token KEY' or 'Bearer KEY'",
                }
            },
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "instance"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "instance": {"type": "string"},
                    },
                }
            },
        },
        "security": [{}, {"key": []}],
    }


def _operation(route: Route, path: str) -> dict[str, Any]:
    parameters = [
        {"name": match["name"], "in": "path", "required": True, "schema": {"type": "string"}}
        for match in _ARGUMENT.finditer(route.rule)
    ]
    parameters += [
        {
            "name": query.name,
            "in": "query",
            "required": query.required,
            "description": query.description,
            "schema": {"type": "string"},
        }
        for query in route.query
    ]
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{path}").strip("_"),
        "summary": route.summary,
        "tags": [path.split("/")[1] or "server"],
        "parameters": parameters,
        "responses": {
            "2XX": {"description": "As the summary says."},
            "default": {
                "description": "What went wrong (RFC 9457).",
                "content": {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                },
            },
        },
    }
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "description": route.body,
            "content": {"*/*": {"schema": {}}},
        }
    return operation
