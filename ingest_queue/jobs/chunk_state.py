"""The recorded state of chunks, their parts, and the faults of these."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from ingest_queue.jobs.grid import Chunk
from ndlambda.stores.ports import Row

STRAYS = (1 << 48) - 1
"""Chunk number of faults of objects that belong to no chunk."""


@dataclass(frozen=True, slots=True)
class ChunkState:
    """The state of a chunk.

    Attributes
    ----------
    received
        Parts received.
    built
        Whether it is stored, from all parts that are not in ``bad``.
    bad
        Parts that were unusable, or missing when the job was closed.
    digest
        BLAKE2b-160 over its slices and supercuboids; empty until it is built.
    reopened
        Whether a part was replaced: voxels of the old one may be stored.
    version
        Of the row; 0 if there is none.
    """

    received: AbstractSet[int] = frozenset()
    built: bool = False
    bad: frozenset[int] = frozenset()
    digest: str = ""
    stored_bytes: int = 0
    reopened: bool = False
    version: int = 0

    @classmethod
    def from_row(cls, row: Row) -> "ChunkState":
        """Return the state in a row."""
        doc = row.doc
        return cls(
            received=row.members,
            built=doc.get("built", False),
            bad=frozenset(doc.get("bad", ())),
            digest=doc.get("digest", ""),
            stored_bytes=doc.get("bytes", 0),
            reopened=doc.get("reopened", False),
            version=row.version,
        )

    @property
    def doc(self) -> Mapping[str, Any]:
        """The row's doc; the received parts are its members."""
        return {
            "built": self.built,
            "bad": sorted(self.bad),
            "digest": self.digest,
            "bytes": self.stored_bytes,
            "reopened": self.reopened,
        }

    def is_ready(self, chunk: Chunk) -> bool:
        """Return whether all parts were received."""
        return all(part in self.received for part in chunk.parts)

    def is_quarantined(self, chunk: Chunk) -> bool:
        """Return whether no part was usable."""
        return self.bad.issuperset(chunk.parts)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a chunk: key and ETag of the object received last."""

    number: int
    key: str
    etag: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a part of a job's input.

    Attributes
    ----------
    key
        Of the object; empty if none was received.
    etag
        Of the faulty content, so that new content is tried again.
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
        """Return the fault in a row."""
        _, chunk, part = row.sk.split("#")
        return cls(int(chunk, 16), int(part, 16), **row.doc)
