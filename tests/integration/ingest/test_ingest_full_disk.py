"""A disk on which nothing more can be written, as a bound on the size of files simulates it."""

import json
import resource
from contextlib import contextmanager

import pytest

from ingest_queue.jobs.job import State, read_message
from ndlambda.errors import UpstreamError
from ndlambda.stores.disk import DiskObjectStore
from ndlambda.stores.ports import Overwrite
from tests.support.ingest_world import stack

_MOST_BYTES = 2000


@contextmanager
def full_disk():
    """Let every write fail that makes a file longer than ``_MOST_BYTES``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_object_is_wholly_there_or_not_at_all(tmp_path):
    store = DiskObjectStore(tmp_path)
    store.put("a/b", b"old", Overwrite())
    with full_disk(), pytest.raises(UpstreamError) as raised:
        store.put("a/b", bytes(2 * _MOST_BYTES), Overwrite())
    assert raised.value.retryable
    kept = store.get("a/b")
    assert bytes(kept.data) == b"old"
    assert not list((tmp_path / ".temp").iterdir())


def test_a_job_goes_on_when_there_is_room_again(make_world):
    """Seen to fail where ``build`` swallows the error, and without the sweep for whole chunks."""
    world = make_world({})
    voxels = stack(1)
    keys = world.put_stack(voxels)
    world.notice(keys[:-1])
    calls = [read_message(json.loads(message.body)) for message in world.builds.receive(10)]
    assert calls
    with full_disk():
        for call in calls:
            with pytest.raises(UpstreamError) as raised:
                world.process().ingest.build(*call)
            assert raised.value.retryable
        with pytest.raises(UpstreamError):
            world.notice(keys[-1:])
    world.notice(keys[-1:])
    world.lose_messages()
    assert world.state is State.INGESTING
    world.sweep()
    world.check_whole(voxels[0])
