"""The schedule: every minute, re-enqueue jobs that make no progress."""

from collections.abc import Mapping
from typing import Any

from ndlambda import runtime


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, int]:
    """Re-enqueue jobs whose messages were lost; return how many jobs of each kind were checked.

    Raises
    ------
    ExceptionGroup
        The errors of some kinds, raised after all the others were handled.
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
        except Exception as error:  # noqa: BLE001 - raised after the other kinds
            errors.append(error)
    if errors:
        raise ExceptionGroup("Some kinds of jobs could not be checked.", errors)
    return counts
