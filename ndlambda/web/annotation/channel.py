"""What an annotation route works on: a channel with labels that the caller may use."""

from dataclasses import dataclass

from ndlambda.errors import ChannelNotFoundError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.labels.layer import check_annotation
from ndlambda.web.routing import Context


@dataclass(frozen=True, slots=True)
class Opened:
    """An annotation channel and the dataset that it lies in."""

    dataset: Dataset
    channel: Channel


def open_annotations(
    context: Context, token: str, channel: str | None, *, write: bool = False
) -> Opened:
    """Return the annotation channel that a path names, if the caller may read (or write) it.

    Parameters
    ----------
    context, token
        Who asks, by what.
    channel
        None means the project's default channel or, where that holds no labels, the annotation
        channel that was made first.
    write
        Whether it is to be changed: it must take writes now.

    Raises
    ------
    AuthenticationError, PermissionDeniedError, TokenNotFoundError
        See ``Access.open``.
    ChannelNotFoundError
        There is none of this name, or none at all.
    InvalidArgumentError
        The channel holds no labels.
    ReadOnlyChannelError, InvalidStateError
        It takes no writes now.
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


def _default_of(view: ProjectView) -> Channel:
    for channel in (view.default_channel(), *view.channels):
        if channel.is_annotation:
            return channel
    raise ChannelNotFoundError(f"Project {view.project.name!r} has no annotation channel.")
