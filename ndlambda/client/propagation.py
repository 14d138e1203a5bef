"""Client of the propagation that builds a channel's coarser resolutions."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

from ndlambda.client.transport.session import Session, channel_path

Document: TypeAlias = dict[str, Any]


class Propagation:
    """The propagation of one channel; get it by :meth:`Client.propagation`.

    A status is a dict: ``propagate`` (0 not, 1 under way, 2 done), ``state`` (of the last run:
    never, running, done, failed, cancelled), ``bands`` (levels built together, with their ``tasks``
    and how many are ``done``), ``progress`` (0 to 1), ``tasks_per_s``, ``eta_s``, ``stale``
    (supercuboids written since they were last propagated) and the ``reason`` of a failure.

    Examples
    --------
    >>> propagation = client.propagation("demo", "em")  # doctest: +SKIP
    >>> propagation.start()["state"]  # doctest: +SKIP
    'running'
    >>> for status in propagation.follow():  # doctest: +SKIP
    ...     print(f"{status['progress']:.0%}")
    """

    def __init__(self, session: Session, token: str, channel: str) -> None:
        self._session = session
        self._path = f"{channel_path(token, channel)}/propagation"

    def status(self) -> Document:
        """Return the status."""
        found: Document = self._session.json("GET", self._path)
        return found

    def start(
        self, *, full: bool = False, method: Literal["mean", "nearest"] | None = None
    ) -> Document:
        """Start, or resume a run that was cancelled or failed; return the status.

        Resolutions that are built already are updated where voxels were written since.

        Parameters
        ----------
        full
            Rebuild everything.
        method
            How images are downsampled; None is as last time, at first the mean.

        Raises
        ------
        InvalidStateError
            A run is under way.
        ReadOnlyChannelError
            The channel is read-only.
        """
        options: Document = {"full": full}
        if method is not None:
            options["method"] = method
        # A retry would find the first request's run under way and fail.
        found: Document = self._session.json("POST", self._path, options, repeatable=False)
        return found

    def cancel(self) -> Document:
        """Stop the run and return the status; what is built stays.

        Raises
        ------
        InvalidStateError
            No run is under way.
        """
        found: Document = self._session.json("DELETE", self._path, repeatable=False)
        return found

    def follow(
        self, interval_s: float = 1.0, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[Document]:
        """Poll the status and yield it until the run has ended; the last one is final."""
        while (status := self.status())["state"] == "running":
            yield status
            sleep(interval_s)
        yield status
