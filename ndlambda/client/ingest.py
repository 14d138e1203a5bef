"""Ingest jobs: made, fed with chunks, looked after, and checked."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from ndlambda.client.transport.session import Session
from ndlambda.errors import NotFoundError

Document: TypeAlias = dict[str, Any]
"""A job, as the server tells it."""

UNDER_WAY: Final = frozenset({"CREATED", "INGESTING"})
"""States in which a job takes data."""

COMPLETE: Final = frozenset({"COMPLETE", "COMPLETE_WITH_ERRORS"})
"""States in which all of a job is stored, perhaps without what cannot be used."""

_PATH: Final = "/v1/ingest"
_PAGE: Final = 10_000
_AS_JSON: Final = {"Accept": "application/json"}


class Ingests:
    """The ingest jobs of a server.

    A job fills a channel at one resolution. Its extent is cut into chunks of whole supercuboids;
    each is sent once as a box of voxels (or as slices), in any order, and built by the server. What
    has not come can be asked for at any time, so that sending goes on after whatever interrupted
    it.

    Examples
    --------
    >>> job = client.ingest.create("demo", "em", mode="chunks")  # doctest: +SKIP
    >>> list(client.ingest.missing(job["id"]))  # doctest: +SKIP
    [0, 1, 2]
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, token: str, channel: str, **wishes: Any) -> Document:
        """Make a job and return it.

        Parameters
        ----------
        token, channel
            What is filled.
        wishes
            ``id`` (16 hexadecimal digits: the same twice makes one job), ``resolution``, ``extent``
            (``{"x": [start, stop], "y": …, "z": …, "t": …}`` in dataset coordinates; axes left out
            are whole),
            ``mode`` (``slices`` or ``chunks``), ``on_bad`` (``fail``, ``zero``, ``skip``),
            ``propagate``.

        Raises
        ------
        AlreadyExistsError
            The id is that of a job that was asked for something else.
        QuotaExceededError
            Too many jobs, or too large a job.
        NDLambdaError
            As the server refuses: no such channel, no permission, a box outside of the volume.
        """
        fields = {"token": token, "channel": channel, **wishes}
        repeatable = "id" in wishes  # else twice sent would be two jobs
        made: Document = self._session.json("POST", _PATH, fields, repeatable=repeatable)
        return made

    def list(self) -> Sequence[Document]:
        """Return the caller's jobs."""
        found: Sequence[Document] = self._session.json("GET", _PATH)["jobs"]
        return found

    def waiting(self) -> Sequence[Document]:
        """Return folders of dropped files that are no jobs yet: folder, why, since.

        Only a superuser and the user to whom what is dropped belongs see some.
        """
        found: Sequence[Document] = self._session.json("GET", "/v1/drop")["waiting"]
        return found

    def get(self, job_id: str) -> Document:
        """Return a job and how far it is.

        Raises
        ------
        NotFoundError
            There is none, or it is none of the caller's business.
        """
        found: Document = self._session.json("GET", _job(job_id))
        return found

    def find(self, job_id: str) -> Document | None:
        """Return a job, or None where there is none."""
        try:
            return self.get(job_id)
        except NotFoundError:
            return None

    def cancel(self, job_id: str) -> None:
        """Cancel a job; what is stored stays.

        Raises
        ------
        InvalidStateError
            It is complete.
        """
        self._session.json("DELETE", _job(job_id))

    def retry(self, job_id: str) -> Document:
        """Let a job that failed go on, its faults forgotten.

        Raises
        ------
        InvalidStateError
            It was cancelled.
        """
        found: Document = self._session.json("POST", _job(job_id, "retry"))
        return found

    def complete(self, job_id: str) -> Document:
        """Say that nothing more comes: what is missing is then treated as ``on_bad`` says."""
        found: Document = self._session.json("POST", _job(job_id, "complete"))
        return found

    def upload_part(self, job_id: str, chunk: int, name: str, body: bytes) -> None:
        """Send a part of a chunk.

        Parameters
        ----------
        name
            ``data.blosc`` or ``data.npy`` for a box (z, y, x) of voxels, ``0001.png`` for a slice.

        Raises
        ------
        InvalidStateError
            The job takes no data any more.
        """
        path = _job(job_id, "parts", str(chunk), name)
        self._session.request("PUT", path, body=body)

    def addresses(self, job_id: str, after: int, suffix: str, limit: int = 100) -> Document:
        """Return addresses to which parts that did not come can be sent past the server.

        Parameters
        ----------
        after
            Only of chunks with higher numbers; -1 for all.
        suffix
            Format of the parts, as ``blosc``.

        Returns
        -------
        document
            ``uploads`` (each ``chunk``, ``url``, ``with_key``), ``expires_s``.
        """
        query = {"after": str(after), "limit": str(limit), "suffix": suffix}
        path = _job(job_id, "credentials")
        found: Document = self._session.json("GET", path, query=query)
        return found

    def upload_to(self, upload: Document, body: bytes) -> None:
        """Send a part to one of the ``addresses``.

        Raises
        ------
        PermissionDeniedError
            The address has expired.
        """
        self._session.put(upload["url"], body, with_key=upload["with_key"])

    def missing(self, job_id: str) -> Iterator[int]:
        """Iterate over what did not come, ascending: numbers of chunks, or slices by dataset z."""
        after: int | None = -1
        while after is not None:
            query = {"after": str(after), "limit": str(_PAGE)}
            page = self._session.json("GET", _job(job_id, "missing"), query=query)
            yield from page["missing"]
            after = page["next"]

    def errors(self, job_id: str) -> Sequence[Document]:
        """Return what is wrong with a job's input: chunk, t, part, key, error, first_seen, count.

        What belongs to no chunk has the chunk None. The part is the dataset z of a slice, or of a
        plane that could not be read; None for a whole box of voxels.
        """
        found: Document = self._session.json("GET", _job(job_id, "errors"), headers=_AS_JSON)
        errors: Sequence[Document] = found["errors"]
        return errors

    def report(self, job_id: str, faults: Sequence[Document]) -> None:
        """Tell a job of planes that cannot be read where they come from.

        Slices then count as ``on_bad`` says when the job is told that nothing more comes. A plane
        of a box is sent as zeros; report it before the box.

        Parameters
        ----------
        faults
            Each ``slice`` (dataset z), ``error`` and, unless it is the job's first, time point
            ``t``.

        Raises
        ------
        InvalidStateError
            The job takes no data any more.
        """
        self._session.json("POST", _job(job_id, "errors"), {"errors": list(faults)})

    def verify(self, job_id: str, chunk: int | None = None, strip: int = 0) -> Document:
        """Check a complete job against the digests that were taken when it was built.

        Parameters
        ----------
        chunk, strip
            What is read again: a strip of a chunk; None checks the chain from chunks to the root.

        Returns
        -------
        document
            ``chunks`` of the job, ``strips`` of the chunk, ``supercuboids`` (box, blake2b) as they
            are stored now, ``differences``.

        Raises
        ------
        InvalidStateError
            It is not complete.
        """
        query = {} if chunk is None else {"chunk": str(chunk), "strip": str(strip)}
        found: Document = self._session.json("GET", _job(job_id, "verify"), query=query)
        return found

    def follow(
        self, job_id: str, interval_s: float = 1.0, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[Document]:
        """Iterate over how far a job is until it has ended; the last one says how."""
        while (job := self.get(job_id))["state"] in UNDER_WAY:
            yield job
            sleep(interval_s)
        yield job


def _job(job_id: str, *rest: str) -> str:
    return "/".join((_PATH, *(quote(word, safe="") for word in (job_id, *rest))))
