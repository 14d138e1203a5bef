"""moto is a fair stand-in only if concurrent requests do not lose each other's changes.

Seen to fail without the lock, all three in each of two runs: requests overlapped, a row lost its
version (``KeyError``), moto met a dictionary that changed while it was copied.
"""

import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from ndlambda.errors import PreconditionFailedError
from ndlambda.local.moto import one_at_a_time
from ndlambda.stores.aws import AwsConfig, DynamoTable, create_table
from ndlambda.stores.ports import Check, Put, Row
from ndlambda.testing.threads import run_together


def test_the_application_answers_one_request_at_a_time():
    inside = threading.Semaphore(1)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.001)  # lets the others come
        inside.release()
        return [b""]

    alone = one_at_a_time(app)
    run_together(8, lambda index: [alone({}, lambda *_: None) for _ in range(5)])


def _write_beside_failing_transactions(table: DynamoTable, pk: str) -> int:
    """Half of the threads make transactions that fail, the others write rows; count those kept."""
    rounds = 12

    def work(index: int) -> None:
        for number in range(rounds):
            if index % 2:
                table.put(Row(pk, f"{index}-{number}"))
                continue
            try:
                table.transact([Put(Row(pk, "never")), Check(pk, "not there", expect=1)])
            except PreconditionFailedError:
                continue
            raise AssertionError

    run_together(4, work)
    return 2 * rounds - len(table.query(pk).rows)


def test_the_server_loses_no_write_beside_a_failing_transaction(moto_config):
    name = f"lock-{uuid.uuid4().hex}"
    create_table(moto_config, name)
    assert _write_beside_failing_transactions(DynamoTable(moto_config, name), "p") == 0


def test_moto_in_process_loses_no_write_beside_a_failing_transaction(moto_in_process):
    create_table(AwsConfig(), "lock")
    assert _write_beside_failing_transactions(DynamoTable(AwsConfig(), "lock"), "p") == 0
