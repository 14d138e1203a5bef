"""Processes that paint and erase labels in boxes that overlap with those of one another.

Run as ``python -m tests.support.label_painter SPECS``, which forks a process for each; SPECS is a
JSON list of objects with ``stores`` (see ``open_stores``), ``worker``, ``operations`` and ``log``
(where to save what a process did last to each voxel).

At time 0 it overwrites and reduces, at time 1 it paints exceptions and reduces. The log has, for
every voxel: ``last`` (what was painted last at time 0, as its place in LABELS + 1), ``reduced``
(bits of the labels reduced since), ``added`` and ``removed`` (time 1: bits of the labels that were
last added or removed, of those that this process touched at all).
"""

import json
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ndlambda.model.discipline import Discipline
from ndlambda.space.box import Box
from ndlambda.stores.ports import ObjectStore, Table
from tests.support.label_world import CUBES, LabelWorld, channel, disk_stores, filled, region

LABELS = [1, 2, 2**32 + 3, 2**64 - 1]
CHANNEL = channel(endtime=2)
REGION = Box((100, 100, 100), (150, 140, 130))
"""Meets eight supercuboids."""


def open_stores(spec: dict) -> tuple[ObjectStore, Table]:
    objects, table = disk_stores(Path(spec["folder"]))
    if "bucket" not in spec:
        return objects, table
    from ndlambda.stores.aws import AwsConfig, DynamoTable, S3ObjectStore

    config = AwsConfig(**spec["config"])
    table = DynamoTable(config, spec["table"]) if "table" in spec else table
    return S3ObjectStore(config, spec["bucket"]), table


def main(spec: dict) -> None:
    shape = REGION.shape_zyx
    log = {name: np.zeros(shape, "u1") for name in ("last", "reduced", "added", "removed")}
    random = np.random.default_rng(spec["worker"])
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as rows:
        labels = LabelWorld(*open_stores(spec["stores"]), pool, rows).service()
        for _ in range(spec["operations"]):
            size = random.integers(2, 14, 3)
            start = random.integers(REGION.start_xyz, np.array(REGION.stop_xyz) - size)
            box = Box.at(tuple(start.tolist()), tuple(size.tolist()))
            which, time, erases = random.integers(len(LABELS)), random.integers(2), random.random()
            discipline = Discipline.EXCEPTION if time else Discipline.OVERWRITE
            if erases < 0.5:
                discipline = Discipline.REDUCE
            place = region(CUBES, box, int(time))
            labels.paint(CHANNEL, place, filled(box, LABELS[which]), discipline)
            _note(log, box.slices_zyx(REGION.start_xyz), which, discipline, time)
    np.savez(spec["log"], **log)


def _note(log: dict, where: tuple, which: int, discipline: Discipline, time: int) -> None:
    bit = np.uint8(1 << which)
    if time:
        gains, loses = ("added", "removed")[:: -1 if discipline is Discipline.REDUCE else 1]
        log[gains][where] |= bit
        log[loses][where] &= ~bit
    elif discipline is Discipline.REDUCE:
        log["reduced"][where] |= bit
    else:
        log["last"][where] = which + 1
        log["reduced"][where] = 0


if __name__ == "__main__":
    # Forked before any thread or connection is there, so that imports are paid for once.
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=main, args=(spec,)) for spec in json.loads(sys.argv[1])]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(any(process.exitcode for process in processes))
