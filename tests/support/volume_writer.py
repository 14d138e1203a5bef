"""A process that paints its own voxels in boxes that overlap with those of other processes.

Run as ``python -m tests.support.volume_writer SPEC``; SPEC is a JSON object with ``store``
(see ``open_store``), ``writer``, ``writers``, ``writes`` and ``model`` (where to save what was
written last to each voxel).
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.ports import ObjectStore

DATASET = Dataset("shared", (150, 100, 90), scaling=Scaling.ISOTROPIC)
CHANNEL = Channel("shared", "painted", ChannelType.IMAGE, DataType.UINT16, uid="u1")


def open_store(spec: dict) -> ObjectStore:
    if spec["kind"] == "disk":
        from ndlambda.stores.disk import DiskObjectStore

        return DiskObjectStore(Path(spec["root"]), fsync=False)
    from ndlambda.stores.aws import AwsConfig, S3ObjectStore

    return S3ObjectStore(AwsConfig(**spec["config"]), spec["bucket"])


def owned(writer: int, writers: int) -> np.ndarray:
    """Return a mask (z, y, x) of the voxels that only this writer paints."""
    z, y, x = np.indices(DATASET.pyramid.level(0).box.shape_zyx)
    return (x + 3 * y + 5 * z) % writers == writer


def main(spec: dict) -> None:
    level = DATASET.pyramid.level(0)
    model = np.zeros(level.box.shape_zyx, "<u2")
    mine = owned(spec["writer"], spec["writers"])
    random = np.random.default_rng(spec["writer"])
    with ThreadPoolExecutor(2) as pool:
        volume = VolumeService(open_store(spec["store"]), pool, ByteBudget(1 << 30))
        for number in range(1, spec["writes"] + 1):
            shape = random.integers((5, 5, 5), (40, 30, 20))
            corner = [
                int(random.integers(0, n - s))
                for n, s in zip(level.imagesize_xyz, shape, strict=True)
            ]
            box = Box.at(tuple(corner), tuple(int(s) for s in shape))
            values = np.where(mine[box.slices_zyx()], number * 8 + spec["writer"], 0).astype("<u2")
            volume.write(CHANNEL, Region(level, box, (0, 1)), values[None])
            window = model[box.slices_zyx()]
            np.copyto(window, values, where=values != 0)
    np.save(spec["model"], model)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
