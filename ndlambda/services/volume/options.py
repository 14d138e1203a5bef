"""Limits and patience of what reads and writes supercuboids."""

import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ndlambda.errors import PayloadTooLargeError, WriteContentionError
from ndlambda.services.support.retry import optimistic
from ndlambda.services.volume.place import OnChange, ignore_change

_FEWEST = 4
"""Attempts that are made however long they take: one may build all that is below a supercuboid."""


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """Limits and patience of the volume service.

    Attributes
    ----------
    cutout_voxels
        Most voxels (all channels and times together) that one call reads or writes.
    paint_supercuboids
        Most supercuboids that objects of one upload, or a merge in a box, may change.
    contention_s
        How long one supercuboid is tried again against other writers.
    on_change
        Told of every supercuboid that was replaced.
    """

    cutout_voxels: int = 1 << 28
    paint_supercuboids: int = 1 << 12
    contention_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    new_write_id: Callable[[], bytes] = field(default=lambda: secrets.token_bytes(16))
    on_change: OnChange = ignore_change

    def check_painted(self, supercuboids: int) -> None:
        """Refuse more supercuboids than objects of one call may change, each by several requests.

        Raises
        ------
        PayloadTooLargeError
        """
        limit = self.paint_supercuboids
        if supercuboids > limit:
            raise PayloadTooLargeError(
                f"The voxels lie in {supercuboids} supercuboids; {limit} may be changed at once. "
                "Send them in parts, each of voxels that lie near one another.",
                limit=limit,
                asked=supercuboids,
            )

    def attempts(self, key: str) -> Iterator[int]:
        """Count attempts (from 0) to change a supercuboid, with a growing jittered pause between.

        Raises
        ------
        WriteContentionError
            Another attempt is asked for after ``contention_s`` and at least four attempts.
        """
        yield from optimistic(
            _FEWEST,
            lasting_s=self.contention_s,
            clock=self.clock,
            sleep=self.pause,
            random=self.jitter,
        )
        raise WriteContentionError(
            "Other writers kept changing the same supercuboid; send the request again.", key=key
        )
