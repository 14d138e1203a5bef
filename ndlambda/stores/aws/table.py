"""Rows in DynamoDB (on-demand capacity), through pynamodb."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Final, assert_never

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action as Change

from ndlambda.errors import PayloadTooLargeError, PreconditionFailedError
from ndlambda.stores.aws import items
from ndlambda.stores.aws.dynamo import DynamoRequests, Item
from ndlambda.stores.aws.errors import AWS_ERRORS, translate
from ndlambda.stores.aws.session import AwsConfig, make_client
from ndlambda.stores.cursors import decode_cursor, encode_cursor
from ndlambda.stores.limits import check_actions, check_page_size
from ndlambda.stores.ports import Action, Check, Delete, Expectation, Page, Put, Row

TRANSACTION_BYTES: Final = 4 * 1024 * 1024
"""Maximum size of TransactWriteItems."""


def version_seed() -> int:
    """Return the microseconds since 1970: the first version of a new row.

    A row created again starts far above its earlier versions, since no row changes once a
    microsecond. With differing clocks a version could be reused only if the clocks differ by the
    row's time of absence to within as many microseconds as it had changes.
    """
    return time.time_ns() // 1000


class DynamoTable:
    """A ``Table`` in DynamoDB.

    Expired rows, which DynamoDB removes within days, count as absent: reads leave them out, and a
    write removes an expired row first, so that it inherits nothing.

    Parameters
    ----------
    config, name
        The AWS account and the table in it.
    clock
        Returns Unix seconds, by which rows expire.
    seed
        Returns the version before a new row's first; must increase.
    """

    def __init__(
        self,
        config: AwsConfig,
        name: str,
        *,
        clock: Callable[[], float] = time.time,
        seed: Callable[[], int] = version_seed,
    ) -> None:
        self._clock = clock
        self._seed = seed
        self._requests = DynamoRequests(config, name, self._now_s)

    # reading

    def get(self, pk: str, sk: str) -> Row | None:
        """Read one row, strongly consistent."""
        item = self._requests.get(pk, sk)
        return None if item is None else self._find_row(item)

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        """Read many rows, strongly consistent, 100 in each request."""
        rows = map(self._find_row, self._requests.batch_get(keys))
        return {(row.pk, row.sk): row for row in rows if row is not None}

    def query(
        self,
        pk: str,
        *,
        first: str = "",
        last: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """Read rows of a partition with ``first <= sk <= last``; a page has up to 1 MiB."""
        check_page_size(limit)
        if last is not None and (last == "" or last < first):
            return Page((), None)  # DynamoDB refuses an empty range
        sort_keys = items.sort_key_range(first, last)
        after = None if cursor is None else decode_cursor(cursor)
        while True:
            found, after = self._requests.query(pk, sort_keys, after, limit)
            rows = [row for row in map(self._find_row, found) if row is not None]
            if rows or after is None:
                return Page(rows, None if after is None else encode_cursor(after))

    # writing

    def put(self, row: Row, expect: Expectation = "any") -> int:
        """Write doc, members and expires and return the new version."""
        items.check_size(row)
        written = self._update(row.pk, row.sk, items.put_changes(row, self._seed()), expect)
        return int(written["version"]["N"])

    def delete(self, pk: str, sk: str, expect: Expectation = "any") -> None:
        """Remove a row."""
        self._requests.write("DeleteItem", lambda: self._delete_request(Delete(pk, sk, expect)))

    def add_members(self, pk: str, sk: str, members: AbstractSet[int]) -> int:
        """Add members to the row's set, creating an absent row; return the new version.

        Raises
        ------
        PayloadTooLargeError
            The set would be over half of ``MAX_ROW_BYTES``, or the doc beside it is.
        """
        items.check_growth(members)
        changes = items.add_changes(members, self._seed())
        try:
            written = self._update(pk, sk, changes, also=items.fits_members(members))
        except PreconditionFailedError as error:
            raise PayloadTooLargeError(
                f"The row has no room for {len(members)} members more.", pk=pk, sk=sk
            ) from error
        return int(written["version"]["N"])

    def batch_add_members(self, sets: Mapping[tuple[str, str], AbstractSet[int]]) -> None:
        """Add members to many rows, by key: one request for each row, concurrently.

        DynamoDB's only request for many updates is the transaction, of 100. It takes a tenth of the
        CPU, but twice the write units, and fails while another writer changes one of its rows, as
        painters of neighbouring supercuboids constantly do.

        Raises
        ------
        PayloadTooLargeError
            See ``add_members``.
        """
        for members in sets.values():
            items.check_growth(members)
        self._requests.run_together(
            [partial(self.add_members, *key, members) for key, members in sets.items()]
        )

    def remove_members(self, pk: str, sk: str, members: AbstractSet[int], if_version: int) -> bool:
        """Remove members from the row's set if the row has this version; False if it has not.

        If an answer is lost the request is sent again, and may return False though it succeeded.
        """
        try:
            self._update(pk, sk, items.remove_changes(members, self._seed()), if_version)
        except PreconditionFailedError:
            return False
        return True

    def batch_remove_members(
        self,
        sets: Mapping[tuple[str, str], AbstractSet[int]],
        if_versions: Mapping[tuple[str, str], int],
    ) -> int:
        """Remove members from many rows, by key; return how many had their version."""
        tasks = [
            partial(self.remove_members, *key, members, if_versions[key])
            for key, members in sets.items()
            if key in if_versions
        ]
        return sum(self._requests.run_together(tasks))

    def increment(self, pk: str, sk: str, field: str, by: int = 1) -> int:
        """Add to one of the row's counters and return the new value.

        If an answer is lost the request is sent again and may count twice.
        """
        written = self._update(pk, sk, items.increment_changes(field, by, self._seed()))
        return int(written[items.COUNTER_PREFIX + field]["N"])

    def raise_counter(self, pk: str, sk: str, field: str, at_least: int) -> int:
        """Raise one of the row's counters to a value if it is smaller; return its value."""
        changes = items.raise_changes(field, at_least, self._seed())
        below = items.counter_below(field, at_least)
        while True:
            try:
                self._update(pk, sk, changes, also=below)
            except PreconditionFailedError:
                row = self.get(pk, sk)
                value = None if row is None else row.counters.get(field)
                if value is not None and value >= at_least:
                    return value
            else:
                return at_least

    def transact(self, actions: Sequence[Action]) -> None:
        """Execute all actions or none.

        Raises
        ------
        PayloadTooLargeError
            A row is over ``MAX_ROW_BYTES``, or all together are over 4 MiB.
        """
        check_actions(actions)
        _check_size(actions)
        if actions:
            self._requests.write("TransactWriteItems", lambda: self._transact_request(actions))

    # requests

    def _update(
        self,
        pk: str,
        sk: str,
        changes: Sequence[Change],
        expect: Expectation = "any",
        also: Condition | None = None,
    ) -> Item:
        """Change one row and return the new values of the changed attributes."""

        def make_request() -> dict[str, Any]:
            condition = items.expectation(expect, self._now_s())
            if also is not None:
                condition &= also
            request = self._requests.request(pk, sk, changes, condition)
            return request | {"ReturnValues": "UPDATED_NEW"}

        attributes: Item = self._requests.write("UpdateItem", make_request)["Attributes"]
        return attributes

    def _delete_request(self, action: Delete) -> dict[str, Any]:
        is_unconditional = action.expect == "any"
        condition = None if is_unconditional else items.expectation(action.expect, self._now_s())
        return self._requests.request(action.pk, action.sk, condition=condition)

    def _transact_request(self, actions: Sequence[Action]) -> dict[str, Any]:
        return {
            "TransactItems": [self._transact_item(action) for action in actions],
            # Makes the request idempotent when it is sent again after a lost answer.
            "ClientRequestToken": str(uuid.uuid4()),
        }

    def _transact_item(self, action: Action) -> dict[str, dict[str, Any]]:
        match action:
            case Put(row, expect):
                changes = items.put_changes(row, self._seed())
                condition = items.expectation(expect, self._now_s())
                return {"Update": self._requests.request(row.pk, row.sk, changes, condition)}
            case Delete():
                return {"Delete": self._delete_request(action)}
            case Check(pk, sk, expect):
                condition = items.expectation(expect, self._now_s())
                return {"ConditionCheck": self._requests.request(pk, sk, condition=condition)}
            case _:
                assert_never(action)

    def _find_row(self, item: Item) -> Row | None:
        return None if items.is_expired(item, self._now_s()) else items.row_of(item)

    def _now_s(self) -> int:
        return int(self._clock())


def create_table(config: AwsConfig, name: str) -> None:
    """Create an on-demand table with time to live for local use; no error if it exists."""
    client = make_client(config, "dynamodb")
    try:
        client.create_table(**items.table_schema(name), BillingMode="PAY_PER_REQUEST")
        client.get_waiter("table_exists").wait(TableName=name)
        client.update_time_to_live(
            TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
        )
    except client.exceptions.ResourceInUseException:
        return
    except AWS_ERRORS as error:
        raise translate(error, f"CreateTable {name}").error from error


def _check_size(actions: Sequence[Action]) -> None:
    size = sum(items.check_size(action.row) for action in actions if isinstance(action, Put))
    if size > TRANSACTION_BYTES:
        raise PayloadTooLargeError(
            f"The transaction has {size} bytes; the limit is {TRANSACTION_BYTES}.",
            limit=TRANSACTION_BYTES,
        )
