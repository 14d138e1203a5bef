"""What a driver of a dialect is, and what all of them share."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

import pytest

from ndlambda import errors
from ndlambda.model.catalog import Channel
from ndlambda.space.box import Box
from tests.support.app import Server

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


@dataclass
class AnnotationDriver:
    """The annotations of one channel in one dialect, on a server in this process.

    ``ServiceObjects`` has all methods. ``cannot`` are words that a dialect has not, and why; tests
    that need them are not collected.
    """

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
