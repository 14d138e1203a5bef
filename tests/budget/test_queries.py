"""Rows read by a query for objects with a limit: formulas of ``docs/costs.md``."""

import pytest

from ndlambda.model.ramon import ObjectQuery, Synapse, parse_query
from ndlambda.services.ramon.query import ObjectFinder
from ndlambda.services.ramon.rows import ObjectRows
from tests.support.counted import Counted
from tests.support.ramon_world import CHANNEL, disk_world

SIZES = (300, 900, 2700)

QUERIES = {
    "all": (),
    "a type": ("type", "2"),
    "an author": ("author", "bea"),
    "two that many have": ("type", "2", "status", "0"),
    "a reference": ("syn_segments", "5"),
    "a pair": ("seen", "yes"),
}


@pytest.fixture(scope="module", params=SIZES)
def finder(request, tmp_path_factory):
    """Finds objects all of which match, among as many as the size says."""
    world = disk_world(tmp_path_factory.mktemp("objects"))
    made = [
        Synapse(n, author="bea", segments=(5,), kvpairs={"seen": "yes"})
        for n in range(1, request.param + 1)
    ]
    ObjectRows(world.table).add_many(CHANNEL.uid, made)
    counted = Counted(world.table)
    yield ObjectFinder(counted), counted
    world.table.close()


@pytest.mark.parametrize("words", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("limit", [1, 10, 200])
@pytest.mark.parametrize("after", [0, 77])
def test_a_limited_query_reads_no_more_rows_than_a_page_needs(finder, words, limit, after):
    finding, counted = finder
    counted.clear()
    predicates = parse_query(words).predicates
    found = finding.find(CHANNEL.uid, ObjectQuery(predicates, limit, after))
    assert found == list(range(after + 1, after + limit + 1))
    streams = 2 if len(predicates) > 1 else 1
    assert counted.rows <= streams * (80 + limit), counted.calls
    assert counted.calls["query"] <= 16 * streams
    assert counted.calls["batch_get"] <= 1 + limit // 100
