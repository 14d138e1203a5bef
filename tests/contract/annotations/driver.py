"""What a driver of a dialect is, and what all of them share."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypedDict, Unpack

import pytest

from ndlambda import errors
from ndlambda.model.catalog import Channel
from ndlambda.model.ramon import Annotation
from ndlambda.space.box import XYZ, Box
from tests.support.app import Server
from tests.support.bodies import Array

Edges = list[tuple[int, int, int]]
"""Source, target and synapse."""


class Where(TypedDict, total=False):
    """What a query asks of objects; all of it must hold."""

    type: str
    status: int
    author: str
    confidence_gt: float
    confidence_lt: float
    fields: Mapping[str, Any]
    """By name; of a list, one of its elements."""
    pairs: Mapping[str, str]
    limit: int
    box: Box
    resolution: int


class Driver(Protocol):
    """The annotations of one channel in one dialect."""

    cannot: ClassVar[Mapping[str, str]]
    """What the dialect has no words for, and why; tests that need it are not collected."""

    def __init__(self, server: Server, channel: Channel) -> None: ...

    def refuses(self, error: type[errors.NDLambdaError]) -> Any:
        """Expect a block to be refused with an error, and to have written nothing."""

    def create(self, *ramons: Annotation) -> list[int]: ...
    def get(self, number: int) -> Annotation: ...
    def derived(self, number: int, name: str) -> list[int]: ...
    def replace(self, ramon: Annotation, version: int | None = None) -> None: ...
    def change(self, number: int, version: int | None = None, **values: Any) -> None: ...
    def version(self, number: int) -> int: ...
    def delete(self, *numbers: int) -> bool:
        """Delete objects, and return whether their voxels are gone already."""

    def query(self, **where: Unpack[Where]) -> list[int]: ...
    def top_keys(self, limit: int, of_type: str | None = None) -> list[str]: ...
    def reserve(self, count: int) -> int: ...
    def merge(self, ids: Sequence[int], resolution: int | None, box: Box | None) -> None: ...

    def paint(self, number: int, corner: XYZ, mask: Array, how: str, resolution: int) -> None: ...
    def paint_voxels(self, number: int, points: Array, how: str, resolution: int) -> None: ...
    def voxels(self, number: int, resolution: int = 0) -> Array: ...
    def cutout(self, number: int, box: Box, resolution: int = 0) -> Array: ...
    def tight_cutout(self, number: int, resolution: int = 0) -> tuple[XYZ, Array] | None: ...
    def box(self, number: int, resolution: int = 0) -> Box | None: ...
    def cuboids(self, number: int, resolution: int = 0) -> set[XYZ]:
        """Return the corners of the cuboids that may hold an object."""

    def ids(self, box: Box, resolution: int = 0) -> list[int]: ...
    def id_at(self, point: XYZ, resolution: int = 0) -> int: ...
    def exceptions(self, box: Box) -> dict[XYZ, list[int]]: ...

    def put_swc(self, text: str) -> list[int]: ...
    def get_swc(self, *ids: int) -> str: ...
    def edges(self, box: Box | None = None, *, directed: bool = False) -> Edges: ...


@dataclass
class AnnotationDriver:
    """What all drivers share: the server that they run on in this process, and its channel."""

    server: Server
    channel: Channel

    cannot: ClassVar[Mapping[str, str]] = {}

    @contextmanager
    def refuses(self, error: type[errors.NDLambdaError]) -> Iterator[None]:
        before = self.stored()
        with pytest.raises(errors.NDLambdaError) as caught:
            yield
        assert type(caught.value) is error, caught.value
        assert self.stored() == before

    def stored(self) -> Any:
        """Return all rows and objects of the channel, and all jobs on it."""
        uid, runtime = self.channel.uid, self.server.runtime
        with closing(sqlite3.connect(self.server.settings.data / "table.sqlite")) as connection:
            asked = "SELECT * FROM rows WHERE instr(pk, ?) OR instr(sk, ?) ORDER BY pk, sk"
            rows = connection.execute(asked, (uid, uid)).fetchall()
        prefix = f"{self.channel.project}/{self.channel.name}/"
        found = {
            info.key: runtime.resources.objects.get(info.key)
            for info in runtime.resources.objects.list(prefix)
        }
        return rows, {key: one and one.etag for key, one in found.items()}
