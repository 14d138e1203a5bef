"""Reads ``_ingest.json``, the manifest that describes a folder of dropped slices.

A JSON object with ndstore's field names; every key is optional:

=============  ===================================================================================
key            value
=============  ===================================================================================
``dataset``    fields of the dataset to create (``ximagesize``, ``zvoxelres``, …)
``project``    fields of the project to create; ``project_name`` if it is not the token's
``channel``    fields of the channel to create (``channel_type``, ``channel_datatype``, …)
``resolution`` of the slices; default 0
``extent``     ``{"x": [start, stop], …}`` in dataset coordinates, also t; by default all of an axis
``on_bad``     ``fail`` (default), ``zero`` or ``skip``
``labels``     whether slices for an annotation channel may look like an image; default false
``propagate``  whether to build coarser resolutions when complete; default false
=============  ===================================================================================
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingest_queue.jobs.job import Policy
from ingest_queue.jobs.job_spec import JobSpec
from ingest_queue.requests.reading import (
    LARGEST,
    Keys,
    Problems,
    any_object,
    by_axis,
    read_object,
)
from ndlambda.errors import MalformedBodyError
from ndlambda.model.fields import MAX_LEVELS
from ndlambda.model.readers import DescribedReader, Refusal, choice, flag, integer, schema_of
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Level

MAX_MANIFEST_BYTES = 1 << 20

_BOX_AXES = "xyz"
_COUNT = integer(0, LARGEST)


def _span(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise Refusal("must be [start, stop]")
    start, stop = _COUNT(value[0]), _COUNT(value[1])
    if start >= stop:
        raise Refusal("must not be empty")
    return start, stop


_SPAN_SCHEMA = {
    "description": "[start, stop): half open, in dataset coordinates of the resolution",
    "type": "array",
    "items": schema_of(_COUNT),
    "minItems": 2,
    "maxItems": 2,
}

read_extent = by_axis(DescribedReader(_span, _SPAN_SCHEMA))
"""Reads half-open ranges by axis."""

MANIFEST_KEYS: Keys = {
    "dataset": (any_object, {}),
    "project": (any_object, {}),
    "channel": (any_object, {}),
    "resolution": (integer(0, MAX_LEVELS), 0),
    "extent": (read_extent, {}),
    "on_bad": (choice(Policy), Policy.FAIL),
    "labels": (flag, False),
    "propagate": (flag, False),
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a manifest.

    Attributes
    ----------
    dataset, project, channel
        Fields of ``model.fields``, not validated yet.
    extent
        Half-open ranges by axis, in dataset coordinates of the resolution.
    """

    dataset: Mapping[str, Any] = field(default_factory=dict)
    project: Mapping[str, Any] = field(default_factory=dict)
    channel: Mapping[str, Any] = field(default_factory=dict)
    resolution: int = 0
    extent: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    on_bad: Policy = Policy.FAIL
    propagate: bool = False
    labels: bool = False

    @classmethod
    def read(cls, body: bytes | memoryview) -> "Manifest":
        """Read a manifest.

        Raises
        ------
        MalformedBodyError
            It is not a JSON object.
        ValidationError
            Lists every unknown key and invalid value.
        """
        try:
            doc = json.loads(bytes(body[:MAX_MANIFEST_BYTES]))
        except (ValueError, RecursionError) as error:
            raise MalformedBodyError(f"The manifest is not JSON ({error}).") from error
        if not isinstance(doc, Mapping):
            raise MalformedBodyError("The manifest must be a JSON object.")
        problems = Problems()
        values = read_object(doc, MANIFEST_KEYS, "", problems)
        problems.check()
        return cls(**values)

    def spec(self, view: ProjectView, channel: str, job_id: str = "") -> JobSpec:
        """Return the specification of a job that fills a channel.

        Raises
        ------
        ResolutionNotFoundError, InvalidArgumentError
            The dataset has no such resolution, or the extent lies outside it.
        """
        return JobSpec(
            channel=channel,
            resolution=self.resolution,
            box=self.box(view.dataset.pyramid.level(self.resolution)),
            times=self.times,
            on_bad=self.on_bad,
            propagate=self.propagate,
            labels=self.labels,
            job_id=job_id,
        )

    def box(self, level: Level) -> Box | None:
        """Return the extent as zero-based voxels of a level, None for all of it."""
        if not self.extent.keys() & set(_BOX_AXES):
            return None
        whole = zip(_BOX_AXES, level.offset_xyz, level.box.stop_xyz, strict=True)
        spans = [
            tuple(at - offset for at in self.extent.get(axis, (offset, offset + size)))
            for axis, offset, size in whole
        ]
        (x0, x1), (y0, y1), (z0, z1) = spans
        return Box((x0, y0, z0), (x1, y1, z1))

    @property
    def times(self) -> tuple[int, int] | None:
        """The time points, None for all."""
        return self.extent.get("t")
