"""Sends requests to one DynamoDB table, with retries and removal of expired rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from threading import Lock
from typing import Any, Final, TypeAlias, TypeVar

from pynamodb.connection import Connection
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action as Change

from ndlambda.batches import batched
from ndlambda.deadline import Threads
from ndlambda.errors import PreconditionFailedError, UpstreamThrottledError
from ndlambda.stores.aws import items
from ndlambda.stores.aws.errors import conflicting_items
from ndlambda.stores.aws.session import AwsConfig, make_connection

Item: TypeAlias = Mapping[str, Mapping[str, Any]]

BATCH_KEYS: Final = 100
"""Maximum keys of BatchGetItem."""

THREADS: Final = 16
"""Concurrent requests of batches. A request takes 2.3 ms of CPU under Python's lock and 5 to 10 ms
of waiting: 1 thread sent 122 requests a second, 8 sent 418, 16 sent 428, 32 sent 467."""

_TASKS_IN_QUEUE: Final = 4 * THREADS
"""Of one batch, so that a small batch does not queue behind a large one."""

_Result = TypeVar("_Result")


class DynamoRequests:
    """The requests of a ``DynamoTable``.

    Parameters
    ----------
    config, table_name
        The AWS account and the table in it.
    now_s
        Returns Unix seconds, by which rows expire.
    """

    def __init__(self, config: AwsConfig, table_name: str, now_s: Callable[[], int]) -> None:
        self._retry = config.retry
        self._config = config
        self._name = table_name
        self._now_s = now_s
        self._threads = Threads(THREADS, thread_name_prefix="dynamo")
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
            DynamoDB returned nothing for too many consecutive requests.
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
        self, pk: str, sort_keys: Condition | None, after: str | None, limit: int | None
    ) -> tuple[Sequence[Item], str | None]:
        """Return items of a partition after a sort key, and the last sort key evaluated."""
        start = None if after is None else items.check_key(pk, after)
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
            # Shows whether the condition failed on an expired row.
            return_values_on_condition_failure=None if condition is None else "ALL_OLD",
        )
        items.check_expressions(arguments)
        return arguments

    def write(self, operation: str, make_request: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Send a write; if it conflicts with expired rows, remove them and send it again.

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
                expired = [
                    item for item in conflicting_items(lost) if items.is_expired(item, now_s)
                ]
                if not expired:
                    raise
            for item in expired:
                self._delete_expired(item["pk"]["S"], item["sk"]["S"], now_s)

    def run_together(self, tasks: Sequence[Callable[[], _Result]]) -> list[_Result]:
        """Run tasks of one request each concurrently, and return their results in order.

        The first error is raised, after running tasks have ended and pending ones are cancelled.
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

    def _delete_expired(self, pk: str, sk: str, now_s: int) -> None:
        try:
            self._send("DeleteItem", self.request(pk, sk, condition=items.expired(now_s)))
        except PreconditionFailedError:
            return  # DynamoDB or another writer was faster

    def _send(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return self._retry.run(operation, lambda: self._connection.dispatch(operation, request))

    @property
    def _connection(self) -> Connection:
        if self._made is None:
            with self._making:  # only one of the first threads makes it: it takes 100 ms of CPU
                if self._made is None:
                    self._made = make_connection(self._config, self._name)
        return self._made
