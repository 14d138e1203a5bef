"""The part of ``Table``'s contract about transactions and concurrent writers."""

import uuid

import pytest

from ndlambda.errors import InvalidArgumentError, PreconditionFailedError, WriteContentionError
from ndlambda.stores.ports import MAX_TRANSACTION, Check, Delete, Expectation, Put, Row, Table
from ndlambda.testing.threads import run_together


class TransactionContract:
    """A base of ``TableContract``."""

    threads = 8
    rounds = 12

    @pytest.fixture
    def table(self) -> Table:
        raise NotImplementedError

    @pytest.fixture
    def pk(self) -> str:
        """Return a partition of the test's own, so that one table can serve many tests."""
        return f"contract#{uuid.uuid4().hex}"

    # transactions

    def test_a_transaction_carries_out_all(self, table: Table, pk: str) -> None:
        kept = table.put(Row(pk, "kept", doc={"x": 1}))
        gone = table.put(Row(pk, "gone"))
        table.transact(
            [
                Put(Row(pk, "new", doc={"n": 1}, members={2**63}), expect="absent"),
                Put(Row(f"{pk}-other", "any", doc={"n": 2})),
                Delete(pk, "gone", expect=gone),
                Delete(pk, "never there"),
                Check(pk, "kept", expect=kept),
                Check(pk, "nowhere", expect="absent"),
            ]
        )
        new = row_of(table, pk, "new")
        assert (new.doc, new.members) == ({"n": 1}, {2**63})
        assert row_of(table, f"{pk}-other", "any").doc == {"n": 2}
        assert table.get(pk, "gone") is None
        assert table.get(pk, "nowhere") is None
        assert table.get(pk, "kept") == Row(pk, "kept", doc={"x": 1}, version=kept)

    def test_a_failed_transaction_changes_nothing_and_names_the_failures(
        self, table: Table, pk: str
    ) -> None:
        there = table.put(Row(pk, "there", doc={"x": 1}))
        outdated = table.put(Row(pk, "moved on"))
        table.put(Row(pk, "moved on"))
        with pytest.raises(PreconditionFailedError) as failure:
            table.transact(
                [
                    Put(Row(pk, "new")),
                    Put(Row(pk, "there", doc={"x": 2}), expect="absent"),
                    Delete(pk, "moved on", expect=outdated),
                    Check(pk, "absent", expect="absent"),
                    Check(pk, "also absent", expect=there),
                ]
            )
        assert list(failure.value.details["failed"]) == [1, 2, 4]
        assert table.get(pk, "new") is None
        assert table.get(pk, "moved on") is not None
        assert table.get(pk, "there") == Row(pk, "there", doc={"x": 1}, version=there)

    def test_each_action_can_fail_the_transaction(self, table: Table, pk: str) -> None:
        outdated = table.put(Row(pk, "a"))
        table.put(Row(pk, "a", doc={"x": 1}))
        expectations: tuple[Expectation, ...] = ("absent", outdated)
        for expect in expectations:
            put = Put(Row(pk, "a", doc={"x": 2}), expect)
            for action in (put, Delete(pk, "a", expect), Check(pk, "a", expect)):
                with pytest.raises(PreconditionFailedError) as failure:
                    table.transact([Put(Row(pk, "b")), action])
                assert list(failure.value.details["failed"]) == [1]
                assert row_of(table, pk, "a").doc == {"x": 1}
                assert table.get(pk, "b") is None

    def test_a_transaction_has_up_to_a_hundred_actions(self, table: Table, pk: str) -> None:
        table.transact([])
        puts = [Put(Row(pk, f"{n:03d}", doc={"n": n}), "absent") for n in range(MAX_TRANSACTION)]
        table.transact(puts)
        assert len(query_all(table, pk)) == MAX_TRANSACTION
        with pytest.raises(InvalidArgumentError):
            table.transact([Put(Row(pk, f"x{n:03d}")) for n in range(MAX_TRANSACTION + 1)])
        assert len(query_all(table, pk)) == MAX_TRANSACTION

    def test_a_transaction_names_each_row_once(self, table: Table, pk: str) -> None:
        with pytest.raises(InvalidArgumentError):
            table.transact([Put(Row(pk, "a")), Delete(pk, "a")])
        assert table.get(pk, "a") is None

    # many at once

    def test_concurrent_increments_are_all_counted(self, table: Table, pk: str) -> None:
        def count_up(index: int) -> list[int]:
            return [table.increment(pk, "a", "n") for _ in range(self.rounds)]

        values = [value for values in run_together(self.threads, count_up) for value in values]
        assert sorted(values) == list(range(1, self.threads * self.rounds + 1))

    def test_concurrent_members_are_all_kept(self, table: Table, pk: str) -> None:
        def add(index: int) -> list[int]:
            start = index * self.rounds
            return [table.add_members(pk, "a", {start + n}) for n in range(self.rounds)]

        versions = [version for each in run_together(self.threads, add) for version in each]
        row = row_of(table, pk, "a")
        assert row.members == set(range(self.threads * self.rounds))
        assert len(set(versions)) == len(versions)

    def test_numbers_given_while_others_raise_the_counter_are_new(
        self, table: Table, pk: str
    ) -> None:
        def take(index: int) -> list[int]:
            taken = []
            for n in range(self.rounds):
                raised = table.raise_counter(pk, "a", "n", 3 * n * self.threads + index)
                taken.append(table.increment(pk, "a", "n"))
                assert taken[-1] > raised
            return taken

        taken = [number for each in run_together(self.threads, take) for number in each]
        assert len(set(taken)) == len(taken)

    def test_concurrent_conditional_puts_lose_no_update(self, table: Table, pk: str) -> None:
        table.put(Row(pk, "a", doc={"n": 0}))

        def count_up(index: int) -> None:
            done = 0
            while done < self.rounds:
                row = row_of(table, pk, "a")
                try:
                    table.put(Row(pk, "a", doc={"n": row.doc["n"] + 1}), expect=row.version)
                except (PreconditionFailedError, WriteContentionError):
                    continue
                done += 1

        run_together(self.threads, count_up)
        assert row_of(table, pk, "a").doc == {"n": self.threads * self.rounds}

    def test_one_of_many_transactions_wins(self, table: Table, pk: str) -> None:
        def claim(index: int) -> bool:
            try:
                table.transact(
                    [Put(Row(pk, "name", doc={"by": index}), "absent"), Put(Row(pk, f"i{index}"))]
                )
            except (PreconditionFailedError, WriteContentionError):
                return False
            return True

        won = run_together(8, claim)
        assert won.count(True) == 1
        assert query_all(table, pk) == [f"i{won.index(True)}", "name"]
        assert row_of(table, pk, "name").doc == {"by": won.index(True)}


def row_of(table: Table, pk: str, sk: str) -> Row:
    """Return a row that must exist."""
    row = table.get(pk, sk)
    assert row is not None
    return row


def query_all(
    table: Table, pk: str, *, first: str = "", last: str | None = None, limit: int | None = None
) -> list[str]:
    """Return the sort keys of all pages."""
    page = table.query(pk, first=first, last=last, limit=limit)
    found = [row.sk for row in page.rows]
    while page.cursor is not None:
        page = table.query(pk, first=first, last=last, limit=limit, cursor=page.cursor)
        found += [row.sk for row in page.rows]
    return found
