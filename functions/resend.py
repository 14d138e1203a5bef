"""The schedule: every minute, workers are called again to what nobody does."""

from collections.abc import Mapping
from typing import Any

from ndlambda import runtime


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, int]:
    """Call workers to jobs whose messages were lost; the answer says how many of each kind.

    Raises
    ------
    ExceptionGroup
        What was wrong with some kinds, when all the others were looked after.
    """
    built = runtime.current()
    kinds = {
        "erasures": built.deletion.resend_pending,
        "propagations": built.propagation.resend_pending,
        "waiting folders": built.ingest.drop.sweep,
        "fetched ingests": built.ingest.fetcher.sweep,
        "ingests": built.ingest.jobs.sweeper.sweep_all,
    }
    counts: dict[str, int] = {}
    errors: list[Exception] = []
    for kind, resend in kinds.items():
        try:
            counts[kind] = resend()
        except Exception as error:  # noqa: BLE001 - raised when the other kinds were looked after
            errors.append(error)
    if errors:
        raise ExceptionGroup("Some kinds of jobs could not be looked after.", errors)
    return counts
