"""How far a propagation is, for people who wait for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndlambda.model.propagation import PropagateState
from ndlambda.services.propagation.jobs import JobState, PropagationJob, Stage
from ndlambda.services.propagation.plan import Band

NEVER = "never"


@dataclass(frozen=True, slots=True)
class BandStatus:
    """One band of the round under way.

    Attributes
    ----------
    resolutions, neariso
        Levels, and near-isotropic variants, that it builds.
    state
        ``waiting``, ``planning``, ``building`` or ``done``.
    tasks, done
        How many there are, known once it is planned, and how many of them are done.
    """

    resolutions: tuple[int, ...]
    neariso: tuple[int, ...]
    state: str
    tasks: int
    done: int


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a channel's propagation.

    Attributes
    ----------
    propagate
        The channel's state: 0 not, 1 under way, 2 done.
    state
        ``never``, or that of the last job: ``running``, ``done``, ``failed``, ``cancelled``.
    stale
        Marked supercuboids: those written since they were last propagated.
    method, full, round, bands, tasks, done
        Of the job; tasks are those of the bands planned so far in this round.
    progress
        How much of the round is done, from 0 to 1.
    tasks_per_s, eta_s
        Of the band being built, and seconds to the end of the round; None where unknown.
    reason
        Why the job failed.
    started_at, finished_at
        Unix seconds; None: not yet.
    """

    propagate: PropagateState
    state: str
    stale: int = 0
    method: str | None = None
    full: bool | None = None
    round: int = 0
    bands: tuple[BandStatus, ...] = ()
    tasks: int = 0
    done: int = 0
    progress: float = 0.0
    tasks_per_s: float | None = None
    eta_s: float | None = None
    reason: str = ""
    started_at: float | None = None
    finished_at: float | None = None


def status_of(job: PropagationJob, bands: Sequence[Band], done: int) -> tuple[BandStatus, ...]:
    """Return the status of each band of a job's round; ``done`` tasks of the present one are."""
    return tuple(_band_status(job, number, band, done) for number, band in enumerate(bands))


def _band_status(job: PropagationJob, number: int, band: Band, done: int) -> BandStatus:
    plain = (layer.resolutions for layer in band if not layer.neariso)
    tasks = job.tasks[number] if number < len(job.tasks) else 0
    if number < job.band:
        state, finished = "done", tasks
    elif number > job.band or job.stage is Stage.NOTING:
        state, finished = "waiting", 0
    else:
        state, finished = job.stage.value, done
    return BandStatus(
        resolutions=tuple(sorted(resolution for each in plain for resolution in each)),
        neariso=tuple(layer.resolution for layer in band if layer.neariso),
        state=state,
        tasks=tasks,
        done=min(finished, tasks),
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a round goes; see ``Status``."""

    progress: float
    tasks_per_s: float | None = None
    eta_s: float | None = None


def pace_of(
    job: PropagationJob, bands: Sequence[BandStatus], weights: Sequence[float], now: float
) -> Pace:
    """Return how fast a job's round goes.

    Later bands are guessed to take as long as their share of the voxels to be read.
    """
    if job.band >= len(bands):
        return Pace(1.0)
    band, weight, later = bands[job.band], weights[job.band], sum(weights[job.band + 1 :])
    part = band.done / band.tasks if band.tasks else 0.0
    progress = (sum(weights[: job.band]) + weight * part) / sum(weights)
    elapsed, fresh = now - job.since, band.done - job.base
    if job.state is not JobState.RUNNING or elapsed <= 0 or fresh <= 0:
        return Pace(progress)
    rate = fresh / elapsed
    rest = band.tasks * (1 - part + later / weight)
    return Pace(progress, rate, rest / rate)
