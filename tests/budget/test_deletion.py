"""Requests to the stores for the deletion of a channel: a formula of ``docs/costs.md``."""

import pytest

from ndlambda.stores.ports import MAX_DELETED
from ndlambda.testing.counting import CountingStores
from tests.support.catalog_world import GRACE_S, disk_world, populate


@pytest.mark.parametrize("count", [400, 1600, 3200])
def test_deleting_a_channel(tmp_path, count):
    plain, stores = disk_world(tmp_path), CountingStores()
    world = stores.wrap(plain)
    stored = populate(world)[0]
    world.write(stored, count)
    stores.reset()
    world.catalog.delete_channel("pr", "ch")
    world.pump()
    world.clock.advance(GRACE_S)
    world.pump()
    assert world.keys(f"pr/ch/{stored.uid}/") == []
    assert stores.calls["objects.delete_many"] <= 2 + count / MAX_DELETED
    assert stores.calls["objects.delete"] == 0
    assert stores.requests <= 50 + 2 * count / MAX_DELETED, stores.calls
