"""JSON Schemas (draft 2020-12) of job configurations and manifests, for editors and programs.

They are generated from the key tables that read these documents. The readers have the last word:
they also refuse what no schema can say, such as an empty range.
"""

from collections.abc import Mapping
from typing import Any, Final

from ingest_queue.requests.job_config import CLIENT_JOB_KEYS, CLIENT_KEYS, DATABASES, JOB_KEYS
from ingest_queue.requests.manifest import MANIFEST_KEYS
from ingest_queue.requests.reading import REQUIRED, Keys
from ndlambda.model.readers import schema_of

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_DESCRIPTIONS: Final = {
    "extent": "Axes that are left out are whole",
    "on_bad": "How an unusable or missing slice is treated",
    "propagate": "Build the coarser resolutions when all is stored",
}
_JOB_DESCRIPTIONS: Final = _DESCRIPTIONS | {
    "id": "A repeated request with the same id creates one job",
    "token": "Opens the project",
    "channel": "To be filled",
}


def _object(
    keys: Keys,
    descriptions: Mapping[str, str] = _DESCRIPTIONS,
    nested: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the schema of an object.

    Parameters
    ----------
    nested
        Schemas of values whose own keys are known, by key.
    """
    properties = {}
    for name, (reader, default) in keys.items():
        found = (nested or {}).get(name) or schema_of(reader)
        if name in descriptions:
            found["description"] = descriptions[name]
        if default is not REQUIRED and default not in ("", {}):  # these mean that it is not given
            found["default"] = default
        properties[name] = found
    required = [name for name, (_, default) in keys.items() if default is REQUIRED]
    return {"type": "object", "properties": properties, "additionalProperties": False} | (
        {"required": required} if required else {}
    )


_CLIENT: Final = _object(
    CLIENT_KEYS,
    nested={
        "database": {"anyOf": [_object(keys) for keys in DATABASES]},
        "ingest_job": _object(CLIENT_JOB_KEYS),
    },
)

SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "job": {
        "$schema": _DRAFT,
        "title": "An ingest job: our own configuration, or that of the ingest-client",
        "oneOf": [_object(JOB_KEYS, _JOB_DESCRIPTIONS), _CLIENT],
    },
    "manifest": {
        "$schema": _DRAFT,
        "title": "_ingest.json: describes a folder of dropped slices",
    }
    | _object(MANIFEST_KEYS),
}
"""By the name of what they describe."""
