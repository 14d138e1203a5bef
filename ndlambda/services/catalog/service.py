"""The catalogue: datasets, projects, channels and tokens, made, found, changed and deleted.

It knows no permissions; those are ``access``.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ndlambda.errors import (
    InvalidArgumentError,
    InvalidStateError,
    PreconditionFailedError,
    ProjectNotFoundError,
    TokenNotFoundError,
    ValidationError,
    WriteContentionError,
)
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.fields import LONGEST_NAME
from ndlambda.services.catalog import keys as rows
from ndlambda.services.catalog.cascade import Cascade
from ndlambda.services.catalog.create_once import CreateOnce, unchanged
from ndlambda.services.catalog.lists import Lists
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.support.cache import TimedCache
from ndlambda.services.support.retry import optimistic
from ndlambda.stores.ports import Action, Put, Row, Table

CHANGEABLE = frozenset(
    {
        "description",
        "propagate",
        "readonly",
        "exceptions",
        "starttime",
        "endtime",
        "startwindow",
        "endwindow",
        "default",
        "header",
    }
)
"""Attributes of a channel that ``update_channel`` takes; voxels depend on the others."""

_VIEWS = 1024


def _new_uid() -> str:
    return secrets.token_hex(8)


class Catalog:
    """What is stored here, by name.

    Parameters
    ----------
    table
        Where the rows are (``services/rows.py`` says which).
    cascade
        Deletes, and leaves jobs for the voxels.
    clock
        Unix seconds.
    cache_s
        How long what a token opens, and the lists, may be remembered. Changes made through this
        object are seen by it at once, those of other processes after at most this time.
    new_uid
        Gives texts that never repeat.
    """

    def __init__(
        self,
        table: Table,
        cascade: Cascade,
        *,
        clock: Callable[[], float] = time.time,
        cache_s: float = 5.0,
        new_uid: Callable[[], str] = _new_uid,
    ) -> None:
        self._table = table
        self._find = CatalogRows(table)
        self._cascade = cascade
        self._new_uid = new_uid
        self._views: TimedCache[str, ProjectView | None] = TimedCache(cache_s, _VIEWS, clock)
        self._lists = Lists(table, cache_s=cache_s, clock=clock)

    @property
    def lists(self) -> Lists:
        """The lists of what is there."""
        return self._lists

    # datasets

    def create_dataset(self, dataset: Dataset) -> Dataset:
        """Store a dataset. One that is there and equal in all fields is success, too.

        Raises
        ------
        AlreadyExistsError
            The name is taken by another dataset, or by another owner's.
        InvalidStateError
            One of this name is still being deleted.
        """

        def plan() -> tuple[list[Action], Dataset]:
            listed = rows.Listed.of(dataset).row((rows.DATASETS, dataset.name))
            row = rows.dataset_row(dataset, self._new_uid())
            return [Put(row, "absent"), Put(listed)], dataset

        key = rows.dataset_key(dataset.name)
        with self._changing():
            return CreateOnce(key, dataset, rows.to_dataset, list, plan).carry_out(self._table)

    def get_dataset(self, name: str, *, even_deleting: bool = False) -> Dataset:
        """Return a dataset.

        Raises
        ------
        DatasetNotFoundError
            There is none, or it is being deleted (unless that is asked for).
        """
        return rows.to_dataset(self._find.dataset(name, even_deleting=even_deleting))

    def delete_dataset(self, name: str) -> None:
        """Delete a dataset with its projects, their tokens, channels and voxels.

        Repeated after a failure it completes what was begun.

        Raises
        ------
        DatasetNotFoundError
            There is none.
        """
        with self._changing():
            self._cascade.delete_dataset(name)

    # projects

    def create_project(self, project: Project) -> Project:
        """Store a project; as ``create_dataset``. Names are unique over all datasets.

        Raises
        ------
        DatasetNotFoundError
            The dataset does not exist or is being deleted.
        AlreadyExistsError, InvalidStateError
            As for datasets.
        """

        def guards() -> list[Action]:
            return [unchanged(self._find.dataset(project.dataset))]

        def plan() -> tuple[list[Action], Project]:
            listed_key = rows.project_of_dataset_key(project.dataset, project.name)
            listed = rows.Listed.of(project).row(listed_key)
            row = rows.project_row(project, self._new_uid())
            return [Put(row, "absent"), Put(listed)], project

        key = rows.project_key(project.name)
        with self._changing():
            return CreateOnce(key, project, rows.to_project, guards, plan).carry_out(self._table)

    def get_project(self, name: str, *, even_deleting: bool = False) -> Project:
        """Return a project.

        Raises
        ------
        ProjectNotFoundError
            There is none, or it or its dataset is being deleted (unless that is asked for).
        """
        return rows.to_project(self._find.project(name, even_deleting=even_deleting)[0])

    def delete_project(self, name: str) -> None:
        """Delete a project with its tokens, channels and voxels; as ``delete_dataset``.

        Raises
        ------
        ProjectNotFoundError
            There is none.
        """
        with self._changing():
            self._cascade.delete_project(name)

    # tokens

    def create_token(self, token: Token) -> Token:
        """Store a token; as ``create_dataset``. Names are unique over the whole server.

        Raises
        ------
        ProjectNotFoundError
            The project does not exist or is being deleted.
        AlreadyExistsError
            As for datasets.
        """

        def guards() -> list[Action]:
            return [unchanged(self._find.project(token.project)[0])]

        def plan() -> tuple[list[Action], Token]:
            listed = Row(*rows.token_of_project_key(token.project, token.name))
            public = rows.Listed.of(token).row((rows.TOKENS, token.name))
            return [Put(rows.token_row(token), "absent"), Put(listed), Put(public)], token

        key = rows.token_key(token.name)
        with self._changing():
            return CreateOnce(key, token, rows.to_token, guards, plan).carry_out(self._table)

    def get_token(self, name: str) -> Token:
        """Return a token.

        Raises
        ------
        TokenNotFoundError
            There is none, or what it opens is being deleted.
        """
        return self.project_view(name).token

    def delete_token(self, name: str) -> None:
        """Delete a token; what it opened stays.

        Raises
        ------
        TokenNotFoundError
            There is none.
        """
        with self._changing():
            self._cascade.delete_token(name)

    def project_view(self, token: str, *, fresh: bool = False) -> ProjectView:
        """Return what a token opens; remembered for ``cache_s``.

        With ``fresh`` it is read anew. Writers need that: under the uid of a channel that another
        process has deleted and made again, acknowledged voxels would never be seen.

        Raises
        ------
        TokenNotFoundError
            There is no such token, or what it opens is being deleted.
        """
        view = None
        if len(token) <= LONGEST_NAME:  # nobody may fill the memory with names that cannot be
            view = self._views.get(token, lambda: self._load_view(token), fresh=fresh)
        if view is None:
            raise TokenNotFoundError(f"Token {token!r} does not exist.", token=token)
        return view

    # channels

    def create_channel(self, channel: Channel) -> Channel:
        """Store a channel and return it back with its ``id`` and ``uid``; as ``create_dataset``.

        Raises
        ------
        ProjectNotFoundError
            The project does not exist or is being deleted.
        ValidationError
            The dataset has no such resolution.
        AlreadyExistsError
            As for datasets.
        """

        def guards() -> list[Action]:
            project, dataset = self._find.project(channel.project)
            levels = rows.to_dataset(dataset).scalinglevels
            if channel.resolution > levels:
                raise ValidationError({"resolution": f"must be from 0 to {levels}"})
            return [unchanged(project)]

        def plan() -> tuple[list[Action], Channel]:
            number = self._table.increment(*rows.CHANNEL_IDS, "last")
            stored = replace(channel, id=number, uid=self._new_uid())
            return [Put(rows.channel_row(stored), "absent")], stored

        key = rows.channel_key(channel.project, channel.name)
        with self._changing():
            return CreateOnce(key, channel, rows.to_channel, guards, plan).carry_out(self._table)

    def get_channel(self, project: str, name: str) -> Channel:
        """Return a channel.

        Raises
        ------
        ProjectNotFoundError
            The project does not exist or is being deleted.
        ChannelNotFoundError
            The project has none of this name.
        """
        self._find.project(project)
        return rows.to_channel(self._find.channel(project, name))

    def update_channel(
        self,
        project: str,
        name: str,
        *,
        expect: Mapping[str, Any] | None = None,
        also: Sequence[Action] = (),
        **changes: Any,
    ) -> Channel:
        """Change attributes of a channel, all at once, and return what is then stored.

        Parameters
        ----------
        project, name
            Which channel.
        expect
            Attributes that must have these values at the moment of the change, such as
            ``{"propagate": 0}``: of many callers that ask for one transition, one succeeds.
        also
            Changes of other rows that are made together with this one, or neither.
        **changes
            New values of attributes in ``CHANGEABLE``.

        Raises
        ------
        ChannelNotFoundError
            The project has none of this name.
        InvalidStateError
            An expectation does not hold.
        InvalidArgumentError
            An attribute that cannot be changed.
        PreconditionFailedError
            What ``also`` expects does not hold.
        """
        fixed = sorted(changes.keys() - CHANGEABLE)
        if fixed:
            raise InvalidArgumentError(f"A channel keeps its {', '.join(fixed)}.", fixed=fixed)
        with self._changing():
            for _ in optimistic():
                row = self._find.channel(project, name)
                channel = rows.to_channel(row)
                _check_expected(channel, expect or {})
                changed = replace(channel, **changes)
                put = Put(rows.channel_row(changed), expect=row.version)
                try:
                    self._table.transact([put, *also])
                except PreconditionFailedError as error:
                    if 0 in error.details["failed"]:
                        continue
                    raise
                return changed
        raise WriteContentionError(f"Channel {name!r} keeps being changed by others; try again.")

    def delete_channel(self, project: str, name: str, *, keep_readonly: bool = False) -> bool:
        """Delete a channel with its voxels, and return whether that was done.

        Parameters
        ----------
        project, name
            Which channel.
        keep_readonly
            Leave a read-only channel as it is, as ndstore's ``deleteChannel`` silently does.

        Raises
        ------
        ChannelNotFoundError
            The project has none of this name.
        """
        with self._changing():
            return self._cascade.delete_channel(project, name, keep_readonly=keep_readonly)

    # inside

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Make this process see what it changed, even where it failed half-way."""
        try:
            yield
        finally:
            self._views.forget()
            self._lists.forget()

    def _load_view(self, token_name: str) -> ProjectView | None:
        token_row = self._table.get(*rows.token_key(token_name))
        if token_row is None:
            return None
        token = rows.to_token(token_row)
        try:
            project, dataset = self._find.project(token.project)
        except ProjectNotFoundError:
            return None
        channels = tuple(self._lists.channels_of(token.project))
        return ProjectView(token, rows.to_project(project), rows.to_dataset(dataset), channels)


def _check_expected(channel: Channel, expect: Mapping[str, Any]) -> None:
    for attribute, value in expect.items():
        actual = getattr(channel, attribute)
        if actual != value:
            raise InvalidStateError(
                f"Channel {channel.name!r} has {attribute} {actual!r}, not {value!r}.",
                channel=channel.name,
                attribute=attribute,
            )
