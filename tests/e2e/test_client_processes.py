"""The Python client in threads, forked and spawned processes: every box is the right one."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.support.server import Server

pytestmark = pytest.mark.e2e

BOXES = 2_000 if os.environ.get("NDLAMBDA_LONG_TESTS") == "1" else 200
VOXELS = np.random.default_rng(3).integers(1, 2**16, (40, 90, 110), np.uint16)
OFFSET_ZYX = (3, 5, 7)
Bounds = tuple[tuple[int, int], ...]
_volumes: list[Any] = []
"""The volume of this process, which forked children inherit with its connections."""


def boxes(seed: int) -> list[Bounds]:
    dice = np.random.default_rng(seed)
    corners = [np.sort(dice.choice(size + 1, (BOXES, 2), replace=True)) for size in VOXELS.shape]
    starts = [
        np.minimum(each[:, 0], size - 1) for each, size in zip(corners, VOXELS.shape, strict=True)
    ]
    stops = [np.maximum(each[:, 1], start + 1) for each, start in zip(corners, starts, strict=True)]
    return [
        tuple((int(a[n]), int(b[n])) for a, b in zip(starts, stops, strict=True))
        for n in range(BOXES)
    ]


def wrong(volume: Any, wanted: Sequence[Bounds]) -> list[Bounds]:
    """Return the boxes that are read other than they were written."""
    found = []
    for box in wanted:
        inner = tuple(slice(*bounds) for bounds in box)
        outer = tuple(
            slice(a + offset, b + offset) for (a, b), offset in zip(box, OFFSET_ZYX, strict=True)
        )
        if not np.array_equal(volume[outer], VOXELS[inner]):
            found.append(box)
    return found


def wrong_here(wanted: Sequence[Bounds]) -> list[Bounds]:
    return wrong(_volumes[0], wanted)


@pytest.fixture(scope="module")
def volume(server: Server) -> Any:
    client = server.client()
    sizes = dict(zip(("zimagesize", "yimagesize", "ximagesize"), VOXELS.shape, strict=True))
    offsets = dict(zip(("zoffset", "yoffset", "xoffset"), OFFSET_ZYX, strict=True))
    client.datasets.create("many", **sizes, **offsets, public=0)
    client.projects("many").create("many", public=0)
    client.channels("many", "many").create("em", channel_type="image", channel_datatype="uint16")
    client.tokens("many", "many").create("many", public=0)
    made = client.volume("many", "em")
    made[:] = VOXELS
    return made


def processes(method: str, *start: Any) -> ProcessPoolExecutor:
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(4, context, *start)


@pytest.mark.parametrize(
    "executor",
    [lambda: ThreadPoolExecutor(8), lambda: processes("spawn")],
    ids=["threads", "spawn"],
)
def test_a_volume_is_shared_by_threads_and_sent_to_processes(
    volume: Any, executor: Callable[[], Executor]
) -> None:
    """As dask does with its threads, and with processes by pickling."""
    parts = [boxes(1)[n::8] for n in range(8)]
    with executor() as pool:
        assert not [box for found in pool.map(wrong, [volume] * 8, parts) for box in found]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_forked_children_use_a_volume_of_their_parent_while_it_reads(volume: Any) -> None:
    """Seen to fail where children share the sockets of their parent: answers of others."""
    assert not wrong(volume, boxes(2)[:4])  # its connections are open
    _volumes[:] = [volume]
    parts = [boxes(2)[n::4] for n in range(4)]
    with processes("fork") as pool:
        pending = [pool.submit(wrong_here, part) for part in parts]
        assert not wrong(volume, boxes(3)[: BOXES // 4])
        assert not [box for each in pending for box in each.result()]
