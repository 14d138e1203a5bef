"""Requests to one DynamoDB table: sending, repeating, and clearing expired rows out of the way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any, Final, TypeAlias, TypeVar

from pynamodb.connection import Connection
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action as Change

from ndlambda.batches import batched
from ndlambda.errors import PreconditionFailedError, UpstreamThrottledError
from ndlambda.stores.aws import items
from ndlambda.stores.aws.errors import rows_in_the_way
from ndlambda.stores.aws.session import AwsConfig, make_connection

Item: TypeAlias = Mapping[str, Mapping[str, Any]]

BATCH_KEYS: Final = 100
"""Keys that BatchGetItem takes at most."""

THREADS: Final = 16
"""Requests of batches at a time. One takes 2.3 ms of CPU in Python, which does one at a time, and
5 to 10 ms of waiting: 1 thread sent 122 of them a second, 8 418, 16 428, 32 467."""

_TASKS_IN_QUEUE: Final = 4 * THREADS
"""Of one batch, so that a small one is not behind all of a large one."""

_Result = TypeVar("_Result")


class DynamoRequests:
    """What goes over the wire for a ``DynamoTable``.

    Parameters
    ----------
    config, table_name
        The AWS account and the table in it.
    now_s
        Gives Unix seconds; decides what has expired.
    """

    def __init__(self, config: AwsConfig, table_name: str, now_s: Callable[[], int]) -> None:
        self._retry = config.retry
        self._config = config
        self._name = table_name
        self._now_s = now_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="dynamo")
        self._making = Lock()
        self._made: Connection | None = None

    def get(self, pk: str, sk: str) -> Item | None:
        """Read one item, strongly consistent."""
        key = items.check_key(pk, sk)
        answer = self._send(
            "GetItem", {"TableName": self._name, "Key": key, "ConsistentRead": True}
        )
        return answer.get("Item")

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> Iterator[Item]:
        """Read many items, strongly consistent, in any order.

        Raises
        ------
        UpstreamThrottledError
            DynamoDB gave nothing for too many requests in a row.
        """
        wanted: Sequence[Any] = [items.check_key(pk, sk) for pk, sk in dict.fromkeys(keys)]
        attempt = 0
        while wanted:
            batch, rest = wanted[:BATCH_KEYS], wanted[BATCH_KEYS:]
            request = {"RequestItems": {self._name: {"Keys": batch, "ConsistentRead": True}}}
            answer = self._send("BatchGetItem", request)
            yield from answer["Responses"].get(self._name, ())
            left_over = answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
            wanted = [*left_over, *rest]
            attempt = attempt + 1 if len(left_over) == len(batch) else 0
            if attempt >= self._retry.attempts:
                raise UpstreamThrottledError("DynamoDB read none of the rows asked for.")
            if left_over:
                self._retry.pause(attempt)

    def query(
        self, pk: str, sort_keys: Condition | None, behind: str | None, limit: int | None
    ) -> tuple[Sequence[Item], str | None]:
        """Read items of a partition behind a sort key, and the sort key to go on behind."""
        start = None if behind is None else items.check_key(pk, behind)
        answer = self._retry.run(
            "Query",
            lambda: self._connection.query(
                self._name,
                pk,
                range_key_condition=sort_keys,
                consistent_read=True,
                exclusive_start_key=start,
                limit=limit,
            ),
        )
        last = answer.get("LastEvaluatedKey")
        return answer["Items"], last and last["sk"]["S"]

    def request(
        self,
        pk: str,
        sk: str,
        changes: Sequence[Change] | None = None,
        condition: Condition | None = None,
    ) -> dict[str, Any]:
        """Return the arguments of a write of one item, alone or in a transaction."""
        items.check_key(pk, sk)
        arguments: dict[str, Any] = self._connection.get_operation_kwargs(
            self._name,
            pk,
            range_key=sk,
            actions=changes,
            condition=condition,
            # Shows whether it was an expired row that stood in the way.
            return_values_on_condition_failure=None if condition is None else "ALL_OLD",
        )
        items.check_expressions(arguments)
        return arguments

    def write(self, operation: str, make_request: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Send a write; where expired rows stand in its way, remove them and send it again.

        Raises
        ------
        PreconditionFailedError
            A condition does not hold, and not because of an expired row.
        """
        while True:
            try:
                return self._send(operation, make_request())
            except PreconditionFailedError as lost:
                now_s = self._now_s()
                expired = [item for item in rows_in_the_way(lost) if items.is_expired(item, now_s)]
                if not expired:
                    raise
            for item in expired:
                self._bury(item["pk"]["S"], item["sk"]["S"], now_s)

    def run_together(self, tasks: Sequence[Callable[[], _Result]]) -> list[_Result]:
        """Do tasks of one request each, many at a time, and return their results in order.

        The first error is raised; by then no task runs any more, and those not begun never will.
        """
        done: list[_Result] = []
        for batch in batched(tasks, _TASKS_IN_QUEUE):
            pending = [self._threads.submit(task) for task in batch]
            try:
                wait(pending, return_when=FIRST_EXCEPTION)
            finally:
                wait([future for future in pending if not future.cancel()])
            failed = [future for future in pending if not future.cancelled() and future.exception()]
            done += [future.result() for future in failed or pending]
        return done

    def _bury(self, pk: str, sk: str, now_s: int) -> None:
        try:
            self._send("DeleteItem", self.request(pk, sk, condition=items.expired(now_s)))
        except PreconditionFailedError:
            return  # DynamoDB or another writer was faster

    def _send(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return self._retry.run(operation, lambda: self._connection.dispatch(operation, request))

    @property
    def _connection(self) -> Connection:
        if self._made is None:
            with self._making:  # one for all threads that come first: it takes some 100 ms of CPU
                if self._made is None:
                    self._made = make_connection(self._config, self._name)
        return self._made
