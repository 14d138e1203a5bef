"""The job of a source: found again by what the source is, so that nothing is kept on this side.

The id of a job is a digest of what is ingested from where to where, so the same command makes the
same job, and whoever was killed finds it on the server with the list of what did not come. A source
that was changed is another source and gets another job.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, Final

from ingest_queue.jobs.grid import ChunkGrid
from ingest_queue.sources import find_place
from ndlambda.cli.data.upload import StackUpload
from ndlambda.client import Client
from ndlambda.client.ingest import UNDER_WAY, Document
from ndlambda.errors import AlreadyExistsError
from ndlambda.space.box import XYZ, Box

_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a job is asked to do beside taking voxels.

    Attributes
    ----------
    again
        Whether to begin anew where the same source was ingested already.
    mode
        What is sent: ``chunks``, or ``slices`` as the files that they are.
    """

    on_bad: str
    propagate: bool
    again: bool = False
    mode: str = "chunks"


def begin(client: Client, location: str, upload: StackUpload, wishes: JobOptions) -> Document:
    """Return the job that takes a source: the one that was begun, or a new one.

    One that was begun with other wishes keeps them. A job that was cancelled is left alone, and so
    is one whose channel was deleted since, or that has ended where it is wished to begin again.
    """
    axes = zip("xyz", upload.box.start_xyz, upload.box.stop_xyz, strict=True)
    extent = {axis: [start, stop] for axis, start, stop in axes}
    times = [upload.start_time, upload.start_time + upload.source.shape_tzyx[0]]
    fields: dict[str, Any] = {
        "resolution": upload.volume.resolution,
        "extent": extent | {"t": times},
        "mode": wishes.mode,
    }
    asked = fields | {"on_bad": wishes.on_bad, "propagate": wishes.propagate}
    target = upload.volume.token, upload.volume.channel
    about = [*target, fields, client.url, client.server["user"], *_identity(location, upload)]
    for attempt in count():
        job_id = _digest([*about, attempt])
        try:
            job = client.ingest.create(*target, **asked, id=job_id)
        except AlreadyExistsError:
            job = client.ingest.get(job_id)
        if job["state"] == "CANCELLED" or job["extent"] is None:
            continue
        if wishes.again and job["state"] not in UNDER_WAY:
            continue
        return job
    raise AssertionError("counting has no end")


def grid_of(job: Mapping[str, Any], level_start_xyz: XYZ) -> ChunkGrid:
    """Return the chunks of a job.

    Parameters
    ----------
    level_start_xyz
        Dataset coordinates of the volume's first voxel.
    """
    ranges = [job["extent"][axis] for axis in "xyz"]
    (x0, x1), (y0, y1), (z0, z1) = ranges
    ox, oy, oz = level_start_xyz
    t0, t1 = job["extent"]["t"]
    cx, cy, cz = job["chunk_xyz"]
    box = Box((x0, y0, z0), (x1, y1, z1)).shifted((-ox, -oy, -oz))
    return ChunkGrid(box, (t0, t1), (cx, cy, cz), oz if job["mode"] == "slices" else None)


def _identity(location: str, upload: StackUpload) -> Iterator[object]:
    """Iterate over what tells a source from others, and from itself after a change.

    Of a folder this is what lies directly in it: arrays in folders of folders may have millions of
    files, but their descriptions lie on top.
    """
    yield list(upload.source.shape_tzyx)
    yield upload.source.dtype.str
    place = find_place(location)
    if place.path is None:
        yield place.text
        return
    yield str(place.path.resolve())
    yield place.inside
    folder = place.folder
    if folder is None:
        yield _file(place.path)
    elif folder.is_dir():
        with os.scandir(folder) as entries:
            yield sorted(map(_file, entries))


def _file(entry: "Path | os.DirEntry[str]") -> list[object]:
    try:
        status = entry.stat()
    except OSError:  # a link to nowhere, say: it is another file when it is mended
        return [entry.name, None, None]
    return [entry.name, status.st_size, status.st_mtime_ns]


def _digest(about: object) -> str:
    return blake2b(json.dumps(about).encode(), digest_size=_ID_BYTES).hexdigest()
