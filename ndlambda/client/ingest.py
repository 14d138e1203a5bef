"""Client of ingest jobs: create, feed, watch and verify them."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from ndlambda.client.transport.session import Session
from ndlambda.errors import NotFoundError

Document: TypeAlias = dict[str, Any]
"""A job, as the server describes it."""

UNDER_WAY: Final = frozenset({"CREATED", "INGESTING"})
"""States in which a job accepts data."""

COMPLETE: Final = frozenset({"COMPLETE", "COMPLETE_WITH_ERRORS"})
"""States in which a job is stored, possibly without unusable parts."""

_PATH: Final = "/v1/ingest"
_PAGE: Final = 10_000
_AS_JSON: Final = {"Accept": "application/json"}


class Ingests:
    """The ingest jobs of a server.

    A job fills a channel at one resolution. Its extent is cut into chunks of whole supercuboids;
    each is sent once as a box of voxels (or as slices), in any order, and built by the server. The
    missing parts can be listed at any time, so that sending can resume after an interruption.

    Examples
    --------
    >>> job = client.ingest.create("demo", "em", mode="chunks")  # doctest: +SKIP
    >>> list(client.ingest.missing(job["id"]))  # doctest: +SKIP
    [0, 1, 2]
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, token: str, channel: str, **options: Any) -> Document:
        """Create a job and return it.

        Parameters
        ----------
        token, channel
            The channel to fill.
        options
            ``id`` (16 hexadecimal digits; idempotency key of the job), ``resolution``, ``extent``
            (``{"x": [start, stop], "y": …, "z": …, "t": …}`` in dataset coordinates; an omitted
            axis is whole), ``mode`` (``slices`` or ``chunks``), ``on_bad`` (``fail``, ``zero``,
            ``skip``), ``labels`` (slices that look like an image are labels), ``propagate``.

        Raises
        ------
        AlreadyExistsError
            The id belongs to a job with other options.
        QuotaExceededError
            Too many jobs, or too large a job.
        NDLambdaError
            As the server refuses: no such channel, no permission, a box outside the volume.
        """
        fields = {"token": token, "channel": channel, **options}
        repeatable = "id" in options  # without an id a retry could create a second job
        created: Document = self._session.json("POST", _PATH, fields, repeatable=repeatable)
        return created

    def list(self, limit: int | None = None) -> Sequence[Document]:
        """Return the caller's jobs, newest first, at most ``limit`` (None: all)."""
        return list(self._session.pages(_PATH, "jobs", limit=limit))

    def waiting(self) -> Sequence[Document]:
        """Return folders of dropped files without a job: folder, why, since.

        Only superusers and the owner of dropped files see any.
        """
        found: Sequence[Document] = self._session.json("GET", "/v1/drop")["waiting"]
        return found

    def deleted(self) -> Sequence[Document]:
        """Return folders of deleted channels: folder, where its files are for a while, since.

        Only superusers and the owner of dropped files see any.
        """
        found: Sequence[Document] = self._session.json("GET", "/v1/drop").get("deleted", [])
        return found

    def get(self, job_id: str) -> Document:
        """Return a job and its progress.

        Raises
        ------
        NotFoundError
            There is no such job, or it belongs to another user.
        """
        found: Document = self._session.json("GET", _job(job_id))
        return found

    def find(self, job_id: str) -> Document | None:
        """Return a job, or None if it does not exist."""
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
        """Resume a failed job and clear its faults.

        Raises
        ------
        InvalidStateError
            It was cancelled.
        """
        found: Document = self._session.json("POST", _job(job_id, "retry"))
        return found

    def complete(self, job_id: str) -> Document:
        """Declare the input complete: missing parts are then treated as ``on_bad`` says."""
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
            The job accepts no more data.
        """
        path = _job(job_id, "parts", str(chunk), name)
        self._session.request("PUT", path, body=body)

    def addresses(self, job_id: str, after: int, suffix: str, limit: int = 100) -> Document:
        """Return URLs to which missing parts can be sent directly to the store.

        Parameters
        ----------
        after
            Only chunks with higher numbers; -1 for all.
        suffix
            Format of the parts, such as ``blosc``.

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
        """Send a part to one of the URLs of ``addresses``.

        Raises
        ------
        PermissionDeniedError
            The URL has expired.
        """
        self._session.put(upload["url"], body, with_key=upload["with_key"])

    def missing(self, job_id: str) -> Iterator[int]:
        """Iterate over the missing parts, ascending: chunk numbers, or slices by dataset z."""
        after: int | None = -1
        while after is not None:
            query = {"after": str(after), "limit": str(_PAGE)}
            page = self._session.json("GET", _job(job_id, "missing"), query=query)
            yield from page["missing"]
            after = page["next"]

    def errors(self, job_id: str) -> Sequence[Document]:
        """Return the faults of a job's input: chunk, t, part, key, error, first_seen, count.

        The chunk is None for files that belong to no chunk. The part is the dataset z of a slice,
        or of an unreadable plane; None for a whole box of voxels.
        """
        path = _job(job_id, "errors")
        return list(self._session.pages(path, "errors", headers=_AS_JSON))

    def report(self, job_id: str, faults: Sequence[Document]) -> None:
        """Report planes that cannot be read at their source.

        Unreadable slices are treated as ``on_bad`` says once the input is complete. An unreadable
        plane of a box is sent as zeros; report it before the box.

        Parameters
        ----------
        faults
            Each has ``slice`` (dataset z), ``error`` and, unless it is the job's first, the time
            point ``t``.

        Raises
        ------
        InvalidStateError
            The job accepts no more data.
        """
        self._session.json("POST", _job(job_id, "errors"), {"errors": list(faults)})

    def verify(self, job_id: str, chunk: int | None = None, strip: int = 0) -> Document:
        """Check a complete job against the digests taken when it was built.

        Parameters
        ----------
        chunk, strip
            A strip of a chunk, which is read again; None checks the digests from the chunks to the
            root.

        Returns
        -------
        document
            ``chunks`` of the job, ``strips`` of the chunk, ``supercuboids`` (box, blake2b) as they
            ``chunks`` of the job, ``strips`` of the chunk, ``supercuboids`` (box, blake2b) as
            stored now, ``differences``.

        Raises
        ------
        InvalidStateError
            The job is not complete.
        """
        query = {} if chunk is None else {"chunk": str(chunk), "strip": str(strip)}
        found: Document = self._session.json("GET", _job(job_id, "verify"), query=query)
        return found

    def follow(
        self, job_id: str, interval_s: float = 1.0, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[Document]:
        """Poll a job and yield it until it has ended; the last one is its final state."""
        while (job := self.get(job_id))["state"] in UNDER_WAY:
            yield job
            sleep(interval_s)
        yield job


def _job(job_id: str, *rest: str) -> str:
    return "/".join((_PATH, *(quote(word, safe="") for word in (job_id, *rest))))
