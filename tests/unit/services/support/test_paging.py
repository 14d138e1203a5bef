"""Pages of rows, against a table that counts what is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ndlambda.services.support.paging import children, pages, prefixed, rows_in
from ndlambda.stores.disk import SqliteTable
from ndlambda.stores.ports import Page, Row

KEYS = ["a", "child#1", "child#2", "child#3", "children", "other#1"]


@dataclass
class Asked:
    """Passes queries on and notes them; with ``empty_first`` one page more comes, without rows."""

    table: SqliteTable
    empty_first: bool = False
    queries: list[Mapping[str, Any]] = field(default_factory=list)

    def query(self, pk: str, **options: Any) -> Page:
        self.queries.append(options)
        if self.empty_first and len(self.queries) == 1:
            return Page((), "a cursor")
        return self.table.query(pk, **options | ({"cursor": None} if self.empty_first else {}))


@pytest.fixture
def table(table) -> Asked:
    for sk in KEYS:
        table.put(Row("p", sk))
    table.put(Row("another", "a"))
    return Asked(table)


def test_pages_have_at_most_their_size_and_follow_the_cursor(table):
    found = [[row.sk for row in page] for page in pages(table, "p", size=4)]
    assert found == [KEYS[:4], KEYS[4:]]
    assert [query["limit"] for query in table.queries] == [4, 4]
    assert table.queries[0]["cursor"] is None
    assert table.queries[1]["cursor"] is not None


def test_a_page_is_asked_for_only_when_it_is_needed(table):
    found = pages(table, "p", size=2)
    assert table.queries == []
    next(found)
    assert len(table.queries) == 1


def test_rows_lie_within_the_bounds_which_are_the_same_for_every_page(table):
    found = list(pages(table, "p", "child#1", "child#3", 1))
    assert [row.sk for page in found for row in page] == ["child#1", "child#2", "child#3"]
    assert {(query["first"], query["last"]) for query in table.queries} == {("child#1", "child#3")}


def test_an_empty_page_is_skipped_and_does_not_end_the_loop(table):
    table.empty_first = True
    assert [[row.sk for row in page] for page in pages(table, "p")] == [KEYS]
    assert len(table.queries) == 2


def test_no_page_comes_of_an_empty_partition(table):
    assert list(pages(table, "nothing")) == []
    assert list(rows_in(table, "nothing")) == []


def test_rows_that_were_returned_may_be_removed_meanwhile(table):
    found = []
    for page in pages(table, "p", size=2):
        found += [row.sk for row in page]
        for row in page:
            table.table.delete(row.pk, row.sk)
    assert found == KEYS


def test_rows_of_all_pages_come_in_order_without_a_size(table):
    assert [row.sk for row in rows_in(table, "p")] == KEYS
    assert [query["limit"] for query in table.queries] == [None]


def test_children_are_of_one_kind_or_all(table):
    assert [row.sk for row in children(table, "p", "child")] == ["child#1", "child#2", "child#3"]
    assert [row.sk for row in children(table, "p")] == KEYS


@pytest.mark.parametrize(("first", "bounds"), [
    ("", ("child#", "child#~")), ("child#2", ("child#2", "child#~")), ("a", ("child#", "child#~")),
])  # fmt: skip
def test_sort_keys_with_a_prefix_start_no_earlier_than_asked(first, bounds):
    assert prefixed("child#", first) == bounds
