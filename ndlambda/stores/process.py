"""The stores of one process, as the composition root opens them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ndlambda.stores.ports import ObjectStore, Queue, Table
from ndlambda.stores.set_aside import SetAside


@dataclass(frozen=True, slots=True)
class Ports:
    """The stores of one process.

    Attributes
    ----------
    dropped
        Files under the drop folder; may be the same store as ``objects``.
    open_queue
        Returns the queue of a name.
    aside
        Takes files of deleted channels out of the drop folder; None: they are deleted at once.
    checks
        Each raises ``StoreUnavailableError`` if its store is not there.
    """

    objects: ObjectStore
    dropped: ObjectStore
    table: Table
    open_queue: Callable[[str], Queue]
    aside: SetAside | None = None
    checks: Sequence[Callable[[], None]] = ()
