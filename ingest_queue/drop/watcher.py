"""Handles notifications of the drop store: folders of files create, feed and close jobs."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from itertools import islice

from ingest_queue.drop.creation import (
    Inferred,
    check_agreement,
    check_destination,
    create_missing,
    destination_of,
)
from ingest_queue.drop.owner import DropOwner
from ingest_queue.jobs.job import Job
from ingest_queue.jobs.keys import (
    DONE,
    DROP,
    MANIFEST,
    Dropped,
    DroppedKind,
    etag_of,
    folders_of,
    is_folder,
    parse,
    token_folder,
)
from ingest_queue.jobs.retired import RetiredFolders
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
from ndlambda.model.catalog import Channel, Token
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.support.watch import Look, WatchMessage
from ndlambda.stores.ports import Range

_log = logging.getLogger("ndlambda.ingest")

_FOLDERS_A_SWEEP = 1000
"""Folders listed each day, which bounds the cost of a bucket full of old folders."""

_FOLDERS_AT_ONCE = 100
"""Folders that are looked at when a channel or token is created."""

_GAPS = "What the manifest does not say is taken from the slices once a file _DONE is there."

_ADVICE = (
    "Put a file _DONE there when all slices are there, or a file _ingest.json that says what they "
    "are."
)


class Drop:
    """Creates and feeds jobs from the drop store.

    Parameters
    ----------
    waiting, retired
        Record the folders for which no job can be created, and those of deleted channels.
    owner
        The owner of the jobs, and of what is created for them.
    """

    def __init__(
        self,
        ingest: IngestService,
        catalog: Catalog,
        waiting: WaitingFolders,
        retired: RetiredFolders,
        owner: DropOwner,
    ) -> None:
        self._ingest = ingest
        self._catalog = catalog
        self._owner = owner
        self.waiting = waiting
        self.retired = retired

    @property
    def owner_id(self) -> int:
        """The owner of what is dropped.

        Raises
        ------
        NotFoundError
            There is no such user.
        """
        return self._owner.id

    def on_object_created(self, key: str) -> None:
        """Handle a new or replaced object; idempotent.

        The current object counts, not the one at the time of the notification.

        Raises
        ------
        NDLambdaError
            A store failed; worth a retry.
        """
        dropped = parse(key)
        if dropped is None:
            return
        etag = etag_of(self._ingest.stores.drop, key)
        if etag is None:
            return
        job = self._ingest.ledger.find_for(dropped)
        if dropped.job is None and (
            job is None or dropped.kind is DroppedKind.MANIFEST or self._is_orphan(job)
        ):
            self._inspect_folder(dropped.folder, job)
        elif job is not None:
            self._ingest.registry.record_object(job, dropped, etag)

    def watch(self, message: WatchMessage, receive_count: int) -> None:
        """Handle a watch message of a waiting folder.

        Parameters
        ----------
        receive_count
            The number of this delivery, from 1.
        """
        self.waiting.chains.receive(message, receive_count, self.look_after)

    def look_after(self, folder: str) -> Look:
        """Inspect a folder, which may have what it waits for."""
        if self.waiting.has(folder):
            self._inspect_folder(folder, self._ingest.ledger.of_folder(folder))
        return Look.RESTS if self.waiting.has(folder) else Look.ENDED

    def on_created(self, created: Channel | Token) -> None:
        """Let the folders be looked at that wait for a channel or token."""
        if isinstance(created, Token):
            waiting = self.waiting.under(f"{DROP}{created.name}/", _FOLDERS_AT_ONCE)
        else:
            tokens = islice(self._catalog.lists.tokens_of(created.project), _FOLDERS_AT_ONCE)
            folders = (token_folder(token, created.name) for token in tokens)
            waiting = [folder for folder in folders if self.waiting.has(folder)]
        for folder in waiting:
            self.waiting.chains.restart(folder, delay_s=0)

    def sweep(self) -> int:
        """Look after the waiting folders whose watch chains stand still; return their number.

        Some unnotified folders are added in each sweep, in turn over all folders.
        """
        folders = [waiting.folder for waiting in self.waiting.all()]
        try:
            folders = self._next_folders(folders)
        except NDLambdaError:
            _log.exception("the drop store could not be listed; it is tried again later")
        return sum(self.waiting.chains.take_over(name, self.look_after) for name in folders)

    def _next_folders(self, known: list[str]) -> list[str]:
        """Return the waiting folders, and those without a job among the next few of all folders.

        A waiting folder that should be among the listed ones and is not does not exist any more,
        and is removed from the list.
        """
        begun = self.waiting.scan_position
        turn = list(islice(folders_of(self._ingest.stores.drop, begun), _FOLDERS_A_SWEEP))
        after = turn[-1][1] if len(turn) == _FOLDERS_A_SWEEP else ""
        if after != begun:
            self.waiting.scan_position = after
        found = dict(turn)
        removed = {
            folder
            for folder in known
            if folder not in found and begun < folder and (not after or folder < after)
        }
        for folder in removed:
            self.waiting.remove(folder)
        of_folder = self._ingest.ledger.of_folder
        new = [name for name in found if name not in known and of_folder(name) is None]
        for name in new:
            self.waiting.record(name, "It was not announced.")
        return [folder for folder in known if folder not in removed] + new

    def _inspect_folder(self, folder: str, last: Job | None) -> None:
        """Create a job for a folder if its destination and fields are known."""
        try:
            job = self._find_or_create_job(folder, last)
        except NDLambdaError as error:
            self.waiting.record(folder, error.message, self._bound(folder))
            if error.retryable:
                raise
            return
        if job is None:
            return
        self.waiting.remove(folder)
        if last is None or job.id != last.id:
            self._ingest.sweeper.sweep(job)

    def _bound(self, folder: str) -> tuple[str, int | None]:
        """Return the uid of the channel that a folder leads to, and the owner of its project."""
        view = self._view(_names(folder)) if is_folder(folder) else None
        if view is None:
            return "", None
        return view.channel(_names(folder)[1]).uid, view.project.user_id

    def _find_or_create_job(self, folder: str, last: Job | None) -> Job | None:
        if not is_folder(folder):
            raise InvalidArgumentError(
                "Files here belong to no channel: slices lie in drop/TOKEN/CHANNEL/."
            )
        if last is not None and self._is_orphan(last):
            raise InvalidStateError(
                "The channel that this folder filled was deleted. What lay here is being set "
                "aside; what is dropped after that begins again."
            )
        store = self._ingest.stores.drop
        body = store.get(folder + MANIFEST, Range(0, MAX_MANIFEST_BYTES + 1))
        if last is not None and body is None:
            return last
        manifest = Manifest() if body is None else Manifest.read(body.data)
        names = _names(folder)
        view = self._view(names)
        self._check_binding(folder, manifest, last, view)
        is_done = self._is_done(folder)
        if view is None and not is_done and body is None:
            self.waiting.record(folder, f"There is no channel {'/'.join(names)}. {_ADVICE}")
            return None
        self._owner.check(names, manifest)
        owner_id = self._owner.id
        notes: tuple[str, ...] = ()
        if view is None:
            found = Inferred.of(self._dropped(folder), store) if is_done else Inferred.nothing()
            try:
                view, notes = create_missing(self._catalog, names, manifest, found, owner_id)
            except ValidationError as error:
                if is_done:
                    raise
                raise InvalidArgumentError(f"{error.message} {_GAPS}") from error
        check_destination(view, manifest)
        channel = view.channel(names[1])
        # Idempotent: the same folder, manifest and channel give the same job id.
        asked = f"{folder}\n{channel.uid}\n{body.etag if body is not None else ''}"
        job_id = blake2b(asked.encode(), digest_size=8).hexdigest()
        if last is not None and last.id == job_id:
            return last
        if last is not None and last.state.takes_input:
            self.waiting.record(
                folder, f"Its job {last.id} is under way; the new manifest waits for its end."
            )
            return None
        check_agreement(view, channel.name, manifest)
        spec = replace(manifest.spec(view, channel.name, job_id), notes=notes)
        return self._ingest.create(view, owner_id, spec, folder)

    def _check_binding(
        self,
        folder: str,
        manifest: Manifest,
        last: Job | None,
        view: ProjectView | None,
    ) -> None:
        """Check that a folder fills the channel, or at least the owner's, that it filled before.

        Raises
        ------
        InvalidStateError
            Its token leads to another channel now, or it belonged to a deleted channel of another
            owner.
        """
        _, channel = _names(folder)
        if last is not None and (view is None or view.channel(channel).uid != last.channel_uid):
            raise InvalidStateError(
                f"This folder fills channel {last.channel!r} of project {last.project!r}; its "
                "token leads elsewhere now. Put the manifest and its slices into another folder."
            )
        waiting = self.waiting.find(folder)
        bound = "" if waiting is None else waiting.uid
        if bound and (view is None or view.channel(channel).uid != bound):
            raise InvalidStateError(
                "This folder was dropped for a channel that was deleted. Put what is meant for the "
                "one of its name into another folder, or remove it and drop it again."
            )
        retired = self.retired.find(folder)
        if retired is None or retired.owner is None:
            return
        if self._owner_of(folder, manifest, view) not in {None, retired.owner}:
            raise InvalidStateError(
                "This folder filled a channel that was deleted; the one of its name belongs to "
                "another user now. Fill that by `ndlambda ingest`, with a key of this user."
            )

    def _owner_of(self, folder: str, manifest: Manifest, view: ProjectView | None) -> int | None:
        """Return the owner of what a folder leads to, None if nothing exists yet."""
        if view is not None:
            return view.project.user_id
        dataset, project = destination_of(_names(folder)[0], manifest)
        for find in (
            lambda: self._catalog.project_view(_names(folder)[0], fresh=True).project,
            lambda: self._catalog.get_project(project),
            lambda: self._catalog.get_dataset(dataset),
        ):
            with suppress(NotFoundError):
                return find().user_id
        return None

    def _is_done(self, folder: str) -> bool:
        """Return whether a folder is complete; listings omit a ``_DONE`` before its slices rest."""
        store, key = self._ingest.stores.drop, folder + DONE
        if store.get(key, Range(0, 1)) is None:
            return False
        first = next(store.list(key), None)
        return first is not None and first.key == key

    def _is_orphan(self, job: Job) -> bool:
        """Return whether the channel of a job is gone."""
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
    """Return the token and channel names of a folder."""
    _, token, channel, _ = folder.split("/")
    return token, channel
