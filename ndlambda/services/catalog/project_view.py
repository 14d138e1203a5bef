"""The project that a token opens, with its dataset and channels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ndlambda.errors import ChannelNotFoundError
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.services.catalog import keys
from ndlambda.services.support.paging import Key, rows_in
from ndlambda.stores.ports import Row, Table

DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A token with its project, dataset and channels.

    Attributes
    ----------
    channels
        In the order of their creation.
    """

    token: Token
    project: Project
    dataset: Dataset
    channels: tuple[Channel, ...]

    def channel(self, name: str) -> Channel:
        """Return a channel.

        Raises
        ------
        ChannelNotFoundError
            The project has none of this name.
        """
        for channel in self.channels:
            if channel.name == name:
                return channel
        raise ChannelNotFoundError(
            f"Channel {name!r} does not exist in project {self.project.name!r}.", channel=name
        )

    def default_channel(self) -> Channel:
        """Return the channel that is used when none is named.

        It is the first created of those with ``default`` or, if none has it, the first.

        Raises
        ------
        ChannelNotFoundError
            The project has no channel.
        """
        for channel in self.channels:
            if channel.default:
                return channel
        if self.channels:
            return self.channels[0]
        raise ChannelNotFoundError(f"Project {self.project.name!r} has no channel.")

    def channels_named(self, names: Sequence[str]) -> tuple[Channel, ...]:
        """Return channels in the order of the names; ``default`` means the default one.

        Raises
        ------
        ChannelNotFoundError
            One of them does not exist.
        """
        own = {channel.name for channel in self.channels}
        return tuple(
            self.default_channel()
            if name == DEFAULT_NAME and name not in own
            else self.channel(name)
            for name in names
        )


def load_view(table: Table, token_name: str, known: ProjectView | None) -> ProjectView | None:
    """Read the view of a token, None if there is none or its project is being deleted.

    Parameters
    ----------
    known
        An earlier view, however old: with its dataset, two requests do; else it takes three.
    """
    wanted = [keys.token_key(token_name)]
    if known is not None:
        wanted.append(keys.dataset_key(known.dataset.name))
    early = table.batch_get(wanted)
    token_row = early.get(wanted[0])
    if token_row is None:
        return None
    return view_of(table, keys.to_token(token_row), early)


def view_of(
    table: Table, token: Token, early: Mapping[Key, Row] | None = None
) -> ProjectView | None:
    """Read the view that a token opens, None if its project is being deleted or does not exist.

    Parameters
    ----------
    early
        Rows that were read before, among them perhaps that of the dataset.
    """
    found = list(rows_in(table, *keys.project_and_channels(token.project)))
    if not found or found[-1].sk != "project" or keys.is_deleting(found[-1]):
        return None
    *channel_rows, project_row = found
    project = keys.to_project(project_row)
    # One read before its project may be a deleted dataset of the same name.
    dataset_row = (early or {}).get(keys.dataset_key(project.dataset))
    if dataset_row is None or not keys.is_of(project_row, dataset_row):
        dataset_row = table.get(*keys.dataset_key(project.dataset))
    if dataset_row is None or keys.is_deleting(dataset_row):
        return None
    channels = sorted(map(keys.to_channel, channel_rows), key=lambda channel: channel.id)
    return ProjectView(token, project, keys.to_dataset(dataset_row), tuple(channels))
