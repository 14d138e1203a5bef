"""The list of jobs: order, pages, ids."""

import pytest

from ndlambda.errors import InvalidArgumentError
from ndlambda.services.jobs.contract import job_id, parse_job_id
from ndlambda.services.jobs.index import JobEntry, JobIndex
from ndlambda.services.jobs.service import JobService
from ndlambda.stores.disk import SqliteTable
from ndlambda.testing.counting import CountingStores


@pytest.fixture
def table(tmp_path):
    made = SqliteTable(tmp_path / "table.sqlite", fsync=False)
    yield made
    made.close()


def fill(table, count):
    """List jobs of two users, in no order of their times; return the refs, newest first."""
    entries = [JobEntry("ingest", f"{n:04x}", n % 2, 1e9 + (n * 7 % count)) for n in range(count)]
    for entry in entries:
        table.transact(entry.put_actions())
    return [entry.ref for entry in sorted(entries, key=lambda entry: -entry.created_at)]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_pages_are_from_new_to_old_and_leave_nothing_out(table, size):
    newest, index = fill(table, 50), JobIndex(table)
    for owner, expected in ((None, newest), (0, [r for r in newest if int(r, 16) % 2 == 0])):
        found, after = [], ""
        while page := index.page(owner, size, after):
            found += [entry.ref for entry in page]
            after = page[-1].position
        assert found == expected


def test_a_page_costs_the_same_however_long_the_list_is(table):
    requests = set()
    for count in (20, 60, 180):
        fill(table, count)
        stores = CountingStores()
        JobIndex(stores.table(table)).page(0, 10)
        own = stores.requests
        JobIndex(stores.table(table)).page(None, 10)
        requests.add((own, stores.requests - own))
    assert requests == {(1, 16)}


def test_equal_times_are_listed_once_each(table):
    for ref in ("a", "b", "c"):
        table.transact(JobEntry("merge", ref, 1, 5.0).put_actions())
    index, found = JobIndex(table), []
    while page := index.page(1, 1, found[-1].position if found else ""):
        found += page
    assert [entry.ref for entry in found] == ["a", "b", "c"]


@pytest.mark.parametrize("after", ["x", "00000000000ff", "00000000000ff.", "00000000000ff.a#b"])
def test_what_is_no_position_is_refused(table, after):
    with pytest.raises(InvalidArgumentError):
        JobIndex(table).page(None, 1, after)


def test_jobs_of_older_versions_are_listed_once(table):
    entry, stores = JobEntry("ingest", "00ff", 1, 5.0), CountingStores()
    index = JobIndex(stores.table(table))
    for _ in range(2):
        index.ensure([entry])
    assert [each.ref for each in index.page(1, 10)] == ["00ff"]
    assert stores.calls["table.transact"] == 1


@pytest.mark.parametrize("ref", ["00ff", "00ff#12", "00ff#12#merge#all"])
def test_ids_tell_kind_and_reference(ref):
    assert parse_job_id(job_id("merge", ref)) == ("merge", ref)
    assert job_id("merge", ref).replace("-", "").replace(".", "").isalnum()


@pytest.mark.parametrize(
    "text", ["", "ingest", "-a", "ingest-", "INGEST-a", "ingest-A/b", "ingest-a#b"]
)
def test_what_is_no_id_is_none(text):
    assert parse_job_id(text) is None


def test_rows_without_a_job_and_kinds_of_other_versions_are_left_out(table):
    fill(table, 3)
    service = JobService(JobIndex(table), [], {})
    assert (service.page(None, limit=10).jobs, service.page(None, limit=10).next) == ([], None)
