"""The keys of propagation's rows.

=======================  =====================================  ====================================
pk                       sk                                     row
=======================  =====================================  ====================================
``propagation``          ``U``                                  the last job of a channel
``propagation#running``  ``U``                                  empty: lists the running jobs
``propagation#U``        ``mark#RR#TTTTTTTT#BUCKET``            members: written supercuboids
``propagation#U``        ``note#RUN#ID#RR#TTTTTTTT#BUCKET``     a mark in a snapshot
``propagation#U``        ``todo#RUN#ID#LAYER#TTTTTTTT#BUCKET``  members: roots of tasks
``propagation#U``        ``done#RUN#ID#LAYER#TTTTTTTT#BUCKET``  members: roots that are built
``propagation#U``        ``try#RUN#STEP#...``                   counter: repeated attempts at a step
``propagation#U``        ``window#RUN#ID#``                     which tasks were sent; counter: done
``propagation#U``        ``watch``                              the job's watch chain
=======================  =====================================  ====================================

U is the channel's uid, RR a resolution (2 digits), TTTTTTTT (8) a time point, RUN (8) the number of
a run, all hexadecimal; LAYER is a resolution and ``p`` (plain) or ``n`` (near-isotropic), ID the
id of a snapshot or plan. A bucket (14) is the Morton code of a supercuboid without its low 9 bits,
which are the member, so a row has at most 512 members.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ndlambda.errors import PreconditionFailedError
from ndlambda.services.support.paging import Key, pages, prefixed
from ndlambda.stores.ports import Row, Table

JOBS = "propagation"
RUNNING = "propagation#running"
_BITS = 9
_LOW = (1 << _BITS) - 1
_ROWS_A_PAGE = 100


def job_key(uid: str) -> Key:
    """Return the keys of a channel's job."""
    return JOBS, uid


def partition(uid: str) -> str:
    """Return the partition of a channel's marks, snapshots and tasks."""
    return f"propagation#{uid}"


def watch_key(uid: str) -> Key:
    """Return the keys of the row of a channel's watch chain."""
    return partition(uid), "watch"


def mark_tail(resolution: int, time_point: int, bucket: int) -> str:
    """Return the end of the sort keys of a mark and its snapshots."""
    return f"{resolution:02x}#{time_point:08x}#{bucket:014x}"


def by_bucket(codes: Iterable[int]) -> dict[int, set[int]]:
    """Group the Morton codes of supercuboids into members by bucket."""
    found: dict[int, set[int]] = defaultdict(set)
    for code in codes:
        found[code >> _BITS].add(code & _LOW)
    return found


def codes_of(bucket: int, members: Iterable[int]) -> list[int]:
    """Return the Morton codes of members of a bucket, ascending."""
    return [bucket << _BITS | member for member in sorted(members)]


def rows_from(table: Table, pk: str, prefix: str, first: str = "") -> Iterator[Sequence[Row]]:
    """Iterate in pages over rows whose sort keys start with prefix and are at least ``first``."""
    return pages(table, pk, *prefixed(prefix, first), _ROWS_A_PAGE)


def delete_if(table: Table, row: Row) -> bool:
    """Delete a row if it has not changed; return whether it was deleted."""
    try:
        table.delete(row.pk, row.sk, expect=row.version)
    except PreconditionFailedError:
        return False
    return True
