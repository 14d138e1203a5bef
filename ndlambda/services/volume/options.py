"""Size and retry limits of reading and writing supercuboids."""

import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ndlambda.errors import PayloadTooLargeError, WriteContentionError
from ndlambda.services.support.retry import optimistic
from ndlambda.services.volume.place import OnChange, ignore_change

_CUBOIDS_A_SUPERCUBOID = 4
"""As many as a plane meets; a thicker box is limited by its voxels."""
_MIN_ATTEMPTS = 4
"""Attempts made regardless of time: one may build all levels below a supercuboid."""


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """Size and retry limits, and injected time and randomness.

    Attributes
    ----------
    cutout_voxels
        Maximum number of voxels (all channels and times together) of one call.
    read_supercuboids
        Maximum number of supercuboids that one call reads or writes as a box, or reads to find the
        voxels of objects; of cuboids, it is four times as many.
    paint_supercuboids
        Maximum number of supercuboids changed by one upload of objects, or by a merge in a box.
    contention_s
        How long a write of one supercuboid is retried against other writers.
    on_change
        Called for every supercuboid that was replaced.
    """

    cutout_voxels: int = 1 << 28
    read_supercuboids: int = 1 << 15
    paint_supercuboids: int = 1 << 12
    contention_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    new_write_id: Callable[[], bytes] = field(default=lambda: secrets.token_bytes(16))
    on_change: OnChange = ignore_change

    def check_read(self, supercuboids: int, cuboids: int = 0) -> None:
        """Refuse to touch too many supercuboids, or cuboids, in one call.

        Each takes a request, or decoding a part, however few of its voxels are asked for.

        Raises
        ------
        PayloadTooLargeError
        """
        limit = self.read_supercuboids
        if supercuboids > limit or cuboids > _CUBOIDS_A_SUPERCUBOID * limit:
            raise PayloadTooLargeError(
                f"The request touches {max(supercuboids, 1)} supercuboids ({cuboids} cuboids); "
                f"{limit} may be touched at once. Ask in parts.",
                limit=limit,
                asked=supercuboids,
            )

    def check_painted(self, supercuboids: int) -> None:
        """Refuse to change too many supercuboids in one call; each takes several requests.

        Raises
        ------
        PayloadTooLargeError
        """
        limit = self.paint_supercuboids
        if supercuboids > limit:
            raise PayloadTooLargeError(
                f"The voxels are in {supercuboids} supercuboids; {limit} may be changed at once. "
                "Send them in parts, each of voxels that are near one another.",
                limit=limit,
                asked=supercuboids,
            )

    def attempts(self, key: str) -> Iterator[int]:
        """Count attempts (from 0) at changing a supercuboid; see ``retry.optimistic``.

        Raises
        ------
        WriteContentionError
            All attempts failed, for ``contention_s`` and at least four times.
        """
        yield from optimistic(
            _MIN_ATTEMPTS,
            lasting_s=self.contention_s,
            clock=self.clock,
            sleep=self.pause,
            random=self.jitter,
        )
        raise WriteContentionError(
            "Other writers keep changing the same supercuboid; send the request again.", key=key
        )
