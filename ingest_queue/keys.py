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
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ndlambda.stores.ports import ObjectStore

DROP: Final = "drop/"
MANIFEST: Final = "_ingest.json"
DONE: Final = "_DONE"

_JOBS: Final = "j"
_BEHIND_SLASH: Final = "0"
"""The character behind the slash: "a0" is behind all of "a/", and before all else there is."""
_NUMBER = re.compile(r"(\d{1,18})\.[A-Za-z0-9]+")
_TIME = re.compile(r"time(\d{1,9})")
_JOB_FOLDER = re.compile(r"drop/j/(?P<job>[0-9a-f]{16})/(?P<chunk>[0-9a-f]{12})/(?P<name>[^/]+)")
_DATA = re.compile(r"data\.[a-z0-9]+")
_UNFINISHED: Final = ("~", ".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart")
"""Ends of the names under which programs keep what they have not copied wholly yet."""


class Kind(Enum):
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
        What the object belongs to: ``drop/TOKEN/CHANNEL/`` or ``drop/j/JOB/``.
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
    kind: Kind
    folder: str
    job: str | None = None
    chunk: int | None = None
    time_point: int | None = None
    z: int | None = None


def token_folder(token: str, channel: str) -> str:
    """Give the folder that slices of a channel are dropped into."""
    return f"{DROP}{token}/{channel}/"


def is_folder(folder: str) -> bool:
    """Tell whether slices may be dropped into a folder: its names are not hidden."""
    return parse(folder + DONE) is not None


def folders_of(store: ObjectStore, after: str) -> Iterator[tuple[str, str]]:
    """Iterate over the folders of dropped slices, one listing each however much they hold.

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
        elif len(words) < 4:  # a file that is in no folder of a channel
            after = found.key
        else:
            folder = token_folder(words[1], words[2])
            after = folder[:-1] + _BEHIND_SLASH
            yield folder, after


def job_folder(job_id: str) -> str:
    """Give the folder of the input of a job that was made by a call."""
    return f"{DROP}{_JOBS}/{job_id}/"


def part_key(job_id: str, chunk: int, name: str) -> str:
    """Give the key of a part of a chunk that is uploaded to a job."""
    return f"{job_folder(job_id)}{chunk:012x}/{name}"


def parse(key: str) -> Dropped | None:
    """Read the key of a dropped object.

    None where it belongs to nothing, is hidden, or has the name of an unfinished copy.
    """
    if not key.startswith(DROP) or key.lower().endswith(_UNFINISHED):
        return None
    match = _JOB_FOLDER.fullmatch(key)
    if match is not None:
        return _of_job(key, match)
    words = key.removeprefix(DROP).split("/")
    if (
        not 3 <= len(words) <= 4
        or words[0] == _JOBS
        or any(word[:1] in {"", "."} for word in words)
    ):
        return None
    folder, name = token_folder(words[0], words[1]), words[-1]
    if len(words) == 3 and name in {MANIFEST, DONE}:
        kind = Kind.MANIFEST if name == MANIFEST else Kind.DONE
        return Dropped(key, kind, folder)
    number = _NUMBER.fullmatch(name)
    time = _TIME.fullmatch(words[2]) if len(words) == 4 else None
    if number is None or (len(words) == 4 and time is None):
        return Dropped(key, Kind.STRAY, folder)
    time_point = None if time is None else int(time[1])
    return Dropped(key, Kind.SLICE, folder, time_point=time_point, z=int(number[1]))


def _of_job(key: str, match: re.Match[str]) -> Dropped:
    job, chunk, name = match["job"], int(match["chunk"], 16), match["name"]
    folder = job_folder(job)
    if _DATA.fullmatch(name):
        return Dropped(key, Kind.BOX, folder, job, chunk)
    number = _NUMBER.fullmatch(name)
    if number is None:
        return Dropped(key, Kind.STRAY, folder, job, chunk)
    return Dropped(key, Kind.SLICE, folder, job, chunk, z=int(number[1]))
