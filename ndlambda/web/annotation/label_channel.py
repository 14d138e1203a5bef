"""The beginning of every v1 route about annotations: which channel, which object, which box."""

import re
from collections.abc import Collection, Sequence
from typing import Final

from ndlambda.errors import InvalidArgumentError, NotFoundError, PathSyntaxError
from ndlambda.model.ramon import LARGEST_ID
from ndlambda.services.volume.region import Region
from ndlambda.web.annotation.channel import Opened, open_annotations
from ndlambda.web.request.params import region_of_query
from ndlambda.web.request.query import check_parameters
from ndlambda.web.routing import Context, QueryParameter

RULE: Final = "/v1/projects/<name:token>/channels/<name:channel>"

_RANGES: Final = frozenset("xyzt")


def open_labels(
    context: Context,
    token: str,
    channel: str,
    queries: Sequence[QueryParameter] = (),
    *,
    write: bool = False,
    prefixes: Collection[str] = (),
) -> Opened:
    """Return the channel that a path names, after all that can be refused without the body.

    Parameters
    ----------
    context, token, channel
        The request, and its path's words.
    queries, prefixes
        Parameters that the route knows; see ``check_parameters``.
    write
        Whether the route changes something.

    Raises
    ------
    AuthenticationError, PermissionDeniedError, NotFoundError, InvalidStateError
        See ``open_annotations``.
    InvalidArgumentError
        It is no annotation channel, or a parameter is unknown or doubled.
    """
    opened = open_annotations(context, token, channel, write=write)
    check_parameters(context.request, queries, prefixes)
    return opened


def read_region(context: Context, opened: Opened) -> Region:
    """Return the box that the query names, zero-based; axes left out are whole.

    Raises
    ------
    InvalidArgumentError, EmptyBoxError, OutOfBoundsError, ResolutionNotFoundError
        See ``region_of_query``; also for several time points.
    PayloadTooLargeError
        It is larger than one call reads.
    """
    region, _ = region_of_query(opened.dataset, opened.channel, context.request.args)
    if region.times[1] - region.times[0] != 1:
        raise InvalidArgumentError("Objects are looked at one time point at a time.")
    context.runtime.volume.check_size(region)
    return region


def find_region(context: Context, opened: Opened) -> Region | None:
    """Return the box that the query names, None where it has no range of one."""
    return None if _RANGES.isdisjoint(context.request.args) else read_region(context, opened)


def read_id(word: str) -> int:
    """Return the id that a word of a path spells.

    Raises
    ------
    PathSyntaxError
        It is no decimal number.
    NotFoundError
        No object can have it.
    """
    if not re.fullmatch(r"[0-9]{1,40}", word, re.ASCII):
        raise PathSyntaxError(f"The id of an object is a decimal number, not {word[:80]!r}.")
    number = int(word)
    if not 0 < number <= LARGEST_ID:
        raise NotFoundError(f"There is no object {number}.", id=number)
    return number
