"""Lists the jobs of a user, and the faults of a job, slice by slice; counts jobs up to a bound.

========================  ===========  ============================================================
pk                        sk           row
========================  ===========  ============================================================
``ingests#USER``          ``!AGEJOB``  empty: lists a job; AGE falls with the time of its creation
``ingests#USER``          ``JOB``      the same, of earlier versions
``ingests#USER#running``  ``JOB``      empty: lists a job while it takes input
========================  ===========  ============================================================
"""

from collections.abc import Sequence

from ingest_queue.jobs.chunk_state import Fault
from ingest_queue.jobs.job import JOBS, Job, list_partition, under_way_key
from ndlambda.services.support.paging import Slice, slice_of
from ndlambda.stores.ports import Row, Table

JOB_POSITION = "[0-9a-f]{16}|[0-9a-f]{32}"
"""The position in a list of jobs, as a regular expression."""

FAULT_POSITION = r"[0-9a-f]{12}\.[0-9a-f]{12}"
"""The position in a list of faults, as a regular expression."""

_ID_DIGITS = 16


class UserJobs:
    """The jobs of users; each call is a constant number of requests.

    Parameters
    ----------
    table
        Where the rows are; see ``ledger``.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def newest(self, user_id: int, after: str, limit: int) -> Slice[Job]:
        """Return jobs of a user behind a position, newest first.

        Those made by earlier versions come last, by id; newest first within a slice only.
        """
        behind = f"!{after}" if len(after) > _ID_DIGITS else after
        rows = slice_of(self._table, list_partition(user_id), limit, after=behind)
        return Slice(self._jobs(rows.items), rows.next and rows.next.removeprefix("!"))

    def count_under_way(self, user_id: int, limit: int) -> int:
        """Return how many jobs of a user take input, at most ``limit``.

        Jobs that earlier versions made, and that have not changed since, do not count.
        """
        return len(self._table.query(under_way_key(user_id, "")[0], limit=limit).rows)

    def faults(self, job: Job, after: str, limit: int) -> Slice[Fault]:
        """Return faults of a job behind a position, by chunk and part."""
        rows = slice_of(
            self._table, job.partition, limit, prefix="error#", after=after.replace(".", "#")
        )
        return Slice(
            list(map(Fault.from_row, rows.items)), rows.next and rows.next.replace("#", ".")
        )

    def _jobs(self, rows: Sequence[Row]) -> list[Job]:
        keys = [(JOBS, row.sk[-_ID_DIGITS:]) for row in rows]
        found = self._table.batch_get(keys) if keys else {}
        jobs = [Job.from_row(found[key]) for key in keys if key in found]
        return sorted(jobs, key=lambda job: (-job.created_at, job.id))
