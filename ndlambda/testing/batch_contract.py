"""The part of ``Table``'s contract about sets of many rows, and the size of a row."""

import random
from contextlib import suppress

import pytest

from ndlambda.errors import PayloadTooLargeError
from ndlambda.stores.ports import MAX_ROW_BYTES, Row, Table
from ndlambda.testing.threads import run_together
from ndlambda.testing.transaction_contract import TransactionContract, row_of


class BatchContract(TransactionContract):
    """A base of ``TableContract``."""

    batch_rows = 300

    # batches of additions

    def test_a_batch_of_additions_is_many_single_ones(self, table: Table, pk: str) -> None:
        table.put(Row(pk, "000", doc={"x": 1}, members={2**64 - 1}, expires=2**33))
        table.increment(pk, "001", "n", 3)
        keys = [(pk, f"{number:03d}") for number in range(self.batch_rows)]
        table.batch_add_members({key: {int(key[1]), 7} for key in keys})
        found = table.batch_get(keys)
        assert {key: row.members - {2**64 - 1} for key, row in found.items()} == {
            key: {int(key[1]), 7} for key in keys
        }
        first, second = found[keys[0]], found[keys[1]]
        assert (first.doc, first.members, first.expires) == ({"x": 1}, {0, 7, 2**64 - 1}, 2**33)
        assert second.counters == {"n": 3}

    def test_a_batch_gives_every_row_another_version(self, table: Table, pk: str) -> None:
        """Also a row that had the member: a concurrent removal must notice the addition."""
        keys = [(pk, sk) for sk in "abc"]
        table.batch_add_members({key: {1} for key in keys})
        before = {key: row.version for key, row in table.batch_get(keys).items()}
        table.batch_add_members({key: {1} for key in keys})
        after = {key: row.version for key, row in table.batch_get(keys).items()}
        assert len({*before.values()} | {*after.values()}) >= len(keys) + 1
        assert all(before[key] != after[key] for key in keys)
        assert table.batch_remove_members({key: {1} for key in keys}, before) == 0

    def test_batches_may_be_empty(self, table: Table, pk: str) -> None:
        table.batch_add_members({})
        assert table.batch_remove_members({}, {}) == 0
        assert not table.query(pk).rows

    # batches of removals

    def test_each_row_of_a_batch_of_removals_has_its_own_version(
        self, table: Table, pk: str
    ) -> None:
        """Seen to fail in both adapters when they did not look at the version."""
        keys = [(pk, f"{number:03d}") for number in range(self.batch_rows)]
        table.batch_add_members({key: {1, 2} for key in keys})
        versions = {key: row.version for key, row in table.batch_get(keys).items()}
        changed = keys[:: self.batch_rows // 4]
        table.batch_add_members({key: {3} for key in changed})
        table.delete(*keys[1])
        del versions[keys[2]]
        sets = {key: {1, 9} for key in keys}
        assert table.batch_remove_members(sets, versions) == len(keys) - len(changed) - 2
        found = table.batch_get(keys)
        assert {key: row.members for key, row in found.items()} == {
            key: {1, 2, 3} if key in changed else {1, 2} if key == keys[2] else {2}
            for key in keys
            if key != keys[1]
        }

    def test_batches_at_once_lose_nothing(self, table: Table, pk: str) -> None:
        """Seen to fail on moto when rows were united by ``get`` and ``put``."""
        keys = [(pk, f"{number}") for number in range(5)]
        rounds = max(2, self.rounds // 3)

        def work(thread: int) -> int:
            removed = 0
            for number in range(rounds):
                table.batch_add_members({key: {100 * thread + number} for key in keys})
                if number:
                    seen = {key: row.version for key, row in table.batch_get(keys).items()}
                    earlier = {100 * thread + number - 1}
                    removed += table.batch_remove_members(dict.fromkeys(keys, earlier), seen)
            return removed

        removed = sum(run_together(self.threads, work))
        rows = table.batch_get(keys).values()
        assert sum(len(row.members) for row in rows) == len(keys) * self.threads * rounds - removed
        last = {100 * thread + rounds - 1 for thread in range(self.threads)}
        assert all(last <= row.members for row in rows)

    # how large rows grow

    def test_a_set_does_not_outgrow_its_row(self, table: Table, pk: str) -> None:
        """Seen to fail when an adapter ignored what the row already holds.

        DynamoDB's own limit is 400 KB; moto has none here.
        """
        generator = random.Random(5)
        numbers = [generator.getrandbits(64) for _ in range(10_000)]
        added = 0
        with suppress(PayloadTooLargeError):
            while added < len(numbers):
                table.add_members(pk, "a", set(numbers[added : added + 1000]))
                added += 1000
        assert added >= 4000
        assert len(pk) + 1 + len("{}") + 8 * added <= MAX_ROW_BYTES
        row = row_of(table, pk, "a")
        assert row.members == set(numbers[:added])
        with pytest.raises(PayloadTooLargeError):
            table.batch_add_members({(pk, "a"): set(numbers[-1000:]), (pk, "b"): {1}})
        assert table.get(pk, "a") == row

    def test_more_members_than_a_row_holds_are_refused(self, table: Table, pk: str) -> None:
        """Seen to fail on moto when the adapter did not count them."""
        members = frozenset(range(MAX_ROW_BYTES // 8))
        with pytest.raises(PayloadTooLargeError):
            table.add_members(pk, "a", members)
        with pytest.raises(PayloadTooLargeError):
            table.batch_add_members({(pk, "a"): members})
        assert table.get(pk, "a") is None

    def test_set_and_doc_share_a_row(self, table: Table, pk: str) -> None:
        """Seen to fail on moto when the condition did not ask for the doc's length."""
        table.put(Row(pk, "a", doc={"x": "x" * 60_000}))
        with pytest.raises(PayloadTooLargeError):
            table.add_members(pk, "a", frozenset(range(1000)))
        assert not row_of(table, pk, "a").members
