"""Emulates S3 notifications on a laptop by polling the drop folder."""

import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

from ingest_queue.jobs.keys import DroppedKind, parse
from ndlambda.stores.links import DropLinks
from ndlambda.stores.ports import Queue

_log = logging.getLogger("ndlambda.local.drop_folder")

_SETTLED_S: Final = 1.0
_MOVING_S: Final = 0.25
"""Pause while files arrive; they are announced at most 1.25 seconds after their last change."""
_CALM_S: Final = 1.0
"""Pause while nothing arrives; only the times of folders are read then."""
_FULL_SCAN_S: Final = 10.0
"""Interval of full scans, which find files overwritten in place."""
_SHARE: Final = 20
"""Scanning takes at most a twentieth of the time."""
_MAX_DEPTH: Final = 8
"""Depth of scanned folders; files that lie too deep for slices are reported, too."""

_Shape = tuple[int, int, int]


@dataclass(slots=True)
class _File:
    """A file as last seen, the time since when it is unchanged, and whether it was announced."""

    shape: _Shape
    since: float
    announced: bool = False


class DropFolder:
    """Finds new and changed files that are at rest, and announces them to the drop queue.

    A file is at rest if its inode, size and change time are unchanged for a second. ``_DONE`` is
    announced once its whole folder is at rest. Nothing is kept over a restart: all files are
    announced again, which is harmless.

    Parameters
    ----------
    data
        Folder of the disk stores, which contains the folder ``drop``.
    queue
        Receives messages as S3 would send them.
    clock
        Monotonic seconds.
    is_stopping
        Whether a scan is to end before its end.
    """

    def __init__(
        self,
        data: Path,
        queue: Queue,
        clock: Callable[[], float] = time.monotonic,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._data = data
        self._queue = queue
        self._clock = clock
        self._is_stopping = is_stopping
        self._links = DropLinks(data)
        self._not_followed: set[str] = set()
        self._known: dict[str, _File] = {}
        self._folders: dict[str, int] = {}
        self._full_scan_at = -_FULL_SCAN_S
        self._moves = False
        self._pause_s = _MOVING_S

    @property
    def pause_s(self) -> float:
        """Pause before the next poll: longer while nothing arrives, or if scans are slow."""
        return self._pause_s

    def poll(self) -> int:
        """Scan once, and return the number of announced files."""
        begun = self._clock()
        announced = 0
        if self._moves or begun - self._full_scan_at >= _FULL_SCAN_S or self._folders_changed():
            self._full_scan_at = begun
            announced = self._scan_files(begun)
        calm = _MOVING_S if self._moves else _CALM_S
        self._pause_s = max(calm, _SHARE * (self._clock() - begun))
        return announced

    def _scan_files(self, now: float) -> int:
        found: dict[str, _File] = {}
        for key, shape in self._files():
            known = self._known.get(key)
            is_same = known is not None and known.shape == shape
            found[key] = known if known is not None and is_same else _File(shape, now)
        if self._is_stopping():
            return 0
        self._known = found
        new = [key for key, file in found.items() if not file.announced]
        moving = {key for key in new if now - found[key].since < _SETTLED_S}
        busy = {_folder(key) for key in moving}
        resting = [key for key in new if key not in moving]
        ready = [key for key in resting if not (_is_done(key) and _folder(key) in busy)]
        ready.sort(key=_is_done)
        self._queue.send([json.dumps(notification(key)) for key in ready])
        for key in ready:
            found[key].announced = True
        self._moves = len(ready) < len(new)
        return len(ready)

    def _folders_changed(self) -> bool:
        """Return whether a file was added, removed or renamed in any folder since the last scan."""
        return any(_changed_at(self._data / name) != at for name, at in self._folders.items())

    def _files(self) -> Iterator[tuple[str, _Shape]]:
        self._folders = {}
        waiting = ["drop"]
        while waiting and not self._is_stopping():
            folder = waiting.pop()
            path = self._data / folder
            self._folders[folder] = _changed_at(path)  # before it is read
            for key, entry in _entries(path, folder):
                try:
                    if entry.name.startswith(".") or not self._is_followed(key, entry):
                        continue
                    if entry.is_dir():
                        waiting += [key] * (key.count("/") < _MAX_DEPTH)
                        continue
                    status = entry.stat()
                except OSError:  # gone, or a dangling link
                    continue
                if stat.S_ISREG(status.st_mode) and parse(key) is not None:
                    # Change times cannot be set; modification times are copied along with files.
                    yield key, (status.st_ino, status.st_size, status.st_ctime_ns)

    def _is_followed(self, key: str, entry: "os.DirEntry[str]") -> bool:
        """Return whether an entry is no link, or one that is followed; log the others once."""
        if not entry.is_symlink() or self._links.are_followed(key, is_folder=entry.is_dir()):
            return True
        if key not in self._not_followed:
            self._not_followed.add(key)
            _log.warning(
                "%s is a link out of the data folder, or too deep; it is not followed", key
            )
        return False


def _entries(path: Path, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(path) as entries:
            return [(f"{folder}/{entry.name}", entry) for entry in entries]
    except OSError:  # gone, or not readable
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
    """Return the notification that S3 sends for a created object."""
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"object": {"key": quote_plus(key, safe="/")}},
    }
    return {"Records": [record]}
