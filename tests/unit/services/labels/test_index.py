"""What rows of the label index hold at most."""

import pytest

from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError
from ndlambda.services.labels.index import MAX_ROW_BYTES, LabelIndex, LabelLayer
from ndlambda.stores.ports import Table
from tests.support.label_world import index_row_bytes

SCOPE = LabelLayer("u" * 32, 63, 2**32 - 1)
FULL = frozenset(range(512))


@pytest.fixture
def index(table: Table) -> LabelIndex:
    return LabelIndex(table)


def test_the_fullest_row_is_under_4_kib(index):
    index.add(SCOPE, 2**54 - 1, {2**64 - 1: FULL})
    index.add(SCOPE, 2**54 - 1, {2**64 - 1: FULL})
    [[entry]] = index.entries_of(SCOPE.uid, [2**64 - 1])
    assert entry.members == FULL
    assert 1500 < index_row_bytes(entry.key, entry.members) < MAX_ROW_BYTES


@pytest.mark.parametrize("member", [-1, 512])
def test_a_cuboid_of_another_bucket_is_refused(index, member):
    """With such members a row could outgrow 4 KiB. Seen to fail without ``_check_row``."""
    with pytest.raises(InvalidArgumentError):
        index.add(SCOPE, 0, {1: {0}, 2: {3, member}})
    assert not list(index.entries(SCOPE.uid))


def test_a_row_that_changed_since_it_was_read_is_not_taken_out(index):
    """A painter may have entered a cuboid that is stale so far, and be about to paint it. Seen to
    fail without the version in ``LabelIndex.remove_stale``."""
    index.add(SCOPE, 0, {1: {3}})
    [[entry]] = index.entries(SCOPE.uid)
    index.add(SCOPE, 0, {1: {3}})
    assert index.remove_stale([(entry, {3})]) == [entry]
    [[kept]] = index.entries(SCOPE.uid)
    assert kept.members == {3}
    assert index.remove_stale([(kept, {3})]) == []
    assert not list(index.entries(SCOPE.uid))


def test_a_row_that_its_keys_make_too_large_is_refused(index):
    """Seen to fail without ``_check_row``."""
    scope = LabelLayer("u" * 2600, 0, 0)
    with pytest.raises(PayloadTooLargeError):
        index.add(scope, 0, {1: {0}})
    assert not list(index.entries(scope.uid))
