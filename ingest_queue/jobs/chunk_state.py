"""What is known of the chunks of a job, of their parts, and of what is wrong with these."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from ingest_queue.jobs.grid import Chunk
from ndlambda.stores.ports import Row

STRAYS = (1 << 48) - 1
"""Number under which faults of objects are kept that belong to no chunk."""


@dataclass(frozen=True, slots=True)
class ChunkState:
    """What is known of a chunk.

    Attributes
    ----------
    seen
        Parts that came.
    built
        Whether it is stored, of the parts that ``bad`` does not name.
    bad
        Parts that could not be used, or did not come before the job was closed.
    digest
        BLAKE2b-160 over its slices and supercuboids; empty until it is built.
    reopened
        Whether a part was replaced: voxels of the one before may be stored.
    version
        Of the row; 0 where there is none.
    """

    seen: AbstractSet[int] = frozenset()
    built: bool = False
    bad: frozenset[int] = frozenset()
    digest: str = ""
    stored_bytes: int = 0
    reopened: bool = False
    version: int = 0

    @classmethod
    def from_row(cls, row: Row) -> "ChunkState":
        """Return what a row tells."""
        doc = row.doc
        return cls(
            seen=row.members,
            built=doc.get("built", False),
            bad=frozenset(doc.get("bad", ())),
            digest=doc.get("digest", ""),
            stored_bytes=doc.get("bytes", 0),
            reopened=doc.get("reopened", False),
            version=row.version,
        )

    @property
    def doc(self) -> Mapping[str, Any]:
        """What a row tells beside the parts that came."""
        return {
            "built": self.built,
            "bad": sorted(self.bad),
            "digest": self.digest,
            "bytes": self.stored_bytes,
            "reopened": self.reopened,
        }

    def is_ready(self, chunk: Chunk) -> bool:
        """Return whether all parts came."""
        return all(part in self.seen for part in chunk.parts)

    def is_set_aside(self, chunk: Chunk) -> bool:
        """Return whether no part was of any use."""
        return self.bad.issuperset(chunk.parts)


@dataclass(frozen=True, slots=True)
class Part:
    """Where a part of a chunk lies: key and ETag of the object that came last."""

    number: int
    key: str
    etag: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a part of a job's input.

    Attributes
    ----------
    key
        Of the object, empty where none came.
    etag
        Of the content that was looked at, so that another content is another chance.
    """

    chunk: int
    part: int
    key: str
    error: str
    etag: str = ""
    first_seen: float = 0
    count: int = field(default=1)

    @classmethod
    def from_row(cls, row: Row) -> "Fault":
        """Return the fault that a row holds."""
        _, chunk, part = row.sk.split("#")
        return cls(int(chunk, 16), int(part, 16), **row.doc)
