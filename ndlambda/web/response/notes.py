"""Says in a header what was stored differently than it was sent."""

from collections.abc import Mapping
from typing import Any, Final

NOTE: Final = "X-NDLambda-Note"
_ADJUSTED: Final = "propagate"


def notes_of(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of the answer to a creation: a note, or none.

    ndio creates channels "under propagation", which nothing propagates: they are stored as not
    propagated. It takes a body for a failure, so the note is in a header.
    """
    if sent.get(_ADJUSTED, stored.get(_ADJUSTED)) == stored.get(_ADJUSTED):
        return {}
    return {NOTE: f"{_ADJUSTED}={sent[_ADJUSTED]} is stored as {stored[_ADJUSTED]}"}
