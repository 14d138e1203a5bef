"""Opens the annotation channel of a request, and reads the object and the box that it names."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from ndlambda.errors import (
    ChannelNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    PathSyntaxError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.ramon import LARGEST_ID
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.labels.layer import check_annotation
from ndlambda.services.volume.region import Region
from ndlambda.web.request.params import region_of_query
from ndlambda.web.request.query import check_parameters
from ndlambda.web.routing import Context, QueryParameter

_RANGES: Final = frozenset("xyzt")


@dataclass(frozen=True, slots=True)
class Opened:
    """An annotation channel and its dataset."""

    dataset: Dataset
    channel: Channel


def open_annotations(
    context: Context, token: str, channel: str | None, *, write: bool = False
) -> Opened:
    """Return the annotation channel that a path names, if the caller may read (or write) it.

    Parameters
    ----------
    context, token
        The request and the token in its path.
    channel
        None means the project's default channel or, if that holds no labels, the project's oldest
        annotation channel.
    write
        Whether the channel will be changed; it must accept writes now.

    Raises
    ------
    AuthenticationError, PermissionDeniedError, TokenNotFoundError
        See ``Access.open``.
    ChannelNotFoundError
        The project has no channel of this name, or no annotation channel.
    InvalidArgumentError
        The channel holds no labels.
    ReadOnlyChannelError, InvalidStateError
        The channel accepts no writes now.
    """
    view = context.runtime.access.open(token, context.principal, write=write)
    if channel is None:
        chosen = _default_of(view)
    else:
        (chosen,) = view.channels_named([channel])
    check_annotation(chosen)
    if write:
        context.runtime.volume.check_writable(chosen)
    return Opened(view.dataset, chosen)


def open_labels(
    context: Context,
    token: str,
    channel: str,
    queries: Sequence[QueryParameter] = (),
    *,
    write: bool = False,
    prefixes: Collection[str] = (),
) -> Opened:
    """Return the annotation channel of a v1 route, after every check that needs no body.

    Parameters
    ----------
    context, token, channel
        The request, and the names in its path.
    queries, prefixes
        The parameters that the route accepts; see ``check_parameters``.
    write
        Whether the route changes something.

    Raises
    ------
    AuthenticationError, PermissionDeniedError, NotFoundError, InvalidStateError
        See ``open_annotations``.
    InvalidArgumentError
        The channel holds no labels, or a parameter is unknown or duplicated.
    """
    opened = open_annotations(context, token, channel, write=write)
    check_parameters(context.request, queries, prefixes)
    return opened


def read_region(context: Context, opened: Opened) -> Region:
    """Return the box that the query names, zero-based; an omitted axis is whole.

    Raises
    ------
    InvalidArgumentError, EmptyBoxError, OutOfBoundsError, ResolutionNotFoundError
        See ``region_of_query``; also for several time points.
    PayloadTooLargeError
        The box is larger than one call reads.
    """
    region, _ = region_of_query(opened.dataset, opened.channel, context.request.args)
    if region.times[1] - region.times[0] != 1:
        raise InvalidArgumentError("Objects are read one time point at a time.")
    context.runtime.volume.check_size(region, opened.channel)
    return region


def find_region(context: Context, opened: Opened) -> Region | None:
    """Return the box that the query names, or None if it has no range."""
    return None if _RANGES.isdisjoint(context.request.args) else read_region(context, opened)


def read_id(word: str) -> int:
    """Return the object id that a path segment spells.

    Raises
    ------
    PathSyntaxError
        It is not a decimal number.
    NotFoundError
        No object can have this id.
    """
    if not re.fullmatch(r"[0-9]{1,40}", word, re.ASCII):
        raise PathSyntaxError(f"The id of an object is a decimal number, not {word[:80]!r}.")
    number = int(word)
    if not 0 < number <= LARGEST_ID:
        raise NotFoundError(f"There is no object {number}.", id=number)
    return number


def _default_of(view: ProjectView) -> Channel:
    for channel in (view.default_channel(), *view.channels):
        if channel.is_annotation:
            return channel
    raise ChannelNotFoundError(f"Project {view.project.name!r} has no annotation channel.")
