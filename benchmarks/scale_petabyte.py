"""Extrapolates the measured steps to 1 PB of voxels in 10^5 channels, at list prices.

What the simulation does not measure is assumed here, in the constants.
"""

from collections.abc import Callable
from typing import Final

from benchmarks.scale_model import (
    DELAYS_S,
    GET_DOLLARS,
    GIGABYTE,
    LAMBDA_DOLLARS,
    PUT_DOLLARS,
    STORAGE_DOLLARS,
    Step,
)

VOXELS: Final = 10**15
"""Of one byte; stored without compression, which is the worst case."""
CHANNELS: Final = 10**5
SUPERCUBOID_VOXELS: Final = 2**21
CHUNK_SUPERCUBOIDS: Final = 8
WORKERS: Final = 1000
"""Lambda functions at once, of 2 GiB each: the quota of a new account."""
WORKER_DOLLARS: Final = 2 * LAMBDA_DOLLARS
"""A second of one."""
INGEST_CPU_S: Final = 20e-9
"""A voxel: decoded, digested, encoded (``results/ingest.md``)."""
PYRAMID_CPU_S: Final = 6e-9
"""A voxel of the finest level (``results/propagate.md``)."""
READ_CPU_S: Final = 1e-9
"""A voxel: decoded and sent (``results/cutout.md``)."""
THREADS: Final = 8

_SUPERCUBOIDS: Final = VOXELS / SUPERCUBOID_VOXELS
_CHUNKS: Final = _SUPERCUBOIDS / CHUNK_SUPERCUBOIDS


def lines(steps: list[Step]) -> list[str]:
    """Return a table of what is done once with all of it; without some scenarios, nothing."""
    last = {(step.scenario, step.name): step for step in steps}

    def of(scenario: str, *names: str) -> tuple[float, float, float]:
        """Return requests, dollars and seconds of steps together."""
        found = [last[scenario, name] for name in names]
        return (
            sum(step.requests for step in found),
            sum(step.dollars for step in found),
            sum(step.modelled_s for step in found),
        )

    try:
        rows = [_ingest(of), _pyramid(), _read(of), _erase(of, last), _open(of)]
    except KeyError:
        return []
    stored = VOXELS * 8 / 7 / GIGABYTE
    return [
        (
            f"1 PB of voxels of one byte in {CHANNELS:,} channels is {_SUPERCUBOIDS:.2g} "
            f"supercuboids in {_CHUNKS:.2g} chunks, and a seventh more above them. With "
            f"{WORKERS:,} workers of 2 GiB:"
        ),
        "",
        "| what, once for all of it | requests | dollars for requests | for functions | time |",
        "|---|---|---|---|---|",
        *(
            f"| {what} | {requests:.2g} | {dollars:,.0f} | {seconds * WORKER_DOLLARS:,.0f} "
            f"| {_duration(seconds / WORKERS)} |"
            for what, requests, dollars, seconds in rows
        ),
        f"| keeping it for a month | 0 | {stored * STORAGE_DOLLARS:,.0f} | 0 | |",
        "",
    ]


_Of = Callable[..., tuple[float, float, float]]
_Row = tuple[str, float, float, float]


def _ingest(of: _Of) -> _Row:
    """The measured chunk has voxels in one of its supercuboids; a full one puts all of them."""
    requests, dollars, seconds = of("job of chunks", "send a chunk", "build a chunk")
    more = CHUNK_SUPERCUBOIDS - 1
    seconds += DELAYS_S["objects.put"]  # side by side
    return (
        "ingest as boxes: sent, built, recorded",
        (requests + more) * _CHUNKS,
        (dollars + more * PUT_DOLLARS) * _CHUNKS,
        seconds * _CHUNKS + VOXELS * INGEST_CPU_S,
    )


def _pyramid() -> _Row:
    """Each supercuboid is read once, and those above are looked for and put."""
    above = _SUPERCUBOIDS / 7
    gets, puts = _SUPERCUBOIDS + above, above
    delays = (gets * DELAYS_S["objects.get"] + puts * DELAYS_S["objects.put"]) / THREADS
    return (
        "propagation",
        gets + puts,
        gets * GET_DOLLARS + puts * PUT_DOLLARS,
        delays + VOXELS * PYRAMID_CPU_S,
    )


def _read(of: _Of) -> _Row:
    """Cutouts of eight supercuboids, warm: the key is known, its project is cached."""
    requests, dollars, _ = of("channels, 100 in a project", "open it again, warm")
    more = CHUNK_SUPERCUBOIDS - 1
    seconds = DELAYS_S["objects.get"] + SUPERCUBOID_VOXELS * CHUNK_SUPERCUBOIDS * READ_CPU_S
    return (
        "reading all by cutouts of 16 Mi voxels",
        (requests + more) * _CHUNKS,
        (dollars + more * GET_DOLLARS) * _CHUNKS,
        seconds * _CHUNKS,
    )


def _erase(of: _Of, last: dict[tuple[str, str], Step]) -> _Row:
    scenario, name = "channel of supercuboids deleted", "delete the channel: the workers"
    requests, dollars, seconds = of(scenario, name)
    share = _SUPERCUBOIDS * 8 / 7 / last[scenario, name].size
    return "deleting it", requests * share, dollars * share, seconds * share


def _open(of: _Of) -> _Row:
    requests, dollars, seconds = of("channels, 100 in a project", "open one and read, cold")
    return (
        "opening every channel in a new process, with a first cutout",
        requests * CHANNELS,
        dollars * CHANNELS,
        seconds * CHANNELS,
    )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"
