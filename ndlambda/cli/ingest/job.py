"""Finds or creates the job of a source; the client keeps no state.

The id of a job is a digest of the source and its target, so the same command names the same job: a
run that was killed finds it on the server with the list of missing parts. A changed source is
another source and gets another job.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, Final

from ingest_queue.jobs.grid import ChunkGrid
from ingest_queue.sources import DEFAULTS, Options, find_place, other_files
from ndlambda.cli.data.upload import StackUpload
from ndlambda.client import Client
from ndlambda.client.ingest import UNDER_WAY, Document
from ndlambda.errors import AlreadyExistsError
from ndlambda.space.box import XYZ, Box

_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a job is to do besides storing voxels.

    Attributes
    ----------
    again
        Whether to start a new job if the same source was ingested already.
    mode
        What is sent: ``chunks``, or ``slices`` as files.
    labels
        Whether slices sent as files may look like an image although the channel holds labels.
    reading
        How the source is read; another channel or resolution of a file is another source.
    """

    on_bad: str
    propagate: bool
    again: bool = False
    mode: str = "chunks"
    labels: bool = False
    reading: Options = DEFAULTS


def find_or_create_job(
    client: Client, location: str, upload: StackUpload, options: JobOptions
) -> Document:
    """Return the existing job of a source, or a new one.

    An existing job keeps its options. A job that was cancelled, whose channel was deleted, or that
    has ended although ``again`` is set, is skipped.
    """
    axes = zip("xyz", upload.box.start_xyz, upload.box.stop_xyz, strict=True)
    extent = {axis: [start, stop] for axis, start, stop in axes}
    times = [upload.start_time, upload.start_time + upload.source.shape_tzyx[0]]
    fields: dict[str, Any] = {
        "resolution": upload.volume.resolution,
        "extent": extent | {"t": times},
        "mode": options.mode,
    }
    requested = fields | {"on_bad": options.on_bad, "propagate": options.propagate}
    if options.labels and options.mode == "slices":  # another job than one that refused them
        fields["labels"] = requested["labels"] = True
    target = upload.volume.token, upload.volume.channel
    identity = [*target, fields, client.url, client.server["user"], *_identity(location, upload)]
    reading = replace(options.reading, defer_faults=False)
    if reading != DEFAULTS:
        identity.append([str(value) for value in astuple(reading)])
    for attempt in count():
        job_id = _digest([*identity, attempt])
        try:
            job = client.ingest.create(*target, **requested, id=job_id)
        except AlreadyExistsError:
            job = client.ingest.get(job_id)
        if job["state"] == "CANCELLED" or job["extent"] is None:
            continue
        if options.again and job["state"] not in UNDER_WAY:
            continue
        return job
    raise AssertionError("counting has no end")


def grid_of(job: Mapping[str, Any], level_start_xyz: XYZ) -> ChunkGrid:
    """Return the chunk grid of a job.

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
    """Iterate over what distinguishes a source from others and from its changed versions.

    For a file these are it and the others that voxels come from. For a folder these are its direct
    entries: nested array folders may have millions of files, but their metadata is at the top.
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
        beside = [file for file in other_files(upload.source) if file != place.path]
        if beside:
            yield [[str(file), *_file(file)] for file in beside]
    elif folder.is_dir():
        with os.scandir(folder) as entries:
            yield sorted(map(_file, entries))


def _file(entry: "Path | os.DirEntry[str]") -> list[object]:
    try:
        status = entry.stat()
    except OSError:  # for example a dangling link, which becomes another file once repaired
        return [entry.name, None, None]
    return [entry.name, status.st_size, status.st_mtime_ns]


def _digest(identity: object) -> str:
    return blake2b(json.dumps(identity).encode(), digest_size=_ID_BYTES).hexdigest()
