"""Folders of slices for a running server: dropped file by file, waited for, and proved."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_queue.jobs.digests import ChunkDigests, root_digest, supercuboid_digests, voxel_digest
from ingest_queue.jobs.keys import DONE, MANIFEST, token_folder
from ndlambda.client import Client
from ndlambda.client.ingest import Document
from ndlambda.space.box import XYZ, Box
from tests.support.ingest_world import png

CHANNEL = "em"
_CUBOIDS_PER_AXIS = 2
"""Of a supercuboid, where nothing else was asked for; no answer of the server tells it."""
_POLL_S = 0.1
_PATIENCE_S = 300.0

PutFile = Callable[[str, bytes], object]
"""Puts a file under its key into the drop store."""


@dataclass(frozen=True)
class DroppedStack:
    """A volume and the files that it is dropped as.

    Attributes
    ----------
    voxels
        All of it, axes (z, y, x).
    first
        The number of its first slice: the dataset's offset in z.
    """

    token: str
    voxels: NDArray[Any]
    first: int = 0
    manifest: Mapping[str, Any] | None = None

    @property
    def folder(self) -> str:
        return token_folder(self.token, CHANNEL)

    def files(self, seed: int) -> list[tuple[str, bytes]]:
        """Return key and content of slices and manifest in any order.

        Without a manifest the last is what says that nothing more will come.
        """
        found = [(f"{z:04d}.png", png(plane)) for z, plane in enumerate(self.voxels, self.first)]
        if self.manifest is not None:
            found.append((MANIFEST, json.dumps(self.manifest).encode()))
        random.Random(seed).shuffle(found)
        if self.manifest is None:
            found.append((DONE, b""))
        return [(self.folder + name, body) for name, body in found]

    def drop(self, put: PutFile, seed: int) -> None:
        for key, body in self.files(seed):
            put(key, body)

    def root(self, supercuboid_xyz: XYZ) -> str:
        """Return the job root that these slices must have, worked out from them alone."""
        depth, height, width = self.voxels.shape
        digests = []
        for start in range(0, depth, supercuboid_xyz[2]):
            slab = self.voxels[start : start + supercuboid_xyz[2]]
            box = Box((0, 0, start), (width, height, start + len(slab)))
            slices = {z: voxel_digest(p) for z, p in enumerate(slab, self.first + start)}
            cuboids = dict(supercuboid_digests(slab, box, supercuboid_xyz))
            digests.append(ChunkDigests(slices, cuboids).digest)
        return root_digest(digests)

    def check_served(self, client: Client) -> None:
        """Make sure that there is one job, complete and proved, and that its voxels are served."""
        job = self.follow(client)
        assert (job["state"], job["reason"], job["faults"]) == ("COMPLETE", "", 0)
        volume = client.volume(self.token, CHANNEL)
        assert volume.offset_zyx == (self.first, 0, 0)
        np.testing.assert_array_equal(volume.read(), self.voxels)
        assert job["digest"] == self.root(self._supercuboid_xyz(client))
        proof = client.ingest.verify(job["id"])
        assert (proof["digest"], proof["differences"]) == (job["digest"], [])
        for chunk in range(proof["chunks"]):
            assert not client.ingest.verify(job["id"], chunk)["differences"]

    def follow(self, client: Client) -> Document:
        """Wait for the end of the one job of the folder, and return it."""
        for _ in until("a job of the folder"):
            jobs = self.jobs(client)
            if jobs:
                break
        (job,) = jobs
        for _ in until(f"the end of job {job['id']}"):
            job = client.ingest.get(job["id"])
            if job["ended_at"] is not None:
                return job
        raise AssertionError("until ends by an error")

    def _supercuboid_xyz(self, client: Client) -> XYZ:
        """Work out the unit of storage, which only decides what is digested together."""
        x, y, z = client.info(self.token)["dataset"]["cube_dimension"]["0"]
        return x * _CUBOIDS_PER_AXIS, y * _CUBOIDS_PER_AXIS, z * _CUBOIDS_PER_AXIS

    def jobs(self, client: Client) -> Sequence[Document]:
        return [job for job in client.ingest.list() if job["token"] == self.token]


def manifest_of(voxels: NDArray[Any], first: int, levels: int = 2) -> dict[str, Any]:
    """Say all that is to be made."""
    sizes = dict(zip(("zimagesize", "yimagesize", "ximagesize"), voxels.shape, strict=True))
    return {
        "dataset": {**sizes, "zoffset": first, "scalinglevels": levels},
        "channel": {"channel_type": "image", "channel_datatype": voxels.dtype.name},
    }


@dataclass(frozen=True)
class LaptopFolder:
    """The data folder of a server, into which somebody copies files."""

    data: Path

    def __call__(self, key: str, body: bytes) -> None:
        path = self.data / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def until(what: str) -> Iterator[None]:
    """Let another process go on, again and again; fail when it has had time enough.

    Raises
    ------
    AssertionError
        It took too long.
    """
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        yield
        time.sleep(_POLL_S)  # for another process, which tells nobody
    raise AssertionError(f"It did not come: {what}.")
