"""Checks of what the ports accept, shared by the adapters."""

import errno
from collections.abc import Sequence
from typing import Final

from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError
from ndlambda.stores.ports import MAX_MESSAGE_BYTES, MAX_TRANSACTION, Action, Put

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: OSError) -> bool:
    """Return whether there is no room for a file."""
    return error.errno in _FULL


def check_bodies(bodies: Sequence[str]) -> None:
    """Check the length of messages.

    Raises
    ------
    PayloadTooLargeError
        A body is over ``MAX_MESSAGE_BYTES``.
    """
    longest = max((len(body.encode()) for body in bodies), default=0)
    if longest > MAX_MESSAGE_BYTES:
        raise PayloadTooLargeError(
            f"A message has {longest} bytes; the limit is {MAX_MESSAGE_BYTES}.",
            limit=MAX_MESSAGE_BYTES,
        )


def check_page_size(limit: int | None) -> None:
    """Check the ``limit`` of a query.

    Raises
    ------
    InvalidArgumentError
        It is not positive.
    """
    if limit is not None and limit < 1:
        raise InvalidArgumentError(f"The limit must be positive, not {limit}.", limit=limit)


def key_of(action: Action) -> tuple[str, str]:
    """Return the partition and sort key of an action's row."""
    if isinstance(action, Put):
        return action.row.pk, action.row.sk
    return action.pk, action.sk


def check_actions(actions: Sequence[Action]) -> None:
    """Check the actions of a transaction.

    Raises
    ------
    InvalidArgumentError
        There are more than ``MAX_TRANSACTION``, or two on one row.
    """
    if len(actions) > MAX_TRANSACTION:
        raise InvalidArgumentError(
            f"A transaction has at most {MAX_TRANSACTION} actions, not {len(actions)}.",
            limit=MAX_TRANSACTION,
        )
    if len({key_of(action) for action in actions}) < len(actions):
        raise InvalidArgumentError("Two actions of a transaction name the same row.")
