"""Painting a volume of labels by several processes at once, in blocks that fit no grid."""

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndlambda.model.catalog import CodecSpec, Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.model.dtypes import DataType
from ndlambda.space.box import XYZ, Box
from ndlambda.space.grid import cover
from ndlambda.space.pyramid import Scaling
from tests.support.label_world import LabelWorld, channel, disk_stores, region

CHANNEL = channel(datatype=DataType.UINT32, exceptions=False, codec=CodecSpec("zstd", 5))
BLOCK: XYZ = (100, 90, 70)


def read_truth(path: Path) -> NDArray[np.uint32]:
    """Return the labels (z, y, x) of an ``.npz``."""
    with np.load(path) as file:
        labels: NDArray[np.uint32] = file["labels"]
    return labels


def dataset_of(labels: NDArray[np.uint32]) -> Dataset:
    """Return an isotropic dataset of the size of labels."""
    depth, height, width = labels.shape
    size = (width, height, depth)
    return Dataset("fib25", size, (8.0, 8.0, 8.0), scaling=Scaling.ISOTROPIC, scalinglevels=0)


def blocks_of(labels: NDArray[np.uint32]) -> list[Box]:
    """Return blocks that together are all voxels."""
    return [cell.part for cell in cover(Box((0, 0, 0), labels.shape[::-1]), BLOCK)]


def paint_share(path: Path, stores: Path, worker: int, workers: int) -> int:
    """Paint every ``workers``-th block, and return the id of this process."""
    labels = read_truth(path)
    dataset = dataset_of(labels)
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as rows:
        service = LabelWorld(*disk_stores(stores), pool, rows).service()
        for box in blocks_of(labels)[worker::workers]:
            block = np.ascontiguousarray(labels[box.slices_zyx()])
            service.paint(CHANNEL, region(dataset, box), block[None], Discipline.OVERWRITE)
    return os.getpid()


def paint_all(path: Path, stores: Path, workers: int) -> int:
    """Paint all blocks by several processes, and return how many there were."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(paint_share, path, stores, n, workers) for n in range(workers)]
        return len({task.result() for task in tasks})
