"""Keys of the drop store: where the input of ingest jobs is, and what a file's name means.

=================================================  ==============================================
key                                                object
=================================================  ==============================================
``drop/TOKEN/CHANNEL/ZZZZ.EXT``                    a slice: any digits, the dataset's z
``drop/TOKEN/CHANNEL/timeTTTT/ZZZZ.EXT``           a slice of a time point
``drop/TOKEN/CHANNEL/_ingest.json``                describes the slices (``requests.manifest``)
``drop/TOKEN/CHANNEL/_DONE``                       marks the folder as complete
``drop/j/JOB/CHUNK/ZZZZZZ.EXT``, ``…/data.EXT``    a slice or a box of voxels of a job
=================================================  ==============================================

The layout of slices is ndstore's. Slices of time series outside of a ``time`` folder belong to the
job's first time point.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ndlambda.errors import MalformedBodyError
from ndlambda.stores.ports import ObjectStore, Range

DROP: Final = "drop/"
MANIFEST: Final = "_ingest.json"
DONE: Final = "_DONE"
UPLOADS: Final = "drop/j/"
"""Prefix of uploads to jobs; only the server writes here."""

UNREADABLE: Final = "unreadable"
"""ETag of an existing file that cannot be read."""

_JOBS: Final = "j"
_MAX_KEY_BYTES: Final = 1024
"""As on S3."""
_AFTER_SLASH: Final = "0"
"""The character after "/": "a0" sorts after every key "a/…" and before all other later keys."""
_NUMBER = re.compile(r"([0-9]{1,18})\.[A-Za-z0-9]+")
_TIME = re.compile(r"time([0-9]{1,9})")
_JOB_FOLDER = re.compile(r"drop/j/(?P<job>[0-9a-f]{16})/(?P<chunk>[0-9a-f]{12})/(?P<name>[^/]+)")
_DATA = re.compile(r"data\.[a-z0-9]+")
_UNFINISHED: Final = ("~", ".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart")
"""Suffixes that programs give to files whose copy is not complete."""
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})
"""Files that Windows leaves in viewed folders; other systems hide theirs."""


class DroppedKind(Enum):
    """The kind of a dropped file."""

    SLICE = "slice"
    BOX = "box"
    MANIFEST = "manifest"
    DONE = "done"
    STRAY = "stray"


@dataclass(frozen=True, slots=True)
class Dropped:
    """The parsed key of a dropped object.

    Attributes
    ----------
    folder
        ``drop/TOKEN/CHANNEL/`` or ``drop/j/JOB/``; of a stray outside of a channel's folder, the
        folder that contains it.
    job, chunk, time_point
        None if the key does not name them.
    z
        Slice number; None for any other kind.
    """

    key: str
    kind: DroppedKind
    folder: str
    job: str | None = None
    chunk: int | None = None
    time_point: int | None = None
    z: int | None = None


def token_folder(token: str, channel: str) -> str:
    """Return the drop folder of a channel."""
    return f"{DROP}{token}/{channel}/"


def is_folder(folder: str) -> bool:
    """Return whether a folder is the drop folder of a channel, and not hidden."""
    dropped = parse(folder + DONE)
    return dropped is not None and dropped.kind is DroppedKind.DONE


def folders_of(store: ObjectStore, after: str) -> Iterator[tuple[str, str]]:
    """Iterate over the drop folders, with one listing request each, whatever their size.

    A folder above them is yielded once for every misplaced file in it.

    Parameters
    ----------
    after
        The cursor yielded with the last folder; empty starts from the beginning.

    Yields
    ------
    folder, after
        A folder, and the cursor that continues after it.
    """
    while (found := next(store.list(DROP, after), None)) is not None:
        words = found.key.split("/")
        if words[1] == _JOBS and len(words) > 2:
            after = f"{DROP}{_JOBS}{_AFTER_SLASH}"
        elif len(words) < 4:
            after = found.key
            if (stray := parse(found.key)) is not None:
                yield stray.folder, after
        else:
            folder = token_folder(words[1], words[2])
            after = folder[:-1] + _AFTER_SLASH
            if is_folder(folder):
                yield folder, after


def why_stray(dropped: Dropped) -> str:
    """Return why an object of a folder is not a slice, as a clause of a sentence."""
    folder, _, name = dropped.key.removeprefix(dropped.folder).rpartition("/")
    if folder and _TIME.fullmatch(folder) is None:
        return f"{folder} is not a folder of a time point like time0001"
    if _NUMBER.fullmatch(name) is None:
        return "its name is not a number and a suffix"
    return "slices lie in drop/TOKEN/CHANNEL/"


def etag_of(drop: ObjectStore, key: str) -> str | None:
    """Return the ETag of a dropped object, None if there is none.

    A file that cannot be read counts as an object, so that its builder reports the reason.
    """
    try:
        stored = drop.get(key, Range(0, 1))
    except MalformedBodyError:
        return UNREADABLE
    return None if stored is None else stored.etag


def job_folder(job_id: str) -> str:
    """Return the folder of uploads to a job."""
    return f"{DROP}{_JOBS}/{job_id}/"


def part_key(job_id: str, chunk: int, name: str) -> str:
    """Return the key of an uploaded part of a chunk."""
    return f"{job_folder(job_id)}{chunk:012x}/{name}"


def parse(key: str) -> Dropped | None:
    """Parse the key of a dropped object.

    Returns None if it belongs to no folder, is hidden, has the name of an unfinished copy, or is
    not a valid key (file names need not be text).
    """
    if not _can_be_key(key):
        return None
    lower = key.lower()
    if not key.startswith(DROP) or lower.endswith(_UNFINISHED) or _name(lower) in _LITTER:
        return None
    match = _JOB_FOLDER.fullmatch(key)
    if match is not None:
        return _of_job(key, match)
    words = key.removeprefix(DROP).split("/")
    if words[0] == _JOBS or any(word[:1] in {"", "."} for word in words):
        return None
    if len(words) < 3:
        return Dropped(key, DroppedKind.STRAY, key[: key.rindex("/") + 1])
    return _of_channel(key, words)


def _of_channel(key: str, words: Sequence[str]) -> Dropped:
    folder, name = token_folder(words[0], words[1]), words[-1]
    if len(words) == 3 and name in {MANIFEST, DONE}:
        kind = DroppedKind.MANIFEST if name == MANIFEST else DroppedKind.DONE
        return Dropped(key, kind, folder)
    number = _NUMBER.fullmatch(name)
    time = _TIME.fullmatch(words[2]) if len(words) == 4 else None
    if number is None or (len(words) > 3 and time is None):
        return Dropped(key, DroppedKind.STRAY, folder)
    time_point = None if time is None else int(time[1])
    return Dropped(key, DroppedKind.SLICE, folder, time_point=time_point, z=int(number[1]))


def _can_be_key(name: str) -> bool:
    try:
        return len(name.encode()) <= _MAX_KEY_BYTES
    except UnicodeEncodeError:
        return False


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _of_job(key: str, match: re.Match[str]) -> Dropped:
    job, chunk, name = match["job"], int(match["chunk"], 16), match["name"]
    folder = job_folder(job)
    if _DATA.fullmatch(name):
        return Dropped(key, DroppedKind.BOX, folder, job, chunk)
    number = _NUMBER.fullmatch(name)
    if number is None:
        return Dropped(key, DroppedKind.STRAY, folder, job, chunk)
    return Dropped(key, DroppedKind.SLICE, folder, job, chunk, z=int(number[1]))
