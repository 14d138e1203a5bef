"""Pages of long lists: ``limit=`` and ``after=``, and ``next`` in the answer."""

import re
from collections.abc import Mapping
from typing import Final

from ndlambda.errors import InvalidArgumentError
from ndlambda.model.fields import LONGEST_NAME
from ndlambda.web.request.query import read_integer
from ndlambda.web.routing import QueryParameter

MAX_PAGE: Final = 1000
"""Entries of one answer, unless fewer are asked for."""

PAGE: Final = (
    QueryParameter("limit", f"entries of one answer; {MAX_PAGE} if left out, and at most"),
    QueryParameter("after", "where to begin: `next` of the answer before; the start if left out"),
)
NAME: Final = rf"[A-Za-z0-9_]{{1,{LONGEST_NAME}}}"
"""``after=`` of lists by name, as a regular expression."""


def read_limit(query: Mapping[str, str], *, default: int = MAX_PAGE) -> int:
    """Return ``limit=``.

    Raises
    ------
    InvalidArgumentError
        It is not from 1 to ``MAX_PAGE``.
    """
    limit = read_integer(query, "limit", default)
    if not 0 < limit <= MAX_PAGE:
        raise InvalidArgumentError(f"limit={limit} is not from 1 to {MAX_PAGE}.", parameter="limit")
    return limit


def read_after(query: Mapping[str, str], pattern: str = NAME) -> str:
    """Return ``after=``, which has the form of a regular expression; empty: from the start.

    Raises
    ------
    InvalidArgumentError
        It has another form.
    """
    after = query.get("after", "")
    if "after" in query and not re.fullmatch(pattern, after, re.ASCII):
        raise InvalidArgumentError(
            f"after={after[:80]!r} is no position; send `next` of the answer before.",
            parameter="after",
        )
    return after
