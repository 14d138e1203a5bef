"""Where the input of ingest jobs lies in the drop store, and what the name of a file says.

=================================================  ==============================================
key                                                object
=================================================  ==============================================
``drop/TOKEN/CHANNEL/ZZZZ.EXT``                    a slice: any digits, the dataset's z
``drop/TOKEN/CHANNEL/timeTTTT/ZZZZ.EXT``           a slice of a time point
``drop/TOKEN/CHANNEL/_ingest.json``                manifest: what the slices are (``manifest``)
``drop/TOKEN/CHANNEL/_DONE``                       nothing more will come
``drop/j/JOB/CHUNK/ZZZZZZ.EXT``, ``…/data.EXT``    a slice or a box of voxels of a job
=================================================  ==============================================

The layout of slices is ndstore's. Slices of time series that lie in no ``time`` folder belong to
the job's first time point.
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
"""Here lies what was uploaded to jobs: put by the server, copied in by nobody."""

UNREADABLE: Final = "unreadable"
"""Stands for the ETag of a file that is there and cannot be read."""

_JOBS: Final = "j"
_LONGEST: Final = 1024
"""Bytes of a key at most, as on S3."""
_BEHIND_SLASH: Final = "0"
"""The character behind the slash: "a0" is behind all of "a/", and before all else there is."""
_NUMBER = re.compile(r"(\d{1,18})\.[A-Za-z0-9]+")
_TIME = re.compile(r"time(\d{1,9})")
_JOB_FOLDER = re.compile(r"drop/j/(?P<job>[0-9a-f]{16})/(?P<chunk>[0-9a-f]{12})/(?P<name>[^/]+)")
_DATA = re.compile(r"data\.[a-z0-9]+")
_UNFINISHED: Final = ("~", ".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart")
"""Ends of the names under which programs keep what they have not copied wholly yet."""
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})
"""What Windows leaves in folders that somebody looked at; other systems hide theirs."""


class DroppedKind(Enum):
    """What a dropped file is."""

    SLICE = "slice"
    BOX = "box"
    MANIFEST = "manifest"
    DONE = "done"
    STRAY = "stray"


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the key of a dropped object says.

    Attributes
    ----------
    folder
        What the object belongs to: ``drop/TOKEN/CHANNEL/`` or ``drop/j/JOB/``. Of a stray that is
        in no folder of a channel, the folder that it is in.
    job
        The job, where the key names it.
    chunk
        The number of the chunk, where the key names it.
    time_point
        None where the key names none.
    z
        The slice's number; None for anything else.
    """

    key: str
    kind: DroppedKind
    folder: str
    job: str | None = None
    chunk: int | None = None
    time_point: int | None = None
    z: int | None = None


def token_folder(token: str, channel: str) -> str:
    """Return the folder that slices of a channel are dropped into."""
    return f"{DROP}{token}/{channel}/"


def is_folder(folder: str) -> bool:
    """Return whether slices may be dropped into a folder: it is a channel's, and not hidden."""
    dropped = parse(folder + DONE)
    return dropped is not None and dropped.kind is DroppedKind.DONE


def folders_of(store: ObjectStore, after: str) -> Iterator[tuple[str, str]]:
    """Iterate over the folders of dropped slices, one listing each however much they hold.

    Folders above them are there, too, once for every file that lies in them by mistake.

    Parameters
    ----------
    after
        Where to begin: what came with the last folder, or nothing.

    Yields
    ------
    folder, after
        A folder, and where to go on behind it.
    """
    while (found := next(store.list(DROP, after), None)) is not None:
        words = found.key.split("/")
        if words[1] == _JOBS and len(words) > 2:
            after = f"{DROP}{_JOBS}{_BEHIND_SLASH}"
        elif len(words) < 4:
            after = found.key
            if (stray := parse(found.key)) is not None:
                yield stray.folder, after
        else:
            folder = token_folder(words[1], words[2])
            after = folder[:-1] + _BEHIND_SLASH
            if is_folder(folder):
                yield folder, after


def why_stray(dropped: Dropped) -> str:
    """Say why an object of a folder is no slice, as a part of a sentence."""
    folder, _, name = dropped.key.removeprefix(dropped.folder).rpartition("/")
    if folder and _TIME.fullmatch(folder) is None:
        return f"{folder} is no folder of a time point like time0001"
    if _NUMBER.fullmatch(name) is None:
        return "its name is not a number and a suffix"
    return "slices lie in drop/TOKEN/CHANNEL/"


def etag_of(drop: ObjectStore, key: str) -> str | None:
    """Return the ETag of a dropped object, None where there is none.

    What cannot be read is one, too, so that who builds it finds out and says so.
    """
    try:
        stored = drop.get(key, Range(0, 1))
    except MalformedBodyError:
        return UNREADABLE
    return None if stored is None else stored.etag


def job_folder(job_id: str) -> str:
    """Return the folder of the input of a job that was made by a call."""
    return f"{DROP}{_JOBS}/{job_id}/"


def part_key(job_id: str, chunk: int, name: str) -> str:
    """Return the key of a part of a chunk that is uploaded to a job."""
    return f"{job_folder(job_id)}{chunk:012x}/{name}"


def parse(key: str) -> Dropped | None:
    """Read the key of a dropped object.

    None where it belongs to nothing, is hidden, has the name of an unfinished copy, or cannot be a
    key (files may have names that are no text).
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
        return len(name.encode()) <= _LONGEST
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
