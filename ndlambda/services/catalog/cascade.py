"""Deletes datasets, projects, channels and tokens from the catalogue, in crash-safe steps.

A dataset or project is first *marked*, in one transaction with its job: from then on it reads as
not found, and no child can be created (creating a child checks the parent's version in the same
transaction). Its children can then only become fewer, so they are deleted page by page, and its own
row last, together with the job. Each step checks the marked row, so a superseded worker stops
instead of deleting something new of the same name.

A channel's row is replaced by a job for its voxels in one transaction; it needs no mark.
"""

from collections.abc import Callable, Sequence

from ndlambda.errors import (
    ChannelNotFoundError,
    DatasetNotFoundError,
    NotFoundError,
    PreconditionFailedError,
    ProjectNotFoundError,
    TokenNotFoundError,
    WriteContentionError,
)
from ndlambda.services.catalog import keys
from ndlambda.services.catalog.deletion_job import ACTIONS_A_JOB, EraseJob, EraseKind
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.support.paging import Key, children, pages, prefixed
from ndlambda.services.support.retry import optimistic
from ndlambda.stores.ports import (
    MAX_TRANSACTION,
    Action,
    Check,
    Delete,
    Expectation,
    Put,
    Row,
    Table,
)

ABANDONED_S = 30
"""Seconds after which the worker completes a deletion that its request did not."""

_CHANNELS_A_STEP = (MAX_TRANSACTION - 1) // (1 + ACTIONS_A_JOB)
_TOKENS_A_STEP = (MAX_TRANSACTION - 1) // 3


class Cascade:
    """Deletes rows of the catalogue; each deletion is idempotent and may run concurrently."""

    def __init__(self, table: Table, jobs: EraseJobs) -> None:
        self._table = table
        self._jobs = jobs

    def delete_dataset(self, name: str) -> None:
        """Delete a dataset and everything under it.

        Raises
        ------
        DatasetNotFoundError
            There is none.
        """
        missing = DatasetNotFoundError(f"Dataset {name!r} does not exist.", dataset=name)
        unlisted = Delete(keys.DATASETS, name)
        marked = self._mark(keys.dataset_key(name), EraseKind.DATASET, lambda _: unlisted, missing)
        self._finish_dataset(marked)

    def delete_project(self, name: str, dataset: Row | None = None) -> None:
        """Delete a project with its tokens and channels.

        Parameters
        ----------
        name
            Which project.
        dataset
            The marked row of its dataset, where the project goes with that.

        Raises
        ------
        ProjectNotFoundError
            There is none (in the dataset as it was marked, if one is given).
        """
        missing = ProjectNotFoundError(f"Project {name!r} does not exist.", project=name)

        def listed_as_deleting(row: Row) -> Action:
            project = keys.to_project(row)
            # The dataset is looked at after the project: one made again under both names stays.
            if dataset is not None and not (
                project.dataset == keys.to_dataset(dataset).name and self._is_unchanged(dataset)
            ):
                raise missing
            key = keys.project_of_dataset_key(project.dataset, name)
            return Put(keys.Listed.of(project, deleting=True).row(key))

        marked = self._mark(keys.project_key(name), EraseKind.PROJECT, listed_as_deleting, missing)
        self._finish_project(marked, name)

    def delete_channel(self, project: str, name: str, *, keep_readonly: bool = False) -> bool:
        """Delete a channel; return whether it was deleted.

        Raises
        ------
        ChannelNotFoundError
            There is none.
        """
        key = keys.channel_key(project, name)
        for _ in optimistic():
            row = self._table.get(*key)
            if row is None:
                raise ChannelNotFoundError(
                    f"Channel {name!r} does not exist in project {project!r}.", channel=name
                )
            if keep_readonly and keys.to_channel(row).readonly:
                return False
            job = self._channel_job(row)
            try:
                own = Delete(*key, expect=row.version)
                self._table.transact([own, *self._jobs.put_actions([job])])
            except PreconditionFailedError:
                continue
            self._jobs.enqueue([job.id])
            return True
        raise _contended(f"Channel {name!r}")

    def delete_token(self, name: str) -> None:
        """Delete a token.

        Raises
        ------
        TokenNotFoundError
            There is none.
        """
        for _ in optimistic():
            row = self._table.get(*keys.token_key(name))
            if row is None:
                raise TokenNotFoundError(f"Token {name!r} does not exist.", token=name)
            try:
                project = keys.to_token(row).project
                self._table.transact(_token_removal(name, project, own=row.version))
            except PreconditionFailedError:
                continue
            return
        raise _contended(f"Token {name!r}")

    def finish(self, job: EraseJob) -> None:
        """Delete the children of a marked dataset or project, then its row and its job."""
        is_dataset = job.kind is EraseKind.DATASET
        key = keys.dataset_key(job.name) if is_dataset else keys.project_key(job.name)
        row = self._table.get(*key)
        if row is None or keys.uid_of(row) != job.id:
            return  # another worker has completed it, and ended the job
        if is_dataset:
            self._finish_dataset(row)
        else:
            self._finish_project(row, job.name)

    def _mark(
        self,
        key: Key,
        kind: EraseKind,
        relist: Callable[[Row], Action],
        missing: NotFoundError,
    ) -> Row:
        """Mark a row and return it; enqueue the job in case this process dies."""
        name = key[0].partition("#")[2]
        for _ in optimistic():
            row = self._table.get(*key)
            if row is None:
                raise missing
            relisting = relist(row)
            if keys.is_deleting(row):
                return row
            job = self._jobs.new(keys.uid_of(row), kind, name)
            marked = keys.marked_deleting(row)
            try:
                self._table.transact(
                    [Put(marked, expect=row.version), relisting, *self._jobs.put_actions([job])]
                )
            except PreconditionFailedError:
                continue
            self._jobs.enqueue([job.id], delay_s=ABANDONED_S)
            stored = self._table.get(*key)  # with the version of the mark
            if stored is not None and keys.is_deleting(stored):
                return stored
        raise _contended(f"{kind.value.capitalize()} {name!r}")

    def _finish_dataset(self, marked: Row) -> None:
        for row in children(self._table, marked.pk, "project"):
            try:
                self.delete_project(keys.name_of_child(row), marked)
            except ProjectNotFoundError:
                continue  # another worker was faster
        self._end(marked, [])

    def _finish_project(self, marked: Row, name: str) -> None:
        for _ in optimistic():
            try:
                self._remove_tokens(marked, name)
                self._remove_channels(marked)
            except PreconditionFailedError:
                if not self._is_unchanged(marked):
                    return  # another worker has completed it
                continue  # one of its tokens was deleted concurrently
            listed = keys.project_of_dataset_key(keys.to_project(marked).dataset, name)
            self._end(marked, [Delete(*listed)])
            return
        raise _contended(f"Project {name!r}")

    def _remove_tokens(self, marked: Row, project: str) -> None:
        guard = Check(marked.pk, marked.sk, expect=marked.version)
        for page in pages(self._table, marked.pk, *prefixed("token#"), _TOKENS_A_STEP):
            removals = [
                action
                for row in page
                for action in _token_removal(keys.name_of_child(row), project, listed=row.version)
            ]
            self._table.transact([guard, *removals])

    def _remove_channels(self, marked: Row) -> None:
        guard = Check(marked.pk, marked.sk, expect=marked.version)
        for page in pages(self._table, marked.pk, *prefixed("channel#"), _CHANNELS_A_STEP):
            jobs = [self._channel_job(row) for row in page]
            removals = [Delete(row.pk, row.sk) for row in page]
            self._table.transact([guard, *removals, *self._jobs.put_actions(jobs)])
            self._jobs.enqueue([job.id for job in jobs])

    def _channel_job(self, row: Row) -> EraseJob:
        channel = keys.to_channel(row)
        name = f"{channel.project}/{channel.name}"
        return self._jobs.new(channel.uid, EraseKind.CHANNEL, name)

    def _is_unchanged(self, marked: Row) -> bool:
        now = self._table.get(marked.pk, marked.sk)
        return now is not None and now.version == marked.version

    def _end(self, marked: Row, also: Sequence[Action]) -> None:
        own = Delete(marked.pk, marked.sk, expect=marked.version)
        try:
            self._table.transact([own, *also, self._jobs.delete_action(keys.uid_of(marked))])
        except PreconditionFailedError:
            return  # another worker has completed it


def _token_removal(
    name: str, project: str, *, own: Expectation = "any", listed: Expectation = "any"
) -> list[Action]:
    """Return the actions that delete a token.

    One of its rows has an expected version, as a token of the same name may be created in another
    project concurrently.
    """
    return [
        Delete(*keys.token_key(name), expect=own),
        Delete(*keys.token_of_project_key(project, name), expect=listed),
        Delete(keys.TOKENS, name),
    ]


def _contended(what: str) -> WriteContentionError:
    return WriteContentionError(f"{what} is being changed by others; try again.")
