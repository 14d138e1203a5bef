"""Client of the list of jobs of all kinds."""

from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import quote

from ndlambda.client.transport.session import Session

Document: TypeAlias = dict[str, Any]
Documents: TypeAlias = list[Document]

_PATH = "/v1/jobs"


class Jobs:
    """Ingests, propagations, deletions and merges; get it by :attr:`Client.jobs`.

    A job is a dict: ``id``, ``kind``, ``token``, ``channel``, ``state`` (QUEUED, RUNNING, FAILED,
    CANCELLED, DONE), the ``reason`` of a failure, ``tries``, ``progress`` (``done``, and ``total``
    or None), ``owner`` and ``created_at`` (ISO 8601, UTC).

    Examples
    --------
    >>> [job["reason"] for job in client.jobs.list(state="FAILED")]  # doctest: +SKIP
    ['The disk is full.']
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(
        self, *, state: str | None = None, kind: str | None = None, page_size: int = 1000
    ) -> Iterator[Document]:
        """Iterate over jobs, newest first: one's own, or all for a superuser.

        Parameters
        ----------
        state, kind
            Only of these.
        page_size
            Jobs asked for at a time.
        """
        query = {"limit": str(page_size)}
        query |= {} if state is None else {"state": state}
        query |= {} if kind is None else {"kind": kind}
        while True:
            page = self._session.json("GET", _PATH, query=query)
            yield from page["jobs"]
            if page["next"] is None:
                return
            query["after"] = page["next"]

    def get(self, job: str) -> Document:
        """Return a job.

        Raises
        ------
        NotFoundError
            There is none, or it is another user's.
        """
        found: Document = self._session.json("GET", _path(job))
        return found

    def retry(self, job: str) -> Document:
        """Let a failed job go on where it stopped; return it.

        Raises
        ------
        NotFoundError
            There is none, or it is another user's.
        InvalidStateError
            It did not fail.
        """
        found: Document = self._session.json("POST", f"{_path(job)}/retry", repeatable=False)
        return found

    def cancel(self, job: str) -> Document:
        """End a job before it is done; return it.

        Raises
        ------
        NotFoundError
            There is none, or it is another user's.
        InvalidStateError
            It has ended, or is a deletion or merge.
        """
        found: Document = self._session.json("POST", f"{_path(job)}/cancel", repeatable=False)
        return found

    def dead(self) -> Documents:
        """Return up to 100 messages that failed too often (superusers)."""
        found: Documents = self._session.json("GET", f"{_PATH}/dead")["dead"]
        return found

    def redrive(self) -> int:
        """Send all dead letters back to their queues; return their number (superusers)."""
        answer = self._session.json("POST", f"{_PATH}/dead/redrive", repeatable=False)
        return int(answer["redriven"])


def _path(job: str) -> str:
    return f"{_PATH}/{quote(job, safe='', errors='replace')}"
