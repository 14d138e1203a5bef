"""Rows as DynamoDB items: attributes, conditions and changes.

An item is ``pk`` S, ``sk`` S, ``doc`` S (JSON text, which preserves floats and nulls),
``members`` NS (absent when empty, since DynamoDB has no empty set), ``c_<name>`` N for each
counter, ``version`` N, and ``expires`` N, the table's time-to-live attribute.
"""

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from pynamodb.connection.base import MetaTable
from pynamodb.expressions.condition import Condition, size
from pynamodb.expressions.operand import Path, Value
from pynamodb.expressions.update import Action

from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError
from ndlambda.stores.ports import MAX_ROW_BYTES, Expectation, Row

MAX_PK_BYTES: Final = 2048
MAX_SK_BYTES: Final = 1024
MAX_EXPRESSION_BYTES: Final = 4096
MEMBER_BYTES: Final = 8
"""Size of a member in our limits; DynamoDB counts 2 to 11 bytes, by the number of digits."""

_MAX_DOC_BYTES: Final = MAX_ROW_BYTES // 2 - MAX_PK_BYTES - MAX_SK_BYTES
_MAX_GROWN_MEMBERS: Final = MAX_ROW_BYTES // 2 // MEMBER_BYTES

COUNTER_PREFIX: Final = "c_"
_DOC, _MEMBERS, _VERSION, _EXPIRES = map(Path, ("doc", "members", "version", "expires"))


def table_schema(name: str) -> dict[str, Any]:
    """Return the name and key schema of a table."""
    return {
        "TableName": name,
        "KeySchema": [
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
    }


def meta_table(name: str) -> MetaTable:
    """Return what pynamodb would else request by DescribeTable at every cold start."""
    return MetaTable(table_schema(name))


# --- reading -------------------------------------------------------------------------------


def row_of(item: Mapping[str, Mapping[str, Any]]) -> Row:
    """Return the row of an item."""
    expires = item.get("expires")
    return Row(
        pk=item["pk"]["S"],
        sk=item["sk"]["S"],
        doc=json.loads(item["doc"]["S"]) if "doc" in item else {},
        members=frozenset(int(member) for member in item.get("members", {}).get("NS", ())),
        counters={
            name.removeprefix(COUNTER_PREFIX): int(value["N"])
            for name, value in item.items()
            if name.startswith(COUNTER_PREFIX)
        },
        version=int(item["version"]["N"]),
        expires=int(expires["N"]) if expires else None,
    )


def is_expired(item: Mapping[str, Mapping[str, Any]], now_s: int) -> bool:
    """Return whether the row counts as absent; DynamoDB removes it within days."""
    return "expires" in item and int(item["expires"]["N"]) <= now_s


# --- checking ------------------------------------------------------------------------------


def check_key(pk: str, sk: str) -> dict[str, dict[str, str]]:
    """Return the key of an item.

    Raises
    ------
    InvalidArgumentError
        A part is empty or longer than DynamoDB accepts (2048 and 1024 bytes).
    """
    for name, text, limit in (("pk", pk, MAX_PK_BYTES), ("sk", sk, MAX_SK_BYTES)):
        if not 0 < len(text.encode()) <= limit:
            raise InvalidArgumentError(
                f"The {name} of a row has 1 to {limit} bytes, not {len(text.encode())}.", key=name
            )
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def check_size(row: Row) -> int:
    """Return the bytes that a put writes.

    Raises
    ------
    PayloadTooLargeError
        It is over ``MAX_ROW_BYTES``.
    """
    size = len((row.pk + row.sk + _text(row.doc)).encode()) + MEMBER_BYTES * len(row.members)
    if size > MAX_ROW_BYTES:
        raise PayloadTooLargeError(
            f"The row has {size} bytes; the limit is {MAX_ROW_BYTES}.", limit=MAX_ROW_BYTES
        )
    return size


def check_growth(members: AbstractSet[int]) -> None:
    """Check that a set may hold these members.

    Raises
    ------
    PayloadTooLargeError
        They are over half of ``MAX_ROW_BYTES``.
    """
    if len(members) > _MAX_GROWN_MEMBERS:
        raise PayloadTooLargeError(
            f"{len(members)} members are more than a set grows to.", limit=_MAX_GROWN_MEMBERS
        )


def check_expressions(arguments: Mapping[str, Any]) -> None:
    """Check that DynamoDB accepts the expressions of a request.

    Raises
    ------
    InvalidArgumentError
        One is over 4 KiB.
    """
    for name, text in arguments.items():
        if name.endswith("Expression") and len(text.encode()) > MAX_EXPRESSION_BYTES:
            raise InvalidArgumentError(
                f"The {name} of a request is over {MAX_EXPRESSION_BYTES} bytes.",
                limit=MAX_EXPRESSION_BYTES,
            )


# --- conditions ----------------------------------------------------------------------------


def expired(now_s: int) -> Condition:
    """Return the condition that a stored row has expired."""
    return Path("expires") <= _number(now_s)


def expectation(expect: Expectation, now_s: int) -> Condition:
    """Return the condition that a row is as expected and has not expired.

    A write over an expired row would inherit its counters and members, so it must fail; the caller
    then removes the row and writes again.
    """
    if expect == "absent":
        return Path("pk").does_not_exist()
    expires = Path("expires")
    alive: Condition = expires.does_not_exist() | (expires > _number(now_s))
    if expect == "any":
        return alive
    expected: Condition = (Path("version") == _number(expect)) & alive
    return expected


def counter_below(field: str, value: int) -> Condition:
    """Return the condition that a counter is smaller, or absent."""
    counter = Path([COUNTER_PREFIX + field])
    below: Condition = counter.does_not_exist() | (counter < _number(value))
    return below


def fits_members(members: AbstractSet[int]) -> Condition:
    """Return the condition that a set may grow by members within ``MAX_ROW_BYTES``.

    A condition cannot add sizes, and common members are unknown; so set and doc have half each,
    and all members count as new.
    """
    fits: Condition = _at_most(_MEMBERS, _MAX_GROWN_MEMBERS - len(members)) & _at_most(
        _DOC, _MAX_DOC_BYTES
    )
    return fits


def sort_key_range(first: str, last: str | None) -> Condition | None:
    """Return the condition ``first <= sk <= last``."""
    sk = Path("sk")
    if last is None:
        return sk >= first if first else None
    return sk.between(first, last) if first else sk <= last


# --- changes -------------------------------------------------------------------------------


def put_changes(row: Row, seed: int) -> list[Action]:
    """Write doc, members and expires, and leave counters as they are."""
    return [
        _DOC.set(Value({"S": _text(row.doc)})),
        _MEMBERS.set(_numbers(row.members)) if row.members else _MEMBERS.remove(),
        _EXPIRES.remove() if row.expires is None else _EXPIRES.set(_number(row.expires)),
        next_version(seed),
    ]


def add_changes(members: AbstractSet[int], seed: int) -> list[Action]:
    """Add members to the set."""
    changes: list[Action] = [next_version(seed)]
    return [*changes, _MEMBERS.add(_numbers(members))] if members else changes


def remove_changes(members: AbstractSet[int], seed: int) -> list[Action]:
    """Remove members from the set."""
    changes: list[Action] = [next_version(seed)]
    return [*changes, _MEMBERS.delete(_numbers(members))] if members else changes


def increment_changes(field: str, by: int, seed: int) -> list[Action]:
    """Add to a counter."""
    return [next_version(seed), Path([COUNTER_PREFIX + field]).add(_number(by))]


def raise_changes(field: str, value: int, seed: int) -> list[Action]:
    """Set a counter."""
    return [next_version(seed), Path([COUNTER_PREFIX + field]).set(_number(value))]


def next_version(seed: int) -> Action:
    """Increment the version, from seed in a new row."""
    return _VERSION.set((_VERSION | _number(seed)) + _number(1))


def _text(doc: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(doc), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"The doc of a row is a JSON object: {error}.") from error


def _at_most(path: Path, limit: int) -> Condition:
    length = size(path)  # type: ignore[no-untyped-call]  # pynamodb left it untyped
    fits: Condition = path.does_not_exist() | (length <= _number(limit))
    return fits


def _number(number: int) -> Value:
    return Value({"N": str(number)})


def _numbers(numbers: AbstractSet[int]) -> Value:
    return Value({"NS": [str(number) for number in sorted(numbers)]})
