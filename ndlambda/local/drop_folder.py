"""The laptop's stand-in for notifications of S3: a look at the folder that people copy into."""

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

from ingest_queue.jobs.keys import DroppedKind, parse
from ndlambda.stores.ports import Queue

_SETTLED_S: Final = 1.0
_MOVING_S: Final = 0.25
"""Pause while files come, which are then told of 1.25 seconds after their last change."""
_CALM_S: Final = 1.0
"""Pause while nothing comes; only the times of folders are looked at then."""
_WHOLE_S: Final = 10.0
"""How often all files are looked at nevertheless, for those that are written over in place."""
_SHARE: Final = 20
"""A look may take a twentieth of the time."""
_DEEPEST: Final = 8
"""Names of a path that is looked at, so that a link to a folder above is no endless way."""

_Shape = tuple[int, int, int]


@dataclass(slots=True)
class _File:
    """A file as it was last seen, since when it is so, and whether it was told of."""

    shape: _Shape
    since: float
    told: bool = False


class DropFolder:
    """Finds files that are new or changed and have come to rest, and tells the drop queue.

    At rest is what is the same file of the same size and times of change for a second. That nothing
    more will come (``_DONE``) is told of when all of its folder is at rest. Nothing is remembered
    over a restart: all files are told of anew, which is harmless.

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
        self._folders: dict[str, int] = {}
        self._whole_at = -_WHOLE_S
        self._moves = False
        self._pause_s = _MOVING_S

    @property
    def pause_s(self) -> float:
        """How long to wait before the next look: longer while nothing comes, or if looks last."""
        return self._pause_s

    def look(self) -> int:
        """Look once, and return how many files were told of."""
        begun = self._clock()
        told = 0
        if self._moves or begun - self._whole_at >= _WHOLE_S or self._folders_changed():
            self._whole_at = begun
            told = self._look_at_files(begun)
        calm = _MOVING_S if self._moves else _CALM_S
        self._pause_s = max(calm, _SHARE * (self._clock() - begun))
        return told

    def _look_at_files(self, now: float) -> int:
        found: dict[str, _File] = {}
        for key, shape in self._files():
            known = self._known.get(key)
            is_same = known is not None and known.shape == shape
            found[key] = known if known is not None and is_same else _File(shape, now)
        self._known = found
        new = [key for key, file in found.items() if not file.told]
        moving = {key for key in new if now - found[key].since < _SETTLED_S}
        busy = {_folder(key) for key in moving}
        resting = [key for key in new if key not in moving]
        ready = [key for key in resting if not (_is_done(key) and _folder(key) in busy)]
        ready.sort(key=_is_done)
        self._queue.send([json.dumps(notification(key)) for key in ready])
        for key in ready:
            found[key].told = True
        self._moves = len(ready) < len(new)
        return len(ready)

    def _folders_changed(self) -> bool:
        """Return whether a file came, went or got another name in any folder since it was read."""
        return any(_changed_at(self._data / name) != at for name, at in self._folders.items())

    def _files(self) -> Iterator[tuple[str, _Shape]]:
        self._folders = {}
        waiting = ["drop"]
        while waiting:
            folder = waiting.pop()
            path = self._data / folder
            self._folders[folder] = _changed_at(path)  # before it is read
            for key, entry in _entries(path, folder):
                try:
                    if entry.is_dir():
                        waiting += [key] * (key.count("/") < _DEEPEST)
                        continue
                    status = entry.stat()
                except OSError:  # gone, or a link to nothing
                    continue
                if stat.S_ISREG(status.st_mode) and parse(key) is not None:
                    # Nobody can set times of change; those of modification are copied along.
                    yield key, (status.st_ino, status.st_size, status.st_ctime_ns)


def _entries(path: Path, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(path) as entries:
            return [(f"{folder}/{entry.name}", entry) for entry in entries]
    except OSError:  # gone, or closed to us
        return []


def _changed_at(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _folder(key: str) -> str:
    dropped = parse(key)
    return "" if dropped is None else dropped.folder


def _is_done(key: str) -> bool:
    dropped = parse(key)
    return dropped is not None and dropped.kind is DroppedKind.DONE


def notification(key: str) -> dict[str, object]:
    """Return what S3 sends when an object is made."""
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"object": {"key": quote_plus(key, safe="/")}},
    }
    return {"Records": [record]}
