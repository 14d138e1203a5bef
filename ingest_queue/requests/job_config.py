"""What a call may ask a job to be: our own configuration, or that of the ingest-client.

Ours is a JSON object:

===============  =================================================================================
key              value
===============  =================================================================================
``token``        opens the project
``id``           16 hexadecimal digits: sent twice with the same wishes, one job is made
``channel``      to be filled
``resolution``   0
``extent``       ``{"x": [start, stop], …}`` in dataset coordinates; axes left out are whole; also t
``mode``         ``slices`` (default) or ``chunks``
``on_bad``       ``fail`` (default), ``zero`` or ``skip``
``propagate``    whether to build coarser resolutions when complete; false
===============  =================================================================================

The ingest-client's (versions 0.1 and 0.2) is taken unchanged: ``schema``, ``client``, ``database``
and ``ingest_job``. It names no token. Tiles that are whole planes are uploaded as slices; in place
of smaller ones, which nobody puts together here, chunks are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ingest_queue.jobs.job import Mode, Policy, is_job_id
from ingest_queue.jobs.job_spec import JobSpec
from ingest_queue.requests.manifest import Manifest, read_extent
from ingest_queue.requests.reading import REQUIRED, Keys, Problems, read_object
from ndlambda.errors import InvalidArgumentError
from ndlambda.model.fields import LONGEST_NAME, MAX_LEVELS
from ndlambda.model.readers import Reader, Refusal, choice, flag, integer, one_of, text
from ndlambda.services.catalog.project_view import ProjectView

_NAME = text(LONGEST_NAME)
_RESOLUTION = (integer(0, MAX_LEVELS), 0)
_EXTENT: tuple[Reader, Any] = (read_extent, {})
_LARGEST = 2**62


def _job_id(value: object) -> str:
    if not isinstance(value, str) or not is_job_id(value):
        raise Refusal("must be 16 hexadecimal digits")
    return value


_OURS: Keys = {
    "id": (_job_id, ""),
    "token": (_NAME, REQUIRED),
    "channel": (_NAME, REQUIRED),
    "resolution": _RESOLUTION,
    "extent": _EXTENT,
    "mode": (choice(Mode), Mode.SLICES),
    "on_bad": (choice(Policy), Policy.FAIL),
    "propagate": (flag, False),
}


def _any_object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Refusal("must be an object")
    return value


def _sizes(value: object) -> Mapping[str, int]:
    read = integer(1, _LARGEST)
    sizes = {}
    for axis, size in _any_object(value).items():
        if axis not in {"x", "y", "z", "t"}:
            raise Refusal("has the axes x, y, z and t")
        try:
            sizes[axis] = read(size)
        except Refusal as refusal:
            raise Refusal(f"{axis} {refusal}") from None
    return sizes


_CLIENT: Keys = {
    "schema": (_any_object, REQUIRED),
    "client": (_any_object, REQUIRED),
    "database": (_any_object, REQUIRED),
    "ingest_job": (_any_object, REQUIRED),
}
_CLIENT_JOB: Keys = {
    "ingest_type": (one_of(("tile", "volumetric")), "tile"),
    "resolution": _RESOLUTION,
    "extent": _EXTENT,
    "tile_size": (_sizes, {}),
    "chunk_size": (_sizes, {}),
}


@dataclass(frozen=True, slots=True)
class JobConfig:
    """A job that is asked for.

    Attributes
    ----------
    token
        Empty where ``dataset`` and ``project`` are named instead.
    id
        Empty where none is asked for.
    extent
        Half-open ranges by axis, in dataset coordinates of the resolution.
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

    @classmethod
    def read(cls, doc: Mapping[str, Any]) -> Self:
        """Read a configuration.

        Raises
        ------
        ValidationError
            Keys that are missing or unknown, or have values that they cannot have: all are listed.
        """
        problems = Problems()
        if "ingest_job" in doc or "database" in doc:
            values = _read_client(doc, problems)
        else:
            values = read_object(doc, _OURS, "", problems)
        problems.check()
        return cls(**values)

    def spec(self, view: ProjectView, job_id: str = "") -> JobSpec:
        """Return what the engine is asked for.

        Raises
        ------
        ResolutionNotFoundError, InvalidArgumentError
            The dataset has no such resolution, or nothing of the extent.
        """
        level = view.dataset.pyramid.level(self.resolution)
        asked = Manifest(resolution=self.resolution, extent=self.extent)
        return JobSpec(
            channel=self.channel,
            resolution=self.resolution,
            box=asked.box(level),
            times=asked.times,
            mode=self.mode,
            on_bad=self.on_bad,
            propagate=self.propagate,
            job_id=job_id or self.id,
        )


def _read_client(doc: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Read a configuration of the ingest-client; how it finds its files is its own business."""
    outer = read_object(doc, _CLIENT, "", problems)
    names = _read_database(outer.get("database", {}), problems)
    job = read_object(outer.get("ingest_job", {}), _CLIENT_JOB, "ingest_job", problems)
    problems.check()
    is_slices = job["ingest_type"] == "tile" and _are_planes(job["tile_size"], job["extent"])
    return {
        "token": "",
        **names,
        "resolution": job["resolution"],
        "extent": job["extent"],
        "mode": Mode.SLICES if is_slices else Mode.CHUNKS,
    }


def _read_database(database: Mapping[str, Any], problems: Problems) -> dict[str, str]:
    """Read the names in the words of ndstore, or of its successor."""
    words = {"dataset": "dataset", "project": "project", "channel": "channel"}
    if "collection" in database or "experiment" in database:
        words = {"collection": "dataset", "experiment": "project", "channel": "channel"}
    keys: Keys = dict.fromkeys(words, (_NAME, REQUIRED))
    found = read_object(database, keys, "database", problems)
    return {words[word]: name for word, name in found.items()}


def _are_planes(tile: Mapping[str, int], extent: Mapping[str, tuple[int, int]]) -> bool:
    """Return whether tiles are whole planes.

    Raises
    ------
    InvalidArgumentError
        One of both does not say its width and height.
    """
    missing = [axis for axis in "xy" if axis not in extent or axis not in tile]
    if missing:
        raise InvalidArgumentError(
            f"tile_size and extent of a tile ingest must have {' and '.join(missing)}."
        )
    covers = all(tile[axis] >= extent[axis][1] - extent[axis][0] for axis in "xy")
    return covers and tile.get("z", 1) == tile.get("t", 1) == 1
