"""Reads job configurations: our own, and those of the ingest-client.

Ours is a JSON object:

===============  =================================================================================
key              value
===============  =================================================================================
``token``        opens the project
``id``           16 hexadecimal digits; a repeated request with the same id creates one job
``channel``      to be filled
``resolution``   default 0
``extent``       ``{"x": [start, stop], …}`` in dataset coordinates, also t; default all of an axis
``mode``         ``slices`` (default) or ``chunks``
``on_bad``       ``fail`` (default), ``zero`` or ``skip``
``labels``       whether slices for an annotation channel may look like an image; default false
``propagate``    whether to build coarser resolutions when complete; default false
===============  =================================================================================

The ingest-client's (versions 0.1 and 0.2) is accepted unchanged: ``schema``, ``client``,
``database`` and ``ingest_job``. It names no token. Tiles that are whole planes are uploaded as
slices. Smaller tiles are not assembled here: chunks are uploaded instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ingest_queue.jobs.job import Mode, Policy, is_job_id
from ingest_queue.jobs.job_spec import JobSpec
from ingest_queue.requests.manifest import MANIFEST_KEYS, Manifest
from ingest_queue.requests.reading import (
    LARGEST,
    REQUIRED,
    Keys,
    Problems,
    any_object,
    by_axis,
    read_object,
)
from ndlambda.errors import InvalidArgumentError
from ndlambda.model.fields import LONGEST_NAME
from ndlambda.model.readers import DescribedReader, Refusal, choice, integer, one_of, text
from ndlambda.services.catalog.project_view import ProjectView

_NAME = text(LONGEST_NAME)


def _job_id(value: object) -> str:
    if not isinstance(value, str) or not is_job_id(value):
        raise Refusal("must be 16 hexadecimal digits")
    return value


JOB_KEYS: Keys = {
    "id": (DescribedReader(_job_id, {"type": "string", "pattern": "^[0-9a-f]{16}$"}), ""),
    "token": (_NAME, REQUIRED),
    "channel": (_NAME, REQUIRED),
    "mode": (choice(Mode), Mode.SLICES),
    **{
        key: MANIFEST_KEYS[key] for key in ("resolution", "extent", "on_bad", "labels", "propagate")
    },
}
CLIENT_KEYS: Keys = dict.fromkeys(
    ("schema", "client", "database", "ingest_job"), (any_object, REQUIRED)
)
CLIENT_JOB_KEYS: Keys = {
    "ingest_type": (one_of(("tile", "volumetric")), "tile"),
    **{key: MANIFEST_KEYS[key] for key in ("resolution", "extent", "labels")},
    **dict.fromkeys(("tile_size", "chunk_size"), (by_axis(integer(1, LARGEST)), {})),
}
DATABASES: tuple[Keys, ...] = tuple(
    dict.fromkeys(names, (_NAME, REQUIRED))
    for names in (("dataset", "project", "channel"), ("collection", "experiment", "channel"))
)
"""Of ``database``: ndstore's names, and those of its successor in the same order."""


@dataclass(frozen=True, slots=True)
class JobConfig:
    """A requested job.

    Attributes
    ----------
    token
        Empty if ``dataset`` and ``project`` are given instead.
    id
        Empty if the server is to choose it.
    extent
        Half-open ranges by axis, in dataset coordinates of the resolution.
    tile_xyzt
        The ``tile_size`` of the ingest-client, which gets it back; None without one.
    """

    token: str
    channel: str
    id: str = ""
    dataset: str = ""
    project: str = ""
    resolution: int = 0
    extent: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    mode: Mode = Mode.SLICES
    on_bad: Policy = Policy.FAIL
    propagate: bool = False
    labels: bool = False
    tile_xyzt: tuple[int, int, int, int] | None = None

    @classmethod
    def read(cls, doc: Mapping[str, Any]) -> Self:
        """Read a configuration.

        Raises
        ------
        ValidationError
            Lists every missing or unknown key and invalid value.
        """
        problems = Problems()
        if "ingest_job" in doc or "database" in doc:
            values = _read_client(doc, problems)
        else:
            values = read_object(doc, JOB_KEYS, "", problems)
        problems.check()
        return cls(**values)

    def spec(self, view: ProjectView, job_id: str = "") -> JobSpec:
        """Return the specification of the job.

        Raises
        ------
        ResolutionNotFoundError, InvalidArgumentError
            The dataset has no such resolution, or the extent lies outside it.
        """
        manifest = Manifest(
            resolution=self.resolution,
            extent=self.extent,
            on_bad=self.on_bad,
            propagate=self.propagate,
            labels=self.labels,
        )
        spec = manifest.spec(view, self.channel, job_id or self.id)
        return replace(spec, mode=self.mode, tile_xyzt=self.tile_xyzt)


def _read_client(doc: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Read a configuration of the ingest-client; how it finds its files is not read."""
    outer = read_object(doc, CLIENT_KEYS, "", problems)
    names = _read_database(outer.get("database", {}), problems)
    job = read_object(outer.get("ingest_job", {}), CLIENT_JOB_KEYS, "ingest_job", problems)
    problems.check()
    is_tiled, tile = job["ingest_type"] == "tile", job["tile_size"]
    is_slices = is_tiled and _are_planes(tile, job["extent"])
    return {
        "token": "",
        **names,
        "resolution": job["resolution"],
        "extent": job["extent"],
        "labels": job["labels"],
        "mode": Mode.SLICES if is_slices else Mode.CHUNKS,
        "tile_xyzt": tuple(tile.get(axis, 1) for axis in "xyzt") if is_tiled else None,
    }


def _read_database(database: Mapping[str, Any], problems: Problems) -> dict[str, str]:
    """Return the dataset, project and channel, by the names of ndstore or of its successor."""
    ours, theirs = DATABASES
    keys = theirs if {"collection", "experiment"} & database.keys() else ours
    names = dict(zip(keys, ours, strict=True))
    found = read_object(database, keys, "database", problems)
    return {names[key]: value for key, value in found.items()}


def _are_planes(tile: Mapping[str, int], extent: Mapping[str, tuple[int, int]]) -> bool:
    """Return whether tiles are whole planes.

    Raises
    ------
    InvalidArgumentError
        The width or height of one of them is missing.
    """
    missing = [axis for axis in "xy" if axis not in extent or axis not in tile]
    if missing:
        raise InvalidArgumentError(
            f"tile_size and extent of a tile ingest must have {' and '.join(missing)}."
        )
    covers = all(tile[axis] >= extent[axis][1] - extent[axis][0] for axis in "xy")
    return covers and tile.get("z", 1) == tile.get("t", 1) == 1
