"""What has become of objects that went into others."""

from pathlib import Path

import pytest

from ndlambda.errors import IntegrityError
from ndlambda.services.ramon.rows import ObjectRows, Tombstone
from tests.support.faults import FaultPlan
from tests.support.ramon_world import CHANNEL, disk_world


@pytest.mark.parametrize("ring", [(1,), (1, 2), (3, 1, 2)])
def test_objects_that_went_into_each_other_are_an_error_and_no_endless_search(
    tmp_path: Path, ring: tuple[int, ...]
) -> None:
    """No merge stores such rows. Seen to fail without the look at what was passed before: the
    search goes on until the process dies (here, with its tenth operation)."""
    world = disk_world(tmp_path)
    rows = ObjectRows(world.table)
    for number, into in zip(ring, (*ring[1:], ring[0]), strict=True):
        rows.change(CHANNEL.uid, number, None, Tombstone(merged_into=into))
    merges = world.merges(FaultPlan(10, "before"))
    with pytest.raises(IntegrityError):
        merges.descent(CHANNEL, ring[0])


def test_what_went_into_a_deleted_object_has_no_heir(tmp_path: Path) -> None:
    world = disk_world(tmp_path)
    rows = ObjectRows(world.table)
    rows.change(CHANNEL.uid, 1, None, Tombstone(merged_into=2))
    rows.change(CHANNEL.uid, 2, None, Tombstone())
    assert world.merges().descent(CHANNEL, 1) == ([1, 2], None)
