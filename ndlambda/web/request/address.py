"""Bounds of a request's address, which are checked before it is taken apart."""

from typing import Final

from werkzeug.wrappers import Request

from ndlambda.errors import PayloadTooLargeError

MAX_BYTES: Final = 1 << 18
MAX_PARAMETERS: Final = 1000


def check_address(request: Request) -> None:
    """Refuse a very long path or query, or very many parameters.

    Raises
    ------
    PayloadTooLargeError
        The address is longer than ``MAX_BYTES``, or has more than ``MAX_PARAMETERS``.
    """
    length = len(request.path) + len(request.query_string)
    if length > MAX_BYTES:
        raise PayloadTooLargeError(
            f"The address has {length} characters; at most {MAX_BYTES} are read. Ask in parts.",
            limit=MAX_BYTES,
        )
    count = request.query_string.count(b"&") + 1
    if count > MAX_PARAMETERS:
        raise PayloadTooLargeError(
            f"The query has {count} parameters; at most {MAX_PARAMETERS} are read.",
            limit=MAX_PARAMETERS,
        )
