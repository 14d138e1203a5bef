"""The project that a token opens, with its dataset and channels.

The channels of a project that has few are read with it, by one query. Where they are many each is
read when it is asked for, and all of them only for what lists them or looks for a default.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, overload

from ndlambda.errors import ChannelNotFoundError
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.fields import is_name
from ndlambda.services.catalog import keys
from ndlambda.services.support.paging import Key, rows_in
from ndlambda.stores.ports import Row, Table

DEFAULT_NAME = "default"

FEW: Final = 100
"""Channels that are read with their project."""


class ManyChannels(Sequence[Channel]):
    """The channels of a project, in the order of their creation, read when they are asked for.

    One that was found stays as it was then. None is found once the project is deleted, even if
    there is another project of its name, which people may see who may not see this one.

    Parameters
    ----------
    table, project_row
        Where the rows are, and that of the project.
    """

    def __init__(self, table: Table, project_row: Row) -> None:
        self._table = table
        self._project = keys.to_project(project_row).name
        self._uid = keys.uid_of(project_row)
        self._known: dict[str, Channel] = {}

    def find(self, name: str) -> Channel | None:
        """Return a channel, None if there is none; one request for one that is not known yet."""
        if name not in self._known and is_name(name):
            project = keys.project_key(self._project)
            channel = keys.channel_key(self._project, name)
            rows = self._table.batch_get([project, channel])
            if channel in rows and self._is_same(rows.get(project)):
                self._known[name] = keys.to_channel(rows[channel])
        return self._known.get(name)

    def some(self, limit: int) -> Sequence[Channel]:
        """Return up to ``limit`` channels, the first by name; one request."""
        pk, first, last = keys.project_and_channels(self._project)
        rows = self._table.query(pk, first=first, last=last, limit=limit).rows
        return _in_order(row for row in rows if row.sk != last)

    @cached_property
    def _all(self) -> tuple[Channel, ...]:
        rows = list(rows_in(self._table, *keys.project_and_channels(self._project)))
        return _in_order(rows[:-1]) if rows and self._is_same(rows[-1]) else ()

    def _is_same(self, row: Row | None) -> bool:
        return (
            row is not None
            and row.sk == keys.project_key(self._project)[1]
            and not keys.is_deleting(row)
            and keys.uid_of(row) == self._uid
        )

    @overload
    def __getitem__(self, index: int) -> Channel: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Channel, ...]: ...

    def __getitem__(self, index: int | slice) -> Channel | tuple[Channel, ...]:
        """Return one of all channels, or some."""
        return self._all[index]

    def __len__(self) -> int:
        """Return the number of all channels."""
        return len(self._all)


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
    channels: Sequence[Channel]

    def find_channel(self, name: str) -> Channel | None:
        """Return a channel, None if there is none."""
        if isinstance(self.channels, ManyChannels):
            return self.channels.find(name)
        return next((channel for channel in self.channels if channel.name == name), None)

    def some_channels(self, limit: int) -> Sequence[Channel]:
        """Return up to ``limit`` channels, by a bounded number of requests."""
        if isinstance(self.channels, ManyChannels):
            return self.channels.some(limit)
        return self.channels[:limit]

    def channel(self, name: str) -> Channel:
        """Return a channel.

        Raises
        ------
        ChannelNotFoundError
            The project has none of this name.
        """
        channel = self.find_channel(name)
        if channel is None:
            raise ChannelNotFoundError(
                f"Channel {name!r} does not exist in project {self.project.name!r}.", channel=name
            )
        return channel

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
        return tuple(
            self.default_channel()
            if name == DEFAULT_NAME and self.find_channel(name) is None
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
    pk, first, last = keys.project_and_channels(token.project)
    page = table.query(pk, first=first, last=last, limit=FEW + 1)
    channels: Sequence[Channel]
    if page.cursor is None:
        project_row = page.rows[-1] if page.rows and page.rows[-1].sk == last else None
        channels = _in_order(page.rows[:-1])
    else:
        project_row = table.get(*keys.project_key(token.project))
        channels = () if project_row is None else ManyChannels(table, project_row)
    if project_row is None or keys.is_deleting(project_row):
        return None
    project = keys.to_project(project_row)
    # One read before its project may be a deleted dataset of the same name.
    dataset_row = (early or {}).get(keys.dataset_key(project.dataset))
    if dataset_row is None or not keys.is_of(project_row, dataset_row):
        dataset_row = table.get(*keys.dataset_key(project.dataset))
    if dataset_row is None or keys.is_deleting(dataset_row):
        return None
    return ProjectView(token, project, keys.to_dataset(dataset_row), channels)


def _in_order(rows: Iterable[Row]) -> tuple[Channel, ...]:
    return tuple(sorted(map(keys.to_channel, rows), key=lambda channel: channel.id))
