"""Executes autoIngest requests: creates catalogue entries and jobs, and enqueues the fetching.

A request is recorded before its first channel is created, and removed once its last job is. The
same request sent again after a crash in between continues with the channels that exist; otherwise
all channels must be new.

Row: pk ``ingest#auto``, sk a digest of the request; it expires.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from hashlib import blake2b

from ingest_queue.fetch.request import AutoIngest, WantedChannel
from ingest_queue.fetch.worker import Fetcher
from ingest_queue.jobs.job import Job
from ingest_queue.jobs.job_spec import JobSpec
from ingest_queue.service import IngestService
from ndlambda.errors import (
    AlreadyExistsError,
    NDLambdaError,
    NotFoundError,
    PreconditionFailedError,
    UpstreamError,
    WriteContentionError,
)
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.fields import dataset_fields
from ndlambda.model.principal import Principal
from ndlambda.services.access.service import Access
from ndlambda.services.catalog.create_once import taken
from ndlambda.services.catalog.service import Catalog
from ndlambda.stores.ports import Row, Table

_REQUESTS = "ingest#auto"
_REPEATABLE_S = 24 * 3600
"""How long after a crash a request may be sent again."""

_log = logging.getLogger("ndlambda.ingest")


class AutoCreation:
    """Executes requests: all of one, or nothing."""

    def __init__(
        self,
        catalog: Catalog,
        access: Access,
        ingest: IngestService,
        fetcher: Fetcher,
        table: Table,
    ) -> None:
        self._catalog = catalog
        self._access = access
        self._ingest = ingest
        self._fetcher = fetcher
        self._table = table

    def run(self, request: AutoIngest, principal: Principal) -> list[Job]:
        """Create what is missing, and return the jobs that fill the channels, in their order.

        A dataset of the same geometry and the caller's own project and token are reused; channels
        must be new. If something is refused, everything created is removed again; if a store
        failed, it stays, and the same request sent again finishes the work.

        Raises
        ------
        AuthenticationError
            A key is needed to create anything.
        AlreadyExistsError
            A name is taken.
        QuotaExceededError
            See ``IngestService.create``.
        UpstreamError, WriteContentionError
            Send the request again.
        """
        owner_id = self._access.owner_id_of(principal)
        with ExitStack() as undo:
            try:
                self._dataset(request.dataset, principal, undo)
                self._project(request.project, principal, undo)
                self._token(request.token, principal, undo)
                begun, is_again = self._begin(request)
                undo.callback(_attempt, partial(self._table.delete, _REQUESTS, begun))
                jobs = [
                    self._channel(request.token.name, wanted, owner_id, (undo, is_again))
                    for wanted in request.channels
                ]
            except (UpstreamError, WriteContentionError):
                undo.pop_all()
                raise
            undo.pop_all()
        for job in jobs:
            self._fetcher.start(job)
        self._table.delete(_REQUESTS, begun)
        return jobs

    def _begin(self, request: AutoIngest) -> tuple[str, bool]:
        """Record a request; return its digest, and whether it was recorded before.

        Raises
        ------
        AlreadyExistsError
            One of the channels exists, and was not created by this request.
        """
        digest = blake2b(repr(request).encode(), digest_size=16).hexdigest()
        if self._table.get(_REQUESTS, digest) is not None:
            return digest, True
        view = self._catalog.project_view(request.token.name, fresh=True)
        known = {channel.name for channel in view.channels}
        for wanted in request.channels:
            if wanted.channel.name in known:
                raise _taken(wanted.channel)
        row = Row(_REQUESTS, digest, expires=int(self._ingest.ledger.now()) + _REPEATABLE_S)
        try:
            self._table.put(row, "absent")
        except PreconditionFailedError:  # a concurrent duplicate
            return digest, True
        return digest, False

    def _dataset(self, wanted: Dataset, principal: Principal, undo: ExitStack) -> None:
        name = wanted.name
        try:
            known = self._catalog.get_dataset(name)
        except NotFoundError:
            self._catalog.create_dataset(wanted)
            undo.callback(_attempt, partial(self._remove_dataset, name))
            return
        own = self._access.may_manage(principal, known.user_id)
        is_same = known.pyramid == wanted.pyramid
        if not own and not (known.public and is_same):
            raise taken(name)
        if not is_same:
            values = f" ({_differences(known, wanted)})"
            raise AlreadyExistsError(
                f"Dataset {name} already exists and is different then the chosen dataset. Please "
                f"choose a different dataset name{values}",
                dataset=name,
            )

    def _remove_dataset(self, name: str) -> None:
        """Remove a dataset that was created here, unless a project uses it meanwhile."""
        if not self._catalog.lists.owners_of_projects(name):
            self._catalog.delete_dataset(name)

    def _project(self, wanted: Project, principal: Principal, undo: ExitStack) -> None:
        name = wanted.name
        try:
            known = self._catalog.get_project(name)
        except NotFoundError:
            self._catalog.create_project(wanted)
            undo.callback(_attempt, partial(self._catalog.delete_project, name))
            return
        if not self._access.may_manage(principal, known.user_id):
            raise taken(name)
        if known.dataset != wanted.dataset:
            raise AlreadyExistsError(
                f"Project {name} already exists. Please choose a different project name",
                project=name,
            )

    def _token(self, wanted: Token, principal: Principal, undo: ExitStack) -> None:
        name = wanted.name
        try:
            known = self._catalog.project_view(name, fresh=True).token
        except NotFoundError:
            self._catalog.create_token(wanted)
            undo.callback(_attempt, partial(self._catalog.delete_token, name))
            return
        if not self._access.may_manage(principal, known.user_id):
            raise taken(name)
        if wanted.public and not known.public:
            raise AlreadyExistsError(f"Token {name} exists and is private, not public.", token=name)
        if known.project != wanted.project:
            raise AlreadyExistsError(
                f"Token {name} already exists. Please choose a different token name.", token=name
            )

    def _channel(
        self, token: str, wanted: WantedChannel, owner_id: int, begun: tuple[ExitStack, bool]
    ) -> Job:
        undo, is_again = begun
        view = self._catalog.project_view(token, fresh=True)
        made = next((known for known in view.channels if known.name == wanted.channel.name), None)
        if made is None:
            made = self._catalog.create_channel(wanted.channel)
            undo.callback(_attempt, partial(self._catalog.delete_channel, made.project, made.name))
            view = self._catalog.project_view(token, fresh=True)
        elif not is_again or not _is_same(made, wanted.channel):
            raise _taken(wanted.channel)
        # Concurrent duplicates create one channel, and so one job.
        job_id = blake2b(made.uid.encode(), digest_size=8).hexdigest()
        is_new = self._ingest.ledger.find(job_id) is None
        self._fetcher.plan(job_id, wanted.plan)
        if is_new:
            undo.callback(_attempt, partial(self._fetcher.remove_plan, job_id))
        spec = JobSpec(
            channel=made.name,
            resolution=made.resolution,
            on_bad=wanted.on_bad,
            propagate=wanted.propagate,
            job_id=job_id,
            labels=True,  # ndstore asked no questions, and its clients cannot answer one
        )
        job = self._ingest.create(view, owner_id, spec)
        if is_new:
            undo.callback(_attempt, partial(self._ingest.cancel, job))
        return job


def _taken(channel: Channel) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"Channel {channel.name} already exists. Please choose a different channel name.",
        channel=channel.name,
    )


def _differences(known: Dataset, wanted: Dataset) -> str:
    """Return the fields of the geometry that differ, with both values."""
    old, new = (dataset_fields(replace(each, public=False)) for each in (known, wanted))
    described = {"dataset_description", "user"}
    names = (name for name in old if name not in described and old[name] != new[name])
    return ", ".join(f"{name} is {old[name]}, not {new[name]}" for name in names)


def _is_same(made: Channel, wanted: Channel) -> bool:
    """Return whether a channel is the requested one, apart from fields set on creation."""
    return replace(made, id=wanted.id, uid=wanted.uid, propagate=wanted.propagate) == wanted


def _attempt(action: Callable[[], object]) -> None:
    """Try to undo something; the error that led here is the one reported."""
    try:
        action()
    except NDLambdaError:
        _log.exception("what a failed autoIngest made could not be removed")
