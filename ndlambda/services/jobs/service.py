"""Lists, retries and cancels jobs of all kinds, and tells of their dead letters."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ndlambda.errors import InvalidArgumentError, NotFoundError
from ndlambda.services.jobs.contract import JobKind, JobStatus, JobView, parse_job_id
from ndlambda.services.jobs.index import JobIndex, Position
from ndlambda.stores.ports import Message, Queue

_MAX_READ: Final = 5000
"""Jobs read for one page of those in one state; a page may then be shorter than asked for."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first, and where the next ones begin; None: there are no more."""

    jobs: Sequence[JobView]
    next: str | None


class JobService:
    """The jobs of all kinds.

    Parameters
    ----------
    index
        The list.
    kinds
        Read, retry and cancel the jobs of one kind each.
    queues
        By name: what is asked for dead letters.
    """

    def __init__(
        self, index: JobIndex, kinds: Sequence[JobKind], queues: Mapping[str, Queue]
    ) -> None:
        self._index = index
        self._kinds = {kind.kind: kind for kind in kinds}
        self._queues = queues

    def page(
        self,
        owner_id: int | None,
        *,
        limit: int,
        after: str = "",
        state: JobStatus | None = None,
        kind: str | None = None,
    ) -> JobPage:
        """Return the next jobs behind a position, newest first.

        Parameters
        ----------
        owner_id
            Of this user; None: of all.
        after
            The ``next`` of the page before.
        state, kind
            Only of these.

        Raises
        ------
        InvalidArgumentError
            ``after`` is not such a position, or no jobs are of this kind.
        """
        if kind is not None and kind not in self._kinds:
            known = ", ".join(self._kinds)
            raise InvalidArgumentError(f"kind={kind[:80]!r} is none of {known}.", parameter="kind")
        found: list[JobView] = []
        read = 0
        while read < _MAX_READ:
            page = self._index.page(owner_id, limit, after)
            wanted = [entry for entry in page if kind in {None, entry.kind}]
            views = self._read(wanted)
            for entry in page:
                after = entry.position
                view = views.get((entry.kind, entry.ref))
                if view is not None and state in {None, view.state}:
                    found.append(view)
                    if len(found) == limit:
                        return JobPage(found, after)
            read += len(page)
            if len(page) < limit:
                return JobPage(found, None)
        return JobPage(found, after)

    def get(self, job_id: str) -> JobView:
        """Return a job.

        Raises
        ------
        NotFoundError
            There is none.
        """
        kind, ref = self._parse(job_id)
        view = kind.read([ref]).get(ref)
        if view is None:
            raise _missing(job_id)
        return view

    def retry(self, job_id: str) -> JobView:
        """Let a failed or cancelled job go on where it stopped; return it.

        Raises
        ------
        NotFoundError
            There is none.
        InvalidStateError
            It did neither fail nor was it cancelled.
        """
        kind, ref = self._parse(job_id)
        kind.retry(ref)
        return self.get(job_id)

    def cancel(self, job_id: str) -> JobView:
        """End a job before it is done; return it.

        Raises
        ------
        NotFoundError
            There is none.
        InvalidStateError
            It has ended, or jobs of its kind cannot be cancelled.
        """
        kind, ref = self._parse(job_id)
        kind.cancel(ref)
        return self.get(job_id)

    def dead_letters(self, limit: int) -> list[tuple[str, Message]]:
        """Return messages that failed too often, with the names of their queues."""
        found = (
            (name, message)
            for name, queue in self._queues.items()
            for message in queue.dead_letters(limit)
        )
        return list(islice(found, limit))

    def redrive(self) -> int:
        """Send all dead letters back to their queues; return their number."""
        return sum(queue.redrive() for queue in self._queues.values())

    def _read(self, entries: Sequence[Position]) -> dict[tuple[str, str], JobView]:
        refs: dict[str, list[str]] = defaultdict(list)
        for entry in entries:
            refs[entry.kind].append(entry.ref)
        return {
            (name, ref): view
            for name, some in refs.items()
            if (kind := self._kinds.get(name)) is not None
            for ref, view in kind.read(some).items()
        }

    def _parse(self, job_id: str) -> tuple[JobKind, str]:
        parsed = parse_job_id(job_id)
        kind = None if parsed is None else self._kinds.get(parsed[0])
        if parsed is None or kind is None:
            raise _missing(job_id)
        return kind, parsed[1]


def _missing(job_id: str) -> NotFoundError:
    return NotFoundError(f"There is no job {job_id[:80]!r} of yours.", job=job_id[:80])
