"""``_ingest.json``: what a folder of dropped slices is, in the words of ndstore.

A JSON object, all of it optional:

=============  ===================================================================================
key            value
=============  ===================================================================================
``dataset``    fields of the dataset, if it is to be made (``ximagesize``, ``zvoxelres``, …)
``project``    fields of the project, likewise; ``project_name`` if not the token's
``channel``    fields of the channel, likewise (``channel_type``, ``channel_datatype``, …)
``resolution`` of the slices; 0
``extent``     ``{"x": [start, stop], …}`` in dataset coordinates; axes left out are whole; also t
``on_bad``     ``fail`` (default), ``zero`` or ``skip``
``propagate``  whether to build coarser resolutions when complete; false
=============  ===================================================================================
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingest_queue.jobs.job import Policy
from ndlambda.errors import MalformedBodyError, ValidationError
from ndlambda.model.readers import Reader, Refusal, choice, flag, integer
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Level

LONGEST = 1 << 20
"""Most bytes that a manifest may have."""

_LARGEST = 2**62
_AXES = "xyz"


def _fields(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Refusal("must be an object")
    return value


def _span(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise Refusal("must be [start, stop]")
    read = integer(0, _LARGEST)
    start, stop = read(value[0]), read(value[1])
    if start >= stop:
        raise Refusal("must not be empty")
    return start, stop


def read_extent(value: object) -> Mapping[str, tuple[int, int]]:
    """Read half-open ranges by axis; a reader of ``model.readers``."""
    spans = {}
    for axis, span in _fields(value).items():
        if axis not in {*_AXES, "t"}:
            raise Refusal("has the axes x, y, z and t")
        try:
            spans[axis] = _span(span)
        except Refusal as refusal:
            raise Refusal(f"{axis} {refusal}") from None
    return spans


_READERS: Mapping[str, Reader] = {
    "dataset": _fields,
    "project": _fields,
    "channel": _fields,
    "resolution": integer(0, 20),
    "extent": read_extent,
    "on_bad": choice(Policy),
    "propagate": flag,
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says.

    Attributes
    ----------
    dataset, project, channel
        Fields as of ``model.fields``, not looked at yet.
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

    @classmethod
    def read(cls, body: bytes | memoryview) -> "Manifest":
        """Read a manifest.

        Raises
        ------
        MalformedBodyError
            It is no JSON object.
        ValidationError
            Keys that are unknown, or have values that they cannot have: all are listed.
        """
        try:
            doc = json.loads(bytes(body[:LONGEST]))
        except (ValueError, RecursionError) as error:
            raise MalformedBodyError(f"The manifest is not JSON ({error}).") from error
        if not isinstance(doc, Mapping):
            raise MalformedBodyError("The manifest must be a JSON object.")
        values, problems = {}, {}
        for name, value in doc.items():
            if name not in _READERS:
                problems[str(name)[:80]] = f"is not one of {', '.join(_READERS)}"
                continue
            try:
                values[name] = _READERS[name](value)
            except Refusal as refusal:
                problems[name] = str(refusal)
        if problems:
            raise ValidationError(problems)
        return cls(**values)

    def box(self, level: Level) -> Box | None:
        """Return the extent as zero-based voxels of a level, None for all of it."""
        if not self.extent.keys() & set(_AXES):
            return None
        whole = zip(_AXES, level.offset_xyz, level.box.stop_xyz, strict=True)
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
