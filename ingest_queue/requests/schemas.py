"""JSON Schemas (draft 2020-12) of what people write: job configurations and manifests.

For editors, and for programs that write them. The readers of ``job_config`` and ``manifest`` have
the last word: they also refuse what no schema can say, such as a range that ends where it starts.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ingest_queue.jobs.job import Mode, Policy
from ndlambda.model.fields import LONGEST_NAME, MAX_LEVELS

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_LARGEST: Final = 2**62


def _object(
    properties: Mapping[str, Any], required: Iterable[str] = (), *, closed: bool = True
) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        found["required"] = list(required)
    if closed:
        found["additionalProperties"] = False
    return found


def _axes(value: Mapping[str, Any]) -> dict[str, Any]:
    return _object({axis: dict(value) for axis in "xyzt"})


_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": _LARGEST}
_SPAN: Final = {
    "description": "[start, stop): half open, in dataset coordinates of the resolution",
    "type": "array",
    "items": _COUNT,
    "minItems": 2,
    "maxItems": 2,
}
_NAME: Final = {"type": "string", "maxLength": LONGEST_NAME}
_FLAG: Final = {"enum": [True, False, 0, 1], "default": False}
_FIELDS: Final = {"type": "object"}
_SIZES: Final = _axes({"type": "integer", "minimum": 1, "maximum": _LARGEST})

_WHAT: Final = {
    "resolution": {"type": "integer", "minimum": 0, "maximum": MAX_LEVELS, "default": 0},
    "extent": _axes(_SPAN) | {"description": "Axes that are left out are whole"},
    "on_bad": {
        "description": "What becomes of a slice that is no use, or does not come",
        "enum": [policy.value for policy in Policy],
        "default": Policy.FAIL.value,
    },
    "propagate": _FLAG | {"description": "Build the coarser resolutions when all is stored"},
}

_OURS: Final = _object(
    {
        "id": {
            "description": "Sent twice with the same wishes, one job is made",
            "type": "string",
            "pattern": "^[0-9a-f]{16}$",
        },
        "token": _NAME | {"description": "Opens the project"},
        "channel": _NAME | {"description": "To be filled"},
        "mode": {"enum": [mode.value for mode in Mode], "default": Mode.SLICES.value},
        **_WHAT,
    },
    ("token", "channel"),
)

_DATABASES: Final = [
    _object(dict.fromkeys(words, _NAME), words)
    for words in (("dataset", "project", "channel"), ("collection", "experiment", "channel"))
]

_CLIENT: Final = _object(
    {
        "schema": _FIELDS,
        "client": _FIELDS,
        "database": {"anyOf": _DATABASES},
        "ingest_job": _object(
            {
                "ingest_type": {"enum": ["tile", "volumetric"], "default": "tile"},
                "resolution": _WHAT["resolution"],
                "extent": _WHAT["extent"],
                "tile_size": _SIZES,
                "chunk_size": _SIZES,
            }
        ),
    },
    ("schema", "client", "database", "ingest_job"),
)

SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "job": {
        "$schema": _DRAFT,
        "title": "An ingest job: our own configuration, or that of the ingest-client",
        "oneOf": [_OURS, _CLIENT],
    },
    "manifest": {
        "$schema": _DRAFT,
        "title": "_ingest.json: what a folder of dropped slices is",
    }
    | _object({"dataset": _FIELDS, "project": _FIELDS, "channel": _FIELDS, **_WHAT}),
}
"""By the name of what they describe."""
