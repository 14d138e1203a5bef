"""What a notification of the drop store means: jobs that folders of files begin, feed and close."""

import logging
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import islice

from ingest_queue.drop.creation import Found, check_leads, make_missing
from ingest_queue.jobs.job import Job
from ingest_queue.jobs.job_spec import JobSpec
from ingest_queue.jobs.keys import (
    DONE,
    MANIFEST,
    Dropped,
    DroppedKind,
    etag_of,
    folders_of,
    is_folder,
    parse,
)
from ingest_queue.jobs.target import Target
from ingest_queue.jobs.waiting import WaitingFolders
from ingest_queue.requests.manifest import MAX_MANIFEST_BYTES, Manifest
from ingest_queue.service import IngestService
from ndlambda.errors import (
    InvalidArgumentError,
    InvalidStateError,
    NDLambdaError,
    NotFoundError,
    ValidationError,
)
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.catalog.service import Catalog
from ndlambda.stores.ports import Range

_log = logging.getLogger("ndlambda.ingest")

_FOLDERS_A_SWEEP = 16
"""As many listings a minute, so that a bucket that is full of old folders costs no more."""

_GAPS = "What the manifest does not say is taken from the slices once a file _DONE is there."

_ADVICE = (
    "Put a file _DONE there when all slices are there, or a file _ingest.json that says what they "
    "are."
)


class Drop:
    """The drop store as the way in.

    Parameters
    ----------
    ingest, catalog
        What jobs are made with.
    waiting
        Where folders are noted of which no job can be made.
    owner_id
        Gives the user to whom jobs belong, and what is made for them.
    """

    def __init__(
        self,
        ingest: IngestService,
        catalog: Catalog,
        waiting: WaitingFolders,
        owner_id: Callable[[], int],
    ) -> None:
        self._ingest = ingest
        self._catalog = catalog
        self._owner_id = owner_id
        self.waiting = waiting

    @property
    def owner_id(self) -> int:
        """The user to whom what is dropped belongs.

        Raises
        ------
        NotFoundError
            There is no such user.
        """
        return self._owner_id()

    def notice(self, key: str) -> None:
        """Do what an object calls for that came, or came once more.

        What lies under the key now counts, not what lay there when the notification was sent.

        Raises
        ------
        NDLambdaError
            A store failed: to be tried again.
        """
        dropped = parse(key)
        if dropped is None:
            return
        etag = etag_of(self._ingest.stores.drop, key)
        if etag is None:
            return
        job = self._ingest.ledger.find_for(dropped)
        if dropped.job is None and job is not None and self._is_orphan(job):
            job = None
        if dropped.job is None and (job is None or dropped.kind is DroppedKind.MANIFEST):
            self._look(dropped.folder, job)
        elif job is not None:
            self._ingest.intake.take(job, dropped, etag)

    def sweep(self) -> int:
        """Look at the folders again of which no job could be made; give how many these are.

        Some more are looked at of which nothing was ever told, so that all folders get their turn.
        """
        folders = [waiting.folder for waiting in self.waiting.all()]
        try:
            folders = self._take_turn(folders)
        except NDLambdaError:
            _log.exception("the drop store could not be looked through; later again")
        for folder in folders:
            try:
                self._look(folder, self._ingest.ledger.of_folder(folder))
            except NDLambdaError:
                _log.exception("folder %s could not be looked at; later again", folder)
        return len(folders)

    def _take_turn(self, known: list[str]) -> list[str]:
        """List the next of all folders, a few at a time: add those that nobody knows.

        Those that waited and are gone from among the listed ones wait no more.
        """
        begun = self.waiting.round_at
        turn = list(islice(folders_of(self._ingest.stores.drop, begun), _FOLDERS_A_SWEEP))
        after = turn[-1][1] if len(turn) == _FOLDERS_A_SWEEP else ""
        if after != begun:
            self.waiting.round_at = after
        found = dict(turn)
        gone = {
            folder
            for folder in known
            if folder not in found and begun < folder and (not after or folder < after)
        }
        for folder in gone:
            self.waiting.forget(folder)
        of_folder = self._ingest.ledger.of_folder
        new = [name for name in found if name not in known and of_folder(name) is None]
        return [folder for folder in known if folder not in gone] + new

    def _look(self, folder: str, last: Job | None) -> None:
        """Make a job of a folder if it can be known what the folder is."""
        try:
            job = self._make(folder, last)
        except NDLambdaError as error:
            self.waiting.note(folder, error.message)
            if error.retryable:
                raise
            return
        if job is None:
            return
        self.waiting.forget(folder)
        if last is None or job.id != last.id:
            self._ingest.sweeper.sweep(job)

    def _make(self, folder: str, last: Job | None) -> Job | None:
        if not is_folder(folder):
            raise InvalidArgumentError(
                "Files here belong to no channel: slices lie in drop/TOKEN/CHANNEL/."
            )
        store = self._ingest.stores.drop
        body = store.get(folder + MANIFEST, Range(0, MAX_MANIFEST_BYTES + 1))
        if last is not None and body is None:
            return last
        manifest = Manifest() if body is None else Manifest.read(body.data)
        names = _names(folder)
        view = self._view(names)
        is_done = self._is_done(folder)
        if view is None and not is_done and body is None:
            self.waiting.note(folder, f"There is no channel {'/'.join(names)}. {_ADVICE}")
            return None
        owner_id = self._owner_id()
        if view is None:
            found = Found.of(self._dropped(folder), store) if is_done else Found.nothing()
            try:
                view = make_missing(self._catalog, names, manifest, found, owner_id)
            except ValidationError as error:
                if is_done:
                    raise
                raise InvalidArgumentError(f"{error.message} {_GAPS}") from error
        check_leads(view, manifest)
        channel = view.channel(names[1])
        # The same folder, manifest and channel make the same job however often this is repeated.
        asked = f"{folder}\n{channel.uid}\n{body.etag if body is not None else ''}"
        job_id = blake2b(asked.encode(), digest_size=8).hexdigest()
        if last is not None and last.id == job_id:
            return last
        if last is not None and last.state.takes_input:
            self.waiting.note(
                folder, f"Its job {last.id} is under way; the new manifest waits for its end."
            )
            return None
        spec = JobSpec(
            channel=channel.name,
            resolution=manifest.resolution,
            box=manifest.box(view.dataset.pyramid.level(manifest.resolution)),
            times=manifest.times,
            on_bad=manifest.on_bad,
            propagate=manifest.propagate,
            job_id=job_id,
        )
        return self._ingest.create(view, owner_id, spec, folder)

    def _is_done(self, folder: str) -> bool:
        """Return whether nothing more will come; listings omit a ``_DONE`` that came too early."""
        store, key = self._ingest.stores.drop, folder + DONE
        if store.get(key, Range(0, 1)) is None:
            return False
        first = next(store.list(key), None)
        return first is not None and first.key == key

    def _is_orphan(self, job: Job) -> bool:
        """Return whether a job has ended and its channel is gone."""
        if job.state.takes_input:
            return False
        try:
            Target.of(job, self._catalog)
        except InvalidStateError:
            return True
        return False

    def _view(self, names: tuple[str, str]) -> ProjectView | None:
        try:
            view = self._catalog.project_view(names[0], fresh=True)
            view.channel(names[1])
        except NotFoundError:
            return None
        return view

    def _dropped(self, folder: str) -> Iterator[Dropped]:
        for info in self._ingest.stores.drop.list(folder):
            dropped = parse(info.key)
            if dropped is not None:
                yield dropped


def _names(folder: str) -> tuple[str, str]:
    """Return the names of token and channel that a folder has."""
    _, token, channel, _ = folder.split("/")
    return token, channel
