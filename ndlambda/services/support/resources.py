"""What services are built on: the stores and the threads of one process."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ndlambda.stores.ports import ObjectStore, Queue, Table


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues that wake workers, by what these do."""

    erase: Queue
    propagate: Queue
    drop: Queue
    ingest: Queue


@dataclass(frozen=True, slots=True)
class Resources:
    """Stores and threads.

    Attributes
    ----------
    objects, dropped
        Supercuboids and results; dropped files, which may be the same store.
    executor
        Threads that get, decode, encode and put supercuboids.
    checks
        Each raises ``StoreUnavailableError`` if its store is not there.
    row_executor
        Threads that make one request to the table each; apart, since the others wait for them.
    """

    objects: ObjectStore
    dropped: ObjectStore
    table: Table
    queues: Queues
    executor: ThreadPoolExecutor
    row_executor: ThreadPoolExecutor
    checks: Sequence[Callable[[], None]] = ()

    def check(self) -> None:
        """Check that the stores are there.

        Raises
        ------
        StoreUnavailableError
            One is not.
        """
        for check in self.checks:
            check()

    def close(self) -> None:
        """End the threads when no request is running any more."""
        self.executor.shutdown()
        self.row_executor.shutdown()
