"""The laptop's stand-in for notifications of S3: a look at the folder that people copy into."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

from ingest_queue.keys import parse
from ndlambda.stores.ports import Queue

_SETTLED_S: Final = 1.0
_SHORTEST_S: Final = 0.5
_LONGEST_S: Final = 10.0
_SHARE: Final = 20
"""A look may take a twentieth of the time."""


@dataclass(slots=True)
class _File:
    """A file as it was last seen, since when it is so, and whether it was told of."""

    shape: tuple[int, int, int]
    since: float
    told: bool = False


class DropFolder:
    """Finds files that are new or changed and have come to rest, and tells the drop queue.

    Nothing is remembered over a restart: all files are told of anew, which is harmless.

    Parameters
    ----------
    data
        Folder of the disk stores; files are dropped into ``drop`` in it.
    queue
        Is sent what S3 would send.
    clock
        Seconds, running evenly.
    """

    def __init__(
        self, data: Path, queue: Queue, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._data = data
        self._queue = queue
        self._clock = clock
        self._known: dict[str, _File] = {}
        self._pause_s = _SHORTEST_S

    @property
    def pause_s(self) -> float:
        """How long to wait before the next look: longer the longer nothing happens, or a look."""
        return self._pause_s

    def look(self) -> int:
        """Look at all files once, and give how many were told of."""
        begun = self._clock()
        found: dict[str, _File] = {}
        for key, shape in self._files():
            known = self._known.get(key)
            is_same = known is not None and known.shape == shape
            found[key] = known if known is not None and is_same else _File(shape, begun)
        ready = [
            key for key, file in found.items() if not file.told and begun - file.since >= _SETTLED_S
        ]
        self._known = found
        self._queue.send([json.dumps(notification(key)) for key in ready])
        for key in ready:
            found[key].told = True
        moves = bool(ready) or any(not file.told for file in found.values())
        calm = _SHORTEST_S if moves else self._pause_s * 2
        self._pause_s = max(min(calm, _LONGEST_S), _SHARE * (self._clock() - begun))
        return len(ready)

    def _files(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        for folder, _, names in os.walk(self._data / "drop"):
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._data).as_posix()
                if parse(key) is None:
                    continue
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                yield key, (status.st_ino, status.st_size, status.st_mtime_ns)


def notification(key: str) -> dict[str, object]:
    """Give what S3 sends when an object is made."""
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"object": {"key": quote_plus(key, safe="/")}},
    }
    return {"Records": [record]}
