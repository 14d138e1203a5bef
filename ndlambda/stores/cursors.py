"""Cursors of query pages, as URL-safe text; used by both tables."""

import base64

from ndlambda.errors import InvalidArgumentError


def encode_cursor(sk: str) -> str:
    """Return the cursor of the sort key at which (disk) or after which (AWS) a page starts."""
    return base64.urlsafe_b64encode(sk.encode()).decode()


def decode_cursor(cursor: str) -> str:
    """Return the sort key of a cursor.

    Raises
    ------
    InvalidArgumentError
        The cursor was not made by ``encode_cursor``.
    """
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidArgumentError("The cursor is not one of ours.", cursor=cursor) from None
