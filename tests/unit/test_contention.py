"""Changes of rows that others always come before end, after pauses, in an error that says so."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from ingest_queue.jobs import attempts as tries
from ingest_queue.jobs import ledger
from ingest_queue.jobs.job import Job, Mode, Policy
from ndlambda.errors import IntegrityError, PreconditionFailedError, WriteContentionError
from ndlambda.services.access import users
from ndlambda.services.support.retry import optimistic
from ndlambda.space.box import Box
from ndlambda.stores.disk import SqliteTable

JOB = Job(
    id="0123456789abcdef", owner_id=1, token="tk", dataset="ds", project="pj", channel="em",
    channel_uid="u", resolution=0, box=Box((0, 0, 0), (9, 9, 9)), times=(0, 1), mode=Mode.SLICES,
    on_bad=Policy.ZERO, folder="drop/j/0123456789abcdef/",
)  # fmt: skip


class Contended:
    """A table that can be read, and whose rows change before every conditional write."""

    def __init__(self, table: SqliteTable) -> None:
        self._table = table
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def _lose(self, *args: object, **options: object) -> None:
        self.writes += 1
        raise PreconditionFailedError("Others were faster.", failed=[0])

    put = transact = _lose

    def remove_members(self, *args: object) -> bool:
        self.writes += 1
        return False


@pytest.fixture
def table(table) -> Contended:
    return Contended(table)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would be made."""
    made: list[float] = []
    for module in (users, ledger, tries):
        paced = partial(optimistic, sleep=made.append)
        monkeypatch.setattr(module, "optimistic", paced)
    return made


def users_of(table: Contended) -> users.UserService:
    users.UserService(table._table, b"secret").create_user("ann")
    return users.UserService(table, b"secret")


def change_job(table: Contended) -> None:
    table._table.put(JOB.row)
    jobs = ledger.Ledger(table)
    jobs.change(jobs.get(JOB.id), lambda job: replace(job, closed=True))


@pytest.mark.parametrize(("change", "attempts"), [
    (lambda table: users_of(table).set_password("ann", "pass1word"), 8),
    (lambda table: users_of(table).issue_key("ann"), 8),
    (change_job, 32),
    (lambda table: ledger.Ledger(table).reopen(JOB, 0, 0), 32),
], ids=["set password", "issue key", "change job", "reopen chunk"])  # fmt: skip
def test_attempts_end_in_contention_after_pauses_between_them(table, pauses, change, attempts):
    with pytest.raises(WriteContentionError) as caught:
        change(table)
    assert caught.value.retryable
    assert table.writes == attempts
    assert len(pauses) == attempts - 1
    assert all(0 <= pause <= 0.25 for pause in pauses)


def test_an_attempt_to_take_back_a_try_gives_up_without_an_error_of_its_own(table, pauses):
    noted = tries.Attempts(table, "p", 1, lambda: 0.0)
    with pytest.raises(IntegrityError, match="torn"), noted.track(number=3, attempt=2):
        raise IntegrityError("torn")
    assert table.writes == 8
    assert len(pauses) == 7
