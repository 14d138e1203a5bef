"""Rows as SQLite columns."""

import json
from typing import Any

import numpy as np

from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError
from ndlambda.stores.ports import MAX_ROW_BYTES, Row


def encode_row(row: Row) -> tuple[str, str, str, bytes, str, int | None]:
    """Return ``(pk, sk, doc, members, counters, expires)``: JSON texts, members packed as uint64.

    Raises
    ------
    InvalidArgumentError
        A key is empty, the doc is not JSON, or a member is not an unsigned 64-bit integer.
    PayloadTooLargeError
        Keys, doc and members together are over ``MAX_ROW_BYTES``.
    """
    if not row.pk or not row.sk:
        raise InvalidArgumentError("A row's keys must not be empty.", pk=row.pk, sk=row.sk)
    try:
        doc = json.dumps(dict(row.doc), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(f"{row.pk}{row.sk}{doc}".encode()) + 8 * len(row.members)
        members = np.array(sorted(row.members), dtype="<u8").tobytes()
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(
            f"The row cannot be stored: {error}.", pk=row.pk, sk=row.sk
        ) from error
    if size > MAX_ROW_BYTES:
        raise PayloadTooLargeError(
            f"The row has {size} bytes; at most {MAX_ROW_BYTES} are kept in one.",
            limit=MAX_ROW_BYTES,
            pk=row.pk,
            sk=row.sk,
        )
    return row.pk, row.sk, doc, members, json.dumps(dict(row.counters)), row.expires


def decode_row(columns: tuple[Any, ...]) -> Row:
    """Return the row of ``(pk, sk, doc, members, counters, version, expires)``."""
    pk, sk, doc, members, counters, version, expires = columns
    return Row(
        pk=pk,
        sk=sk,
        doc=json.loads(doc),
        members=frozenset(np.frombuffer(members, "<u8").tolist()),
        counters=json.loads(counters),
        version=version,
        expires=expires,
    )
