"""Estimates an ingest on AWS: objects, requests, bytes, minutes and dollars; pure arithmetic.

Counts are those of a first ingest into an empty image channel without losses or retries (labels
also write index rows, which depend on the data). Prices are on-demand list prices of us-east-1,
November 2025, without the free tier.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ingest_queue.jobs.grid import ChunkGrid
from ndlambda.space.box import XYZ
from ndlambda.space.grid import cell_count

PRICES: Final[Mapping[str, float]] = {
    "S3 PUT": 0.005e-3,
    "S3 GET": 0.0004e-3,
    "DynamoDB write": 0.625e-6,
    "DynamoDB read": 0.125e-6,
    "SQS request": 0.40e-6,
    "Lambda request": 0.20e-6,
    "Lambda GB s": 16.6667e-6,
    "HTTP API request": 1.00e-6,
    "S3 GB month": 0.023,
}
"""Dollars per unit (aws.amazon.com: s3, dynamodb, sqs, lambda, api-gateway; under /pricing)."""

PER_CHUNK: Final[Mapping[str, int]] = {
    "S3 PUT": 2,  # the upload, the digests
    "S3 GET": 3,  # ETag on notification, body, ETag before it is deleted
    "DynamoDB write": 8,  # part, received, built, set; some are conditional
    "DynamoDB read": 30,
    "SQS request": 6,  # notification and build message: sent, received, deleted
    "Lambda request": 2,
    "HTTP API request": 1,  # permission to upload, and progress
}
"""Requests for a chunk of eight supercuboids uploaded as a box, rounded up."""

PER_SLICE: Final[Mapping[str, int]] = {
    "S3 PUT": 1,
    "S3 GET": 3,
    "DynamoDB write": 2,
    "DynamoDB read": 10,
    "SQS request": 3,
    "Lambda request": 1,
    "HTTP API request": 1,
}
"""Requests for a slice uploaded as a file, before its slab is built."""

PER_SLAB: Final[Mapping[str, int]] = {
    "S3 PUT": 1,
    "DynamoDB write": 6,
    "DynamoDB read": 20,
    "SQS request": 3,
    "Lambda request": 1,
}
"""Requests for building a slab of slices, without those of its supercuboids."""

_LAMBDA_GB: Final = 2.0
_BUILD_BYTES_PER_S: Final = 60e6
"""Bytes of voxels decoded, compressed and digested by a builder of 2 GB (just over one core)."""
_GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Sample:
    """Measurements on some planes of the source.

    Attributes
    ----------
    ratio
        Compressed bytes per uncompressed byte.
    bytes_per_s
        Bytes of voxels read and compressed in a second.
    """

    ratio: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """One item of the costs."""

    name: str
    count: float
    dollars: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The estimate of an ingest.

    Attributes
    ----------
    uploads
        Objects to upload: one for each chunk or slice.
    objects
        Upper bound on stored supercuboids; all-zero ones are not stored.
    voxel_bytes, upload_bytes
        Uncompressed; over the network.
    minutes
        The slower one of reading and of the network.
    lines
        Costs of the ingest; ``month_dollars`` are the costs of storage.
    """

    uploads: int
    objects: int
    voxel_bytes: int
    upload_bytes: int
    minutes: float
    lines: tuple[Line, ...]
    month_dollars: float

    @property
    def requests(self) -> int:
        """Requests to S3, DynamoDB, SQS and the API."""
        return round(sum(line.count for line in self.lines if not line.name.endswith("GB s")))

    @property
    def dollars(self) -> float:
        """Total costs of the ingest."""
        return sum(line.dollars for line in self.lines)


def make_plan(
    grid: ChunkGrid,
    supercuboid_xyz: XYZ,
    itemsize: int,
    sample: Sample,
    uplink_bytes_per_s: float,
) -> Plan:
    """Return the estimate of an ingest.

    Parameters
    ----------
    grid
        The chunks to upload: boxes, or slices.
    itemsize
        Bytes of a voxel.
    uplink_bytes_per_s
        Speed of the network.
    """
    times = grid.times[1] - grid.times[0]
    objects = times * cell_count(grid.box, supercuboid_xyz)
    voxel_bytes = times * grid.box.voxels * itemsize
    upload_bytes = round(voxel_bytes * sample.ratio)
    counts = _requests(grid)
    counts["S3 PUT"] += objects  # new objects are put without a read
    counts["Lambda GB s"] = voxel_bytes / _BUILD_BYTES_PER_S * _LAMBDA_GB
    seconds = max(voxel_bytes / sample.bytes_per_s, upload_bytes / uplink_bytes_per_s)
    return Plan(
        uploads=grid.parts,
        objects=objects,
        voxel_bytes=voxel_bytes,
        upload_bytes=upload_bytes,
        minutes=seconds / 60,
        lines=tuple(Line(name, count, count * PRICES[name]) for name, count in counts.items()),
        month_dollars=upload_bytes / _GB * PRICES["S3 GB month"],
    )


def _requests(grid: ChunkGrid) -> dict[str, float]:
    if grid.first_slice is None:
        return {name: grid.count * each for name, each in PER_CHUNK.items()}
    return {
        name: grid.parts * each + grid.count * PER_SLAB.get(name, 0)
        for name, each in PER_SLICE.items()
    }
