"""Making what autoIngest asks for: the catalogue's things, the jobs, and the calls to fetch."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from hashlib import blake2b

from ingest_queue.auto_ingest import AutoIngest, WantedChannel
from ingest_queue.engine import Ingest, JobSpec
from ingest_queue.fetch import Fetcher
from ingest_queue.job import Job
from ndlambda.errors import AlreadyExistsError, NDLambdaError, NotFoundError
from ndlambda.model.catalog import Dataset, Project, Token
from ndlambda.model.principal import Principal
from ndlambda.services.access import Access
from ndlambda.services.catalog import Catalog

_log = logging.getLogger("ndlambda.ingest")


class AutoCreation:
    """Carries requests out: all of one, or nothing.

    Parameters
    ----------
    catalog, access
        What there is, and who may use it.
    ingest, fetcher
        What jobs are made with.
    """

    def __init__(self, catalog: Catalog, access: Access, ingest: Ingest, fetcher: Fetcher) -> None:
        self._catalog = catalog
        self._access = access
        self._ingest = ingest
        self._fetcher = fetcher

    def carry_out(self, request: AutoIngest, principal: Principal) -> list[Job]:
        """Make what is not there, and the jobs that fill the channels, in the order of these.

        A dataset of the same geometry and the caller's own project and token are used as they are;
        channels must be new. What was made is removed again when something fails.

        Raises
        ------
        AuthenticationError
            Nobody may make things without a key here.
        AlreadyExistsError
            A name is taken by something else.
        QuotaExceededError
            See ``Ingest.create``.
        """
        owner_id = self._access.owner_id_of(principal)
        with ExitStack() as undo:
            self._dataset(request.dataset, principal, undo)
            self._project(request.project, principal, undo)
            self._token(request.token, principal, undo)
            jobs = [
                self._channel(request.token.name, wanted, owner_id, undo)
                for wanted in request.channels
            ]
            undo.pop_all()
        for job in jobs:
            self._fetcher.start(job)
        return jobs

    def _dataset(self, wanted: Dataset, principal: Principal, undo: ExitStack) -> None:
        name = wanted.name
        try:
            known = self._catalog.get_dataset(name)
        except NotFoundError:
            self._catalog.create_dataset(wanted)
            undo.callback(_attempt, partial(self._remove_dataset, name))
            return
        visible = known.public or self._access.may_manage(principal, known.user_id)
        if not visible or known.pyramid != wanted.pyramid:
            raise AlreadyExistsError(
                f"Dataset {name} already exists and is different then the chosen dataset. Please "
                "choose a different dataset name",
                dataset=name,
            )

    def _remove_dataset(self, name: str) -> None:
        """Remove a dataset that was made here, unless somebody has put a project on it."""
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
        own = self._access.may_manage(principal, known.user_id)
        if not own or known.dataset != wanted.dataset:
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
        own = self._access.may_manage(principal, known.user_id)
        if not own or known.project != wanted.project:
            raise AlreadyExistsError(
                f"Token {name} already exists. Please choose a different token name.", token=name
            )

    def _channel(self, token: str, wanted: WantedChannel, owner_id: int, undo: ExitStack) -> Job:
        channel = wanted.channel
        view = self._catalog.project_view(token, fresh=True)
        if any(known.name == channel.name for known in view.channels):
            raise AlreadyExistsError(
                f"Channel {channel.name} already exists. Please choose a different channel name.",
                channel=channel.name,
            )
        made = self._catalog.create_channel(channel)
        undo.callback(_attempt, partial(self._catalog.delete_channel, made.project, made.name))
        # Two requests that met make one channel and so one job.
        job_id = blake2b(made.uid.encode(), digest_size=8).hexdigest()
        self._fetcher.plan(job_id, wanted.plan)
        undo.callback(_attempt, partial(self._fetcher.forget, job_id))
        spec = JobSpec(
            channel=made.name,
            resolution=made.resolution,
            on_bad=wanted.on_bad,
            propagate=wanted.propagate,
            job_id=job_id,
        )
        view = self._catalog.project_view(token, fresh=True)
        job = self._ingest.create(view, owner_id, spec)
        undo.callback(_attempt, partial(self._ingest.cancel, job))
        return job


def _attempt(action: Callable[[], object]) -> None:
    """Take something back as far as that goes: what went wrong before is what is told."""
    try:
        action()
    except NDLambdaError:
        _log.exception("what a failed autoIngest made could not be removed")
