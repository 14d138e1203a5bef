"""Dropped objects of a deleted channel in a bucket: notices may come again, and begin nothing."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from functions import erase, ingest_build, s3_drop
from ingest_queue.erasure import IngestErasure
from ingest_queue.jobs.keys import token_folder
from ndlambda import runtime
from ndlambda.local.drop_folder import notification
from ndlambda.local.pump import pump_once
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.volume.region import Region
from ndlambda.stores.ports import Overwrite
from tests.support.app import Server
from tests.support.faults import Wrapped
from tests.support.ingest_world import (
    FOLDER,
    IngestWorld,
    MakeWorld,
    look_after_all,
    look_after_folders,
    png,
)

OLD = np.full((2, 14, 20), 9, np.uint8)
DEPTH = len(OLD)
BRAIN = Dataset("deleted", (20, 14, DEPTH))
EM = Channel("deleted", "em", ChannelType.IMAGE, DataType.UINT8)
KEYS = [f"{token_folder('deleted', 'em')}{z}.png" for z in range(DEPTH)]


def work(server: Server) -> None:
    runtime.install(server.runtime)
    queues = server.runtime.resources.queues
    pumps: Any = (
        (queues.drop, s3_drop.handler),
        (queues.erase, erase.handler),
        (queues.ingest, ingest_build.handler),
    )
    while any(pump_once(queue, handler) for queue, handler in pumps):
        pass
    look_after_folders(server.runtime.ingest.drop)
    look_after_all(server.runtime.ingest.jobs)


def deliver_again(server: Server) -> None:
    runtime.install(server.runtime)
    for key in KEYS:
        s3_drop.handler(notification(key))


def create(server: Server, owner: int) -> None:
    catalog = server.runtime.catalog
    catalog.create_dataset(replace(BRAIN, user_id=owner))
    catalog.create_project(Project("deleted", "deleted", user_id=owner))
    catalog.create_token(Token("deleted", "deleted", user_id=owner))
    catalog.create_channel(EM)


def stored(server: Server) -> Any:
    channel = server.runtime.catalog.get_channel("deleted", "em")
    level = BRAIN.pyramid.level(0)
    return server.runtime.volume.read(BRAIN, channel, Region(level, level.box, (0, 1)))[0]


@pytest.mark.parametrize("order", list(itertools.permutations(["another user", "worker"])))
def test_objects_of_a_deleted_channel_begin_nothing_again(
    aws_server: Server, order: tuple[str, ...]
) -> None:
    """Whether the objects are gone before another user creates what has the same name, or not."""
    server = aws_server
    create(server, server.owner)
    for key, plane in zip(KEYS, OLD, strict=True):
        server.runtime.resources.dropped.put(key, png(plane), Overwrite())
    deliver_again(server)
    work(server)
    np.testing.assert_array_equal(stored(server), OLD)
    server.runtime.catalog.delete_dataset("deleted")
    bob = server.runtime.users.get_user("bob").id
    for step in order:
        deliver_again(server)
        create(server, bob) if step == "another user" else work(server)
    deliver_again(server)
    work(server)
    assert not list(server.runtime.resources.dropped.list(token_folder("deleted", "em")))
    assert not stored(server).any()
    server.runtime.catalog.delete_dataset("deleted")
    work(server)


def test_objects_that_were_dropped_after_the_deletion_stay(make_world: MakeWorld) -> None:
    """Seen to fail where all of the folder was deleted, also what the next volume needs."""
    world: IngestWorld = make_world({}, depth=DEPTH)
    world.drop_stack(OLD[None])
    world.pump()
    at = {key: 100.0 + n for n, key in enumerate(sorted(i.key for i in world.drop_store.list("")))}

    def timed(real: Any, prefix: str, after: str = "") -> Any:
        return (replace(info, modified_at=at[info.key]) for info in real(prefix, after))

    drop = Wrapped(world.drop_store, list=timed)
    erasure = IngestErasure(world.base.table, world.base.objects, drop)
    erasure.retire_folders(world.job().channel_uid, 100.5)
    (left,) = world.drop_store.list(FOLDER)
    assert at[left.key] == 101.0
