"""Digests that prove an ingest: of slices as received, of supercuboids as they must be stored.

BLAKE2b-160 over C-ordered little-endian voxels of the channel's dtype. The digests of a chunk are
one JSON object in the object store; its own digest is in the row of the chunk, and the job root is
the digest of those.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import IntegrityError
from ndlambda.space.box import XYZ, Box
from ndlambda.space.grid import cover

_BYTES = 20
_FORMAT = 1


def voxel_digest(voxels: NDArray[Any]) -> str:
    """Return the digest of an array's voxels."""
    return blake2b(np.ascontiguousarray(voxels).data, digest_size=_BYTES).hexdigest()


def supercuboid_digests(
    voxels_zyx: NDArray[Any], box: Box, supercuboid_xyz: XYZ
) -> Iterator[tuple[int, str]]:
    """Iterate over Morton code and digest of the pieces of a box, one a supercuboid."""
    for cell in cover(box, supercuboid_xyz):
        yield cell.code, voxel_digest(voxels_zyx[cell.part.slices_zyx(box.start_xyz)])


@dataclass(frozen=True, slots=True)
class ChunkDigests:
    """The digests of one chunk.

    Attributes
    ----------
    slices
        By slice number; skipped slices are absent.
    supercuboids
        By Morton code: of the part of each supercuboid that lies in the chunk.
    """

    slices: Mapping[int, str] = field(default_factory=dict)
    supercuboids: Mapping[int, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the JSON that is stored; equal digests have equal bytes."""
        doc = {
            "v": _FORMAT,
            "slices": {str(z): digest for z, digest in sorted(self.slices.items())},
            "supercuboids": {f"{code:x}": d for code, d in sorted(self.supercuboids.items())},
        }
        return json.dumps(doc, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes | memoryview) -> "ChunkDigests":
        """Read the output of ``encode``.

        Raises
        ------
        IntegrityError
            The data is something else.
        """
        try:
            doc = json.loads(bytes(data))
            slices = {int(z): str(digest) for z, digest in doc["slices"].items()}
            cuboids = {int(code, 16): str(digest) for code, digest in doc["supercuboids"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError("The digests of a chunk cannot be read.") from error
        return cls(slices, cuboids)

    @property
    def digest(self) -> str:
        """The digest of the chunk."""
        return blake2b(self.encode(), digest_size=_BYTES).hexdigest()


def root_digest(digests: Iterable[str]) -> str:
    """Return the job root: the digest of the digests of all chunks in order."""
    root = blake2b(digest_size=_BYTES)
    for digest in digests:
        root.update(bytes.fromhex(digest))
    return root.hexdigest()


def digests_folder(job_id: str) -> str:
    """Return the key prefix of the digests of a job's chunks."""
    return f"ingest/{job_id}/"


def digests_key(job_id: str, chunk: int, digest: str) -> str:
    """Return the key of a chunk's digests in the object store.

    The digest in the key keeps two concurrent builders of different slices from overwriting each
    other. An object that no row names stays until the channel is deleted, since it cannot be told
    from one whose row is just being written.
    """
    return f"{digests_folder(job_id)}{chunk:012x}-{digest}.json"
