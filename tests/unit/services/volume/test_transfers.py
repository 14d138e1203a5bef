"""What uploads may take of the store and of memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ndlambda.errors import MalformedBodyError, QuotaExceededError, UploadNotFoundError
from ndlambda.model.catalog import Channel
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.volume import transfers
from ndlambda.services.volume.transfers import EXPIRES_S, PREFIX, Uploads
from ndlambda.stores.disk import DiskObjectStore
from ndlambda.stores.ports import Overwrite, Range
from ndlambda.testing.counting import CountingTable

CHANNEL = Channel("p", "em", ChannelType.IMAGE, DataType.UINT8, uid="u")
RAW = "application/octet-stream"


class Noting(DiskObjectStore):
    """Notes which ranges are asked for."""

    def get(self, key: str, byte_range: Any = None, **options: Any) -> Any:
        self.asked = byte_range
        return super().get(key, byte_range, **options)


@pytest.fixture
def store(tmp_path: Path) -> Noting:
    return Noting(tmp_path / "objects", fsync=False)


@pytest.fixture
def service(table, store: Noting, clock) -> Uploads:
    return Uploads(table, store, clock=clock)


def test_a_user_has_so_many_unused_uploads(service, clock, monkeypatch):
    """Those used, expired or of other users do not count. Seen to fail without the bound."""
    monkeypatch.setattr(transfers, "MAX_UNUSED", 3)
    first, *_ = [service.announce(1, CHANNEL, RAW, 9) for _ in range(3)]
    with pytest.raises(QuotaExceededError):
        service.announce(1, CHANNEL, RAW, 9)
    service.announce(2, CHANNEL, RAW, 9)
    service.discard(first)
    service.announce(1, CHANNEL, RAW, 9)
    with pytest.raises(QuotaExceededError):
        service.announce(1, CHANNEL, RAW, 9)
    clock.advance(EXPIRES_S)
    service.announce(1, CHANNEL, RAW, 9)


def test_callers_without_a_key_lock_one_channel_for_two_hours_only(service, clock, monkeypatch):
    """Seen to fail where all of them share the uploads of one user: everybody waits for a day."""
    monkeypatch.setattr(transfers, "MAX_UNUSED", 3)
    other = replace(CHANNEL, uid="v")
    for _ in range(3):
        left = service.announce(None, CHANNEL, RAW, 9)
    with pytest.raises(QuotaExceededError):
        service.announce(None, CHANNEL, RAW, 9)
    service.announce(None, other, RAW, 9)
    service.announce(1, CHANNEL, RAW, 9)
    clock.advance(2 * 3600)
    service.announce(None, CHANNEL, RAW, 9)
    assert service.find(left.id, None, CHANNEL) == left
    for stranger in ((1, CHANNEL), (None, other)):
        with pytest.raises(UploadNotFoundError):
            service.find(left.id, *stranger)


@pytest.mark.parametrize("count", [3, 30, 90])
def test_unused_uploads_are_not_counted_one_by_one(table, store, clock, count):
    """Seen to fail where all rows are read."""
    counting = CountingTable(table)
    service = Uploads(counting, store, clock=clock)
    for _ in range(count):
        service.announce(1, CHANNEL, RAW, 9)
    counting.counts.reset()
    service.announce(1, CHANNEL, RAW, 9)
    assert counting.calls == {"table.query": 1, "table.increment": 1, "table.put": 1}


def test_counters_of_uploads_that_have_expired_are_forgotten(service, table, clock):
    for _ in range(60):
        service.announce(1, CHANNEL, RAW, 9)
        clock.advance(3600)
    assert len(table.query("uploads#1#count").rows) <= 26


def test_no_more_is_read_than_was_announced(service, store):
    """A store may overlook the signed length. Seen to fail with the object read whole."""
    upload = service.announce(1, CHANNEL, RAW, 9)
    with pytest.raises(UploadNotFoundError):
        service.read(upload)
    store.put(PREFIX + upload.id, bytes(1000), Overwrite())
    with pytest.raises(MalformedBodyError):
        service.read(upload)
    assert store.asked == Range(0, 9)
