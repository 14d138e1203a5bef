"""The specification of a new ingest job."""

from dataclasses import dataclass

from ingest_queue.jobs.job import Mode, Policy
from ndlambda.space.box import Box


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job before it exists: the channel to fill, the extent and the policy.

    Attributes
    ----------
    channel
        Name of the channel to fill.
    box, times
        The extent: zero-based voxels of the resolution; None is all of the volume.
    job_id
        Chosen by the caller so that a repeated request creates one job; empty: a new id.
    tile_xyzt
        See ``Job``.
    notes, labels
        See :class:`ingest_queue.jobs.job.Job`.
    """

    channel: str
    resolution: int = 0
    box: Box | None = None
    times: tuple[int, int] | None = None
    mode: Mode = Mode.SLICES
    on_bad: Policy = Policy.FAIL
    propagate: bool = False
    job_id: str = ""
    tile_xyzt: tuple[int, int, int, int] | None = None
    notes: tuple[str, ...] = ()
    labels: bool = False
