"""Creates, reads, changes and deletes datasets, projects, channels and tokens.

Permissions are checked in ``access``.
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
from ndlambda.model.reserved import check_unreserved
from ndlambda.services.catalog import keys
from ndlambda.services.catalog.cascade import Cascade
from ndlambda.services.catalog.create_once import CreateOnce, unchanged
from ndlambda.services.catalog.lists import Lists
from ndlambda.services.catalog.project_view import ProjectView, load_view, view_of
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.catalog.slices import CatalogSlices
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
"""Attributes of a channel that ``update_channel`` accepts; voxels depend on the others."""

_VIEWS = 1024


def _new_uid() -> str:
    return secrets.token_hex(8)


class Catalog:
    """The catalogue of datasets, projects, channels and tokens; ``lists`` and ``slices`` list it.

    Parameters
    ----------
    table, cascade
        The store of rows (see ``keys``), and how they are deleted.
    clock
        Unix seconds.
    cache_s
        How long project views and lists may be cached. Changes made through this object are
        visible in it at once, those of other processes after at most this time.
    new_uid
        Returns unique texts.
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
        self._rows = CatalogRows(table)
        self._cascade = cascade
        self._new_uid = new_uid
        self._views: TimedCache[str, ProjectView | None] = TimedCache(cache_s, _VIEWS, clock)
        self.lists = Lists(table, cache_s=cache_s, clock=clock)
        self.slices = CatalogSlices(table)
        self._listeners: list[Callable[[Channel | Token], None]] = []

    def add_listener(self, listener: Callable[[Channel | Token], None]) -> None:
        """Add what is called with each channel and token that was created."""
        self._listeners.append(listener)

    # datasets

    def create_dataset(self, dataset: Dataset) -> Dataset:
        """Store a dataset; succeed, too, if one exists that is equal in all fields.

        Raises
        ------
        AlreadyExistsError
            The name is used by a different dataset or owner.
        InvalidStateError
            One of this name is still being deleted.
        """

        def plan() -> tuple[list[Action], Dataset]:
            listed = keys.Listed.of(dataset).row((keys.DATASETS, dataset.name))
            row = keys.dataset_row(dataset, self._new_uid())
            return [Put(row, "absent"), Put(listed)], dataset

        key = keys.dataset_key(dataset.name)
        with self._changing():
            return CreateOnce(key, dataset, keys.to_dataset, list, plan).run(self._table)

    def get_dataset(self, name: str, *, even_deleting: bool = False) -> Dataset:
        """Return a dataset.

        Raises
        ------
        DatasetNotFoundError
            There is none, or it is being deleted (unless ``even_deleting``).
        """
        return keys.to_dataset(self._rows.dataset(name, even_deleting=even_deleting))

    def delete_dataset(self, name: str) -> None:
        """Delete a dataset with its projects, their tokens, channels and voxels.

        A repetition completes an interrupted deletion.

        Raises
        ------
        DatasetNotFoundError
            There is none.
        """
        with self._changing():
            self._cascade.delete_dataset(name)

    # projects

    def create_project(self, project: Project) -> Project:
        """Store a project; see ``create_dataset``. Names are unique over all datasets.

        Raises
        ------
        DatasetNotFoundError
            The dataset does not exist or is being deleted.
        AlreadyExistsError, InvalidStateError
            As for datasets.
        """
        dataset_uid = ""

        def guards() -> list[Action]:
            nonlocal dataset_uid
            dataset = self._rows.dataset(project.dataset)
            dataset_uid = keys.uid_of(dataset)
            return [unchanged(dataset)]

        def plan() -> tuple[list[Action], Project]:
            listed_key = keys.project_of_dataset_key(project.dataset, project.name)
            listed = keys.Listed.of(project).row(listed_key)
            row = keys.project_row(project, self._new_uid(), dataset_uid)
            return [Put(row, "absent"), Put(listed)], project

        key = keys.project_key(project.name)
        with self._changing():
            return CreateOnce(key, project, keys.to_project, guards, plan).run(self._table)

    def get_project(self, name: str, *, even_deleting: bool = False) -> Project:
        """Return a project.

        Raises
        ------
        ProjectNotFoundError
            There is none, or it or its dataset is being deleted (unless ``even_deleting``).
        """
        return keys.to_project(self._rows.project(name, even_deleting=even_deleting)[0])

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
        """Store a token; see ``create_dataset``. Names are unique over the whole server.

        Raises
        ------
        ProjectNotFoundError
            The project does not exist or is being deleted.
        AlreadyExistsError
            As for datasets.
        """

        def guards() -> list[Action]:
            return [unchanged(self._rows.project(token.project)[0])]

        def plan() -> tuple[list[Action], Token]:
            check_unreserved(token.name, "token")
            listed = Row(*keys.token_of_project_key(token.project, token.name))
            public = keys.Listed.of(token).row((keys.TOKENS, token.name))
            return [Put(keys.token_row(token), "absent"), Put(listed), Put(public)], token

        key = keys.token_key(token.name)
        with self._changing():
            created = CreateOnce(key, token, keys.to_token, guards, plan).run(self._table)
        self._tell(created)
        return created

    def get_token(self, name: str) -> Token:
        """Return a token.

        Raises
        ------
        TokenNotFoundError
            There is none, or its project is being deleted.
        """
        return self.project_view(name).token

    def delete_token(self, name: str) -> None:
        """Delete a token; its project stays.

        Raises
        ------
        TokenNotFoundError
            There is none.
        """
        with self._changing():
            self._cascade.delete_token(name)

    def project_view(self, token: str, *, fresh: bool = False) -> ProjectView:
        """Return the view of a token's project, cached for ``cache_s``.

        ``fresh`` bypasses the cache. Writers need that: voxels written under the old uid of a
        channel that was deleted and created again would be acknowledged and never visible.

        Raises
        ------
        TokenNotFoundError
            There is no such token, or its project is being deleted.
        """
        view = None
        if len(token) <= LONGEST_NAME:  # invalid names must not fill the cache
            known = self._views.peek(token)
            view = self._views.get(token, lambda: load_view(self._table, token, known), fresh=fresh)
        if view is None:
            raise TokenNotFoundError(f"Token {token!r} does not exist.", token=token)
        return view

    def view_without_token(self, project: str) -> ProjectView:
        """Return the view of a project itself, not cached; its token has no name.

        Raises
        ------
        ProjectNotFoundError
            The project does not exist or is being deleted.
        """
        owner_id = self.get_project(project).user_id
        view = view_of(self._table, Token("", project, user_id=owner_id))
        if view is None:  # deleted since
            raise ProjectNotFoundError(f"Project {project!r} does not exist.", project=project)
        return view

    # channels

    def create_channel(self, channel: Channel) -> Channel:
        """Store a channel; return it with its ``id`` and ``uid``. See ``create_dataset``.

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
            project, dataset = self._rows.project(channel.project)
            levels = keys.to_dataset(dataset).scalinglevels
            if channel.resolution > levels:
                raise ValidationError({"resolution": f"must be from 0 to {levels}"})
            return [unchanged(project)]

        def plan() -> tuple[list[Action], Channel]:
            check_unreserved(channel.name, "channel")
            number = self._table.increment(*keys.CHANNEL_IDS, "last")
            stored = replace(channel, id=number, uid=self._new_uid())
            return [Put(keys.channel_row(stored), "absent")], stored

        key = keys.channel_key(channel.project, channel.name)
        with self._changing():
            created = CreateOnce(key, channel, keys.to_channel, guards, plan).run(self._table)
        self._tell(created)
        return created

    def get_channel(self, project: str, name: str) -> Channel:
        """Return a channel.

        Raises
        ------
        ProjectNotFoundError
            The project does not exist or is being deleted.
        ChannelNotFoundError
            The project has none of this name.
        """
        self._rows.project(project)
        return keys.to_channel(self._rows.channel(project, name))

    def update_channel(
        self,
        project: str,
        name: str,
        *,
        expect: Mapping[str, Any] | None = None,
        also: Sequence[Action] = (),
        **changes: Any,
    ) -> Channel:
        """Change attributes of a channel atomically; return the changed channel.

        Parameters
        ----------
        project, name
            The channel.
        expect
            Attributes that must have these values at the time of the change, such as
            ``{"propagate": 0}``: of concurrent callers of one transition, one succeeds.
        also
            Changes of other rows in the same transaction.
        **changes
            New values of attributes in ``CHANGEABLE``.

        Raises
        ------
        ChannelNotFoundError
            The project has none of this name.
        InvalidStateError
            An expectation does not hold.
        InvalidArgumentError
            An attribute cannot be changed.
        PreconditionFailedError
            An expectation of ``also`` does not hold.
        """
        fixed = sorted(changes.keys() - CHANGEABLE)
        if fixed:
            raise InvalidArgumentError(
                f"These attributes of a channel cannot be changed: {', '.join(fixed)}.", fixed=fixed
            )
        with self._changing():
            for _ in optimistic():
                row = self._rows.channel(project, name)
                channel = keys.to_channel(row)
                _check_expected(channel, expect or {})
                changed = replace(channel, **changes)
                put = Put(keys.channel_row(changed), expect=row.version)
                try:
                    self._table.transact([put, *also])
                except PreconditionFailedError as error:
                    if 0 in error.details["failed"]:
                        continue
                    raise
                return changed
        raise WriteContentionError(f"Channel {name!r} is being changed by others; try again.")

    def delete_channel(self, project: str, name: str, *, keep_readonly: bool = False) -> bool:
        """Delete a channel with its voxels; return whether it was deleted.

        Parameters
        ----------
        project, name
            The channel.
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

    def _tell(self, created: Channel | Token) -> None:
        for listener in self._listeners:
            listener(created)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Clear the caches after a change, even if it failed half-way."""
        try:
            yield
        finally:
            self._views.clear()
            self.lists.clear_cache()


def _check_expected(channel: Channel, expect: Mapping[str, Any]) -> None:
    for attribute, value in expect.items():
        actual = getattr(channel, attribute)
        if actual != value:
            raise InvalidStateError(
                f"Channel {channel.name!r} has {attribute} {actual!r}, not {value!r}.",
                channel=channel.name,
                attribute=attribute,
            )
