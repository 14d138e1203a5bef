"""The contract of ``Table``.

A subclass in a test module runs it on an adapter::

    class TestMyTable(TableContract):
        @pytest.fixture
        def table(self) -> Table:
            return MyTable(...)
"""

import random

import pytest

from ndlambda.errors import (
    InvalidArgumentError,
    PayloadTooLargeError,
    PreconditionFailedError,
)
from ndlambda.stores.ports import (
    MAX_ROW_BYTES,
    Check,
    Delete,
    Put,
    Row,
    Table,
)
from ndlambda.testing.batch_contract import BatchContract
from ndlambda.testing.transaction_contract import query_all, row_of

SORT_KEYS = ["!", "0", "A", "a", "a#1", "a#10", "a#2", "a/b", "b", "é", "\uff5e", "🧠"]
"""In the order of their UTF-8 bytes (UTF-16 would put the last two the other way round)."""

SORT_KEY_RANGES = [
    ("a", None),
    ("a", "b"),
    ("a#1", "a#1"),
    ("", "A"),
    ("a#", "a#~"),
    ("x", "y"),
    ("c", "b"),
]

LARGEST_MEMBER = 2**64 - 1


class TableContract(BatchContract):
    """Override ``table``.

    ``threads`` and ``rounds`` size the tests of concurrent writing; ``batch_rows`` is more than
    the adapter handles in one request.
    """

    # one row

    def test_an_absent_row_is_none(self, table: Table, pk: str) -> None:
        assert table.get(pk, "a") is None

    def test_a_row_is_read_back(self, table: Table, pk: str) -> None:
        doc = {
            "text": 'ünïcode 🧠 "quoted" \n',
            "int": 2**63,
            "negative": -1,
            "float": 0.1,
            "true": True,
            "null": None,
            "list": [1, [], {}, ""],
            "object": {"": {"deep": [None]}},
        }
        expires = 2**33
        version = table.put(Row(pk, "a", doc=doc, members={3, 1}, expires=expires))
        row = row_of(table, pk, "a")
        assert row == Row(
            pk, "a", doc=doc, members={1, 3}, counters={}, version=version, expires=expires
        )
        assert isinstance(row.doc["int"], int)
        assert isinstance(row.doc["float"], float)
        assert row.doc["true"] is True
        assert version > 0

    def test_a_bare_row_is_a_row(self, table: Table, pk: str) -> None:
        version = table.put(Row(pk, "a"))
        assert table.get(pk, "a") == Row(pk, "a", version=version)

    def test_a_put_replaces_doc_members_and_expires(self, table: Table, pk: str) -> None:
        table.put(Row(pk, "a", doc={"x": 1}, members={1}, expires=2**33))
        version = table.put(Row(pk, "a", doc={"y": 2}))
        assert table.get(pk, "a") == Row(pk, "a", doc={"y": 2}, version=version)

    def test_version_and_counters_given_to_put_are_not_looked_at(
        self, table: Table, pk: str
    ) -> None:
        version = table.put(Row(pk, "a", version=12345678, counters={"n": 9}))
        row = row_of(table, pk, "a")
        assert row.version == version
        assert row.counters == {}

    def test_counters_survive_a_put(self, table: Table, pk: str) -> None:
        table.increment(pk, "a", "n", 7)
        table.put(Row(pk, "a", doc={"x": 1}))
        table.transact([Put(Row(pk, "a", doc={"x": 2}))])
        row = row_of(table, pk, "a")
        assert row.counters == {"n": 7}
        assert row.doc == {"x": 2}

    def test_a_row_at_the_limit_is_kept_and_one_over_it_refused(
        self, table: Table, pk: str
    ) -> None:
        members = frozenset(range(100))
        frame = len((pk + "a").encode()) + len('{"x":""}') + 8 * len(members)
        text = "x" * (MAX_ROW_BYTES - frame - 100)
        table.put(Row(pk, "a", doc={"x": text}, members=members))
        row = row_of(table, pk, "a")
        assert row.doc == {"x": text}
        over = Row(pk, "a", doc={"x": text + "x" * 200}, members=members)
        with pytest.raises(PayloadTooLargeError):
            table.put(over)
        with pytest.raises(PayloadTooLargeError):
            table.put(Row(pk, "a", members=frozenset(range(MAX_ROW_BYTES // 8))))
        with pytest.raises(PayloadTooLargeError):
            table.transact([Put(Row(pk, "b")), Put(over)])
        assert table.get(pk, "a") == row
        assert table.get(pk, "b") is None

    def test_keys_are_not_empty(self, table: Table, pk: str) -> None:
        with pytest.raises(InvalidArgumentError):
            table.put(Row("", "a"))
        with pytest.raises(InvalidArgumentError):
            table.put(Row(pk, ""))

    # expectations

    def test_put_if_absent(self, table: Table, pk: str) -> None:
        table.put(Row(pk, "a", doc={"by": 1}), expect="absent")
        with pytest.raises(PreconditionFailedError):
            table.put(Row(pk, "a", doc={"by": 2}), expect="absent")
        assert row_of(table, pk, "a").doc == {"by": 1}

    def test_put_if_version(self, table: Table, pk: str) -> None:
        first = table.put(Row(pk, "a", doc={"by": 1}))
        table.put(Row(pk, "a", doc={"by": 2}), expect=first)
        with pytest.raises(PreconditionFailedError):
            table.put(Row(pk, "a", doc={"by": 3}), expect=first)
        assert row_of(table, pk, "a").doc == {"by": 2}
        with pytest.raises(PreconditionFailedError):
            table.put(Row(pk, "never"), expect=first)
        assert table.get(pk, "never") is None

    def test_delete_can_be_repeated(self, table: Table, pk: str) -> None:
        table.put(Row(pk, "a"))
        table.delete(pk, "a")
        table.delete(pk, "a")
        assert table.get(pk, "a") is None

    def test_delete_if_version(self, table: Table, pk: str) -> None:
        old = table.put(Row(pk, "a"))
        new = table.put(Row(pk, "a"))
        with pytest.raises(PreconditionFailedError):
            table.delete(pk, "a", expect=old)
        assert table.get(pk, "a") is not None
        table.delete(pk, "a", expect=new)
        assert table.get(pk, "a") is None
        with pytest.raises(PreconditionFailedError):
            table.delete(pk, "a", expect=new)

    # versions

    def test_every_change_gives_another_version(self, table: Table, pk: str) -> None:
        versions = [table.put(Row(pk, "a")), table.put(Row(pk, "a"))]
        versions.append(table.add_members(pk, "a", {1}))
        table.increment(pk, "a", "n")
        versions.append(row_of(table, pk, "a").version)
        assert table.remove_members(pk, "a", {1}, versions[-1])
        versions.append(row_of(table, pk, "a").version)
        table.transact([Put(Row(pk, "a"))])
        versions.append(row_of(table, pk, "a").version)
        assert len(set(versions)) == len(versions)

    def test_adding_a_member_that_is_there_changes_the_version(self, table: Table, pk: str) -> None:
        """Else a painter's removal could pass between another's adding and writing."""
        before = table.add_members(pk, "a", {1})
        after = table.add_members(pk, "a", {1})
        assert after != before
        assert row_of(table, pk, "a").version == after
        assert table.remove_members(pk, "a", {1}, before) is False

    def test_versions_do_not_come_back_after_delete(self, table: Table, pk: str) -> None:
        seen: set[int] = set()
        for _ in range(3):
            for version in (
                table.put(Row(pk, "a"), expect="absent"),
                table.put(Row(pk, "a")),
                table.add_members(pk, "a", {1}),
            ):
                assert version not in seen
                seen.add(version)
            table.delete(pk, "a")
        assert table.add_members(pk, "a", {1}) not in seen
        table.transact([Delete(pk, "a")])
        table.increment(pk, "a", "n")
        assert row_of(table, pk, "a").version not in seen

    # members

    def test_members_unite_and_make_the_row(self, table: Table, pk: str) -> None:
        table.add_members(pk, "a", {1, 2})
        table.add_members(pk, "a", {2, 3})
        row = row_of(table, pk, "a")
        assert row.members == {1, 2, 3}
        assert row.doc == {}

    def test_members_leave_doc_and_counters_alone(self, table: Table, pk: str) -> None:
        table.put(Row(pk, "a", doc={"x": 1}, expires=2**33))
        table.increment(pk, "a", "n", 3)
        version = table.add_members(pk, "a", {5})
        assert table.get(pk, "a") == Row(
            pk, "a", {"x": 1}, {5}, counters={"n": 3}, version=version, expires=2**33
        )

    def test_members_have_64_bits(self, table: Table, pk: str) -> None:
        members = {0, 1, 2**53 + 1, 2**63 - 1, 2**63, LARGEST_MEMBER}
        table.put(Row(pk, "a", members=members))
        version = table.add_members(pk, "b", members)
        for sk in "ab":
            assert row_of(table, pk, sk).members == members
        assert table.remove_members(pk, "b", {LARGEST_MEMBER}, version)
        assert row_of(table, pk, "b").members == members - {LARGEST_MEMBER}

    def test_members_go_only_at_the_version_named(self, table: Table, pk: str) -> None:
        old = table.add_members(pk, "a", {1, 2})
        new = table.add_members(pk, "a", {3})
        assert table.remove_members(pk, "a", {1}, old) is False
        assert table.remove_members(pk, "a", {1, 99}, new) is True
        assert row_of(table, pk, "a").members == {2, 3}
        assert table.remove_members(pk, "a", {2}, new) is False

    def test_a_row_stays_when_its_set_empties(self, table: Table, pk: str) -> None:
        version = table.add_members(pk, "a", {1})
        assert table.remove_members(pk, "a", {1}, version)
        assert row_of(table, pk, "a").members == frozenset()
        table.add_members(pk, "a", {2})
        assert row_of(table, pk, "a").members == {2}

    def test_nothing_is_removed_from_an_absent_row(self, table: Table, pk: str) -> None:
        version = table.add_members(pk, "a", {1})
        table.delete(pk, "a")
        assert table.remove_members(pk, "a", {1}, version) is False
        assert table.get(pk, "a") is None

    def test_512_members_in_one_call(self, table: Table, pk: str) -> None:
        members = frozenset(random.Random(2).sample(range(2**60), 512))
        table.add_members(pk, "a", members)
        assert row_of(table, pk, "a").members == members

    # counters

    def test_counters_start_at_zero_and_make_the_row(self, table: Table, pk: str) -> None:
        assert table.increment(pk, "a", "n") == 1
        assert table.increment(pk, "a", "n", 10) == 11
        assert table.increment(pk, "a", "n", -20) == -9
        assert table.increment(pk, "a", "next-id", 2**62) == 2**62
        assert row_of(table, pk, "a").counters == {"n": -9, "next-id": 2**62}

    def test_counters_go_with_their_row(self, table: Table, pk: str) -> None:
        table.increment(pk, "a", "n", 5)
        table.delete(pk, "a")
        assert table.increment(pk, "a", "n") == 1

    def test_a_counter_is_raised_but_never_lowered(self, table: Table, pk: str) -> None:
        assert table.raise_counter(pk, "a", "n", 7) == 7
        before = row_of(table, pk, "a").version
        assert table.raise_counter(pk, "a", "n", 5) == 7
        assert table.raise_counter(pk, "a", "n", 7) == 7
        assert row_of(table, pk, "a").version == before
        assert table.raise_counter(pk, "a", "n", 9) == 9
        assert row_of(table, pk, "a").version != before
        assert table.increment(pk, "a", "n") == 10

    def test_a_raised_counter_leaves_the_rest_of_its_row_alone(self, table: Table, pk: str) -> None:
        table.put(Row(pk, "a", doc={"x": 1}, members={5}))
        table.increment(pk, "a", "other", 3)
        assert table.raise_counter(pk, "a", "next-id", 2**64 - 1) == 2**64 - 1
        row = row_of(table, pk, "a")
        assert (row.doc, row.members) == ({"x": 1}, {5})
        assert row.counters == {"other": 3, "next-id": 2**64 - 1}

    # many rows

    def test_batch_get_gives_the_rows_that_are_there(self, table: Table, pk: str) -> None:
        for number in range(0, 240, 8):
            table.put(Row(pk, f"{number:03d}", doc={"n": number}))
        found = table.batch_get([(pk, f"{number:03d}") for number in range(240)])
        assert {sk: row.doc["n"] for (_, sk), row in found.items()} == {
            f"{number:03d}": number for number in range(0, 240, 8)
        }
        assert table.batch_get([]) == {}

    def test_batch_get_bears_repeated_keys(self, table: Table, pk: str) -> None:
        version = table.put(Row(pk, "a"))
        found = table.batch_get([(pk, "a"), (pk, "a"), (pk, "b")])
        assert found == {(pk, "a"): Row(pk, "a", version=version)}

    def test_a_query_is_in_byte_order_of_one_partition(self, table: Table, pk: str) -> None:
        shuffled = random.Random(3).sample(SORT_KEYS, len(SORT_KEYS))
        table.transact([Put(Row(pk, sk, doc={"sk": sk})) for sk in shuffled])
        table.transact([Put(Row(f"{pk}-other", sk)) for sk in shuffled])
        page = table.query(pk)
        assert [row.sk for row in page.rows] == SORT_KEYS
        assert all(row.pk == pk and row.doc == {"sk": row.sk} for row in page.rows)
        assert page.cursor is None

    def test_a_query_of_an_empty_partition_is_empty(self, table: Table, pk: str) -> None:
        assert not table.query(pk).rows
        assert table.query(pk).cursor is None

    def test_a_query_range_includes_both_ends(self, table: Table, pk: str) -> None:
        table.transact([Put(Row(pk, sk)) for sk in SORT_KEYS])
        for first, last in SORT_KEY_RANGES:
            expected = [sk for sk in SORT_KEYS if first <= sk and (last is None or sk <= last)]
            assert query_all(table, pk, first=first, last=last) == expected
            assert query_all(table, pk, first=first, last=last, limit=2) == expected

    def test_pages_follow_each_other(self, table: Table, pk: str) -> None:
        table.transact([Put(Row(pk, sk)) for sk in SORT_KEYS])
        for limit in (1, 3, 4, 12, 100):
            assert len(table.query(pk, limit=limit).rows) == min(limit, len(SORT_KEYS))
            assert query_all(table, pk, limit=limit) == SORT_KEYS

    def test_a_cursor_outlives_its_row(self, table: Table, pk: str) -> None:
        for sk in "abcd":
            table.put(Row(pk, sk))
        page = table.query(pk, limit=2)
        table.delete(pk, "b")
        rest = table.query(pk, limit=2, cursor=page.cursor)
        assert [row.sk for row in rest.rows] == ["c", "d"]

    def test_large_rows_come_in_pages_that_lose_none(self, table: Table, pk: str) -> None:
        for number in range(24):
            table.put(Row(pk, f"{number:02d}", doc={"x": "x" * 50_000}))
        assert query_all(table, pk) == [f"{number:02d}" for number in range(24)]

    # expiry

    def test_an_expired_row_is_absent_before_any_other_write(self, table: Table, pk: str) -> None:
        """A write may remove expired rows; a read does not depend on that."""
        table.put(Row(pk, "a", doc={"x": 1}, expires=1))
        assert table.get(pk, "a") is None
        assert not table.batch_get([(pk, "a")])
        assert query_all(table, pk) == []

    def test_an_expired_row_is_absent(self, table: Table, pk: str) -> None:
        table.put(Row(pk, "a", doc={"x": 1}))
        version = table.put(Row(pk, "a", doc={"x": 1}, expires=1))
        table.put(Row(pk, "b"))
        assert table.get(pk, "a") is None
        assert list(table.batch_get([(pk, "a"), (pk, "b")])) == [(pk, "b")]
        assert query_all(table, pk) == ["b"]
        with pytest.raises(PreconditionFailedError):
            table.put(Row(pk, "a"), expect=version)
        table.transact([Check(pk, "a", "absent")])
        assert table.put(Row(pk, "a", doc={"x": 2}), expect="absent") != version
        assert row_of(table, pk, "a").doc == {"x": 2}
