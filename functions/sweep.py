"""The daily schedule: the net under the watch chains, whose messages look after all open work."""

from collections.abc import Mapping
from typing import Any

from ndlambda import runtime


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, int]:
    """Look after the open work whose watch chains stand still; return how much of each kind.

    Raises
    ------
    ExceptionGroup
        The errors of some kinds, raised after all the others were handled.
    """
    counts: dict[str, int] = {}
    errors: list[Exception] = []
    for kind, sweep in runtime.current().sweeps().items():
        try:
            counts[kind] = sweep()
        except Exception as error:  # noqa: BLE001 - raised after the other kinds
            errors.append(error)
    if errors:
        raise ExceptionGroup("Some kinds of work could not be checked.", errors)
    return counts
