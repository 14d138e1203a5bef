"""What rows of the label index hold at most."""

import pytest

from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError
from ndlambda.services.labels import index as index_module
from ndlambda.services.labels.index import MAX_ROW_BYTES, LabelIndex, LabelLayer
from ndlambda.stores.ports import Table
from ndlambda.testing.counting import CountingTable
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


@pytest.mark.parametrize("page", [1, 3, 500])
@pytest.mark.parametrize("wanted", [[1], [1, 17, 33], [5, 16, 160, 161, 4000], [2, 999], []])
def test_rows_of_some_labels_are_found_among_others(index, monkeypatch, wanted, page):
    """However they lie to each other and to the pages; labels to be skipped may be left out."""
    monkeypatch.setattr(index_module, "_PAGE", page)
    layers = [LabelLayer("u", resolution, 0) for resolution in (0, 1)]
    for label in [1, 5, *range(16, 60), 160, 161, 176, 4000]:
        for layer in layers:
            index.add(layer, 7, {label: {3}})
    found = [(entry.label, entry.scope) for each in index.entries_of("u", wanted) for entry in each]
    labels = [label for label in wanted if label not in {2, 999}]
    assert sorted(found, key=str) == sorted(
        ((label, layer) for label in labels for layer in layers), key=str
    )
    skip = frozenset(labels[:1])
    rest = {entry.label for each in index.entries_of("u", wanted, skip) for entry in each}
    assert rest - skip == set(labels) - skip


def test_rows_without_cuboids_are_removed_together_unless_they_changed(table):
    counting = CountingTable(table)
    index = LabelIndex(counting)
    index.add(SCOPE, 0, {label: {3} for label in range(1, 41)})
    entries = [entry for page in index.entries_of(SCOPE.uid, range(1, 41)) for entry in page]
    index.add(SCOPE, 0, {7: {4}, 30: {4}})
    counting.counts.reset()
    changed = index.remove_stale([(entry, entry.members) for entry in entries])
    assert sorted(entry.label for entry in changed) == [7, 30]
    assert counting.calls == {"table.transact": 2}
    left = {entry.label for page in index.entries(SCOPE.uid) for entry in page}
    assert left == {7, 30}


def test_a_row_that_its_keys_make_too_large_is_refused(index):
    """Seen to fail without ``_check_row``."""
    scope = LabelLayer("u" * 2600, 0, 0)
    with pytest.raises(PayloadTooLargeError):
        index.add(scope, 0, {1: {0}})
    assert not list(index.entries(scope.uid))
