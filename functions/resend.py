"""The schedule: every minute, workers are called again to what nobody does."""

from collections.abc import Mapping
from typing import Any

from ndlambda import runtime


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, int]:  # noqa: ARG001
    """Call workers to jobs whose messages were lost; the answer says how many of each kind."""
    built = runtime.current()
    return {
        "erasures": built.erasure.resend_pending(),
        "propagations": built.propagation.resend_pending(),
        "waiting folders": built.drop.sweep(),
        "fetched ingests": built.fetcher.sweep(),
        "ingests": built.ingest.sweeper.sweep_all(),
    }
