"""Stores bodies that are uploaded before their request, as they are too large for the server.

An object ``uploads/{id}`` holds the body, and a row of its owner describes it. Both are deleted
when the body has been used; unused ones expire after a day (the row by its ``expires``, the object
by a rule of the bucket or, on files, by the sweeper).

========================  ========  ===========================================================
pk                        sk        row
========================  ========  ===========================================================
``uploads#OWNER``         ``ID``    an upload
``uploads#OWNER#count``   ``HOUR``  counter: uploads announced in this hour that are not used
========================  ========  ===========================================================

OWNER is the id of a user; of callers without a key it is ``anonymous#U``, U the channel's uid.
Counters are deleted when the uploads of their hour have expired. (A process that dies between the
counter and the row counts one too many until then.)
"""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ndlambda.errors import MalformedBodyError, QuotaExceededError, UploadNotFoundError
from ndlambda.model.catalog import Channel
from ndlambda.services.support.paging import Key
from ndlambda.stores.ports import (
    MAX_TRANSACTION,
    Delete,
    ObjectStore,
    Overwrite,
    Range,
    Row,
    Table,
)

PREFIX: Final = "uploads/"
EXPIRES_S: Final = 24 * 3600
ADDRESS_EXPIRES_S: Final = 3600
MAX_UNUSED: Final = 4096
"""Maximum number of unused uploads of one user; slightly exceeded by concurrent announcements, and
as those of the hour a day ago do not count.

Of those who have no key together: on one channel, announced in the last two hours.
"""

_RETRY_AFTER_S: Final = 30

_HOUR_S: Final = 3600
_HOURS: Final = EXPIRES_S // _HOUR_S
_SHARED_HOURS: Final = 2
_UNUSED: Final = "unused"
_ID_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # what base64 makes of 32 bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """An announced body: its owner (a part of the row's key), media type, exact size and hour."""

    id: str
    owner: str
    media_type: str
    size_bytes: int
    hour: int


def _new_id() -> str:
    return secrets.token_urlsafe(_ID_BYTES)


class Uploads:
    """Announced bodies, each of one user and for one channel.

    Parameters
    ----------
    table, objects
        The stores of rows and bodies.
    clock
        Unix seconds.
    new_id
        Returns unguessable ids.
    """

    def __init__(
        self,
        table: Table,
        objects: ObjectStore,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = _new_id,
    ) -> None:
        self._table = table
        self._objects = objects
        self._clock = clock
        self._new_id = new_id

    def announce(
        self, user_id: int | None, channel: Channel, media_type: str, size_bytes: int
    ) -> Upload:
        """Return a new upload without a body, of a user or (None) of nobody in particular.

        Raises
        ------
        QuotaExceededError
            The owner has too many unused uploads.
        """
        owner = _owner(user_id, channel)
        now = int(self._clock())
        hour = now // _HOUR_S
        if self._unused(owner, hour, _SHARED_HOURS if user_id is None else _HOURS) >= MAX_UNUSED:
            raise QuotaExceededError(
                f"There are {MAX_UNUSED} unused uploads of yours; use them, or wait for a day.",
                retry_after_s=_RETRY_AFTER_S,
                limit=MAX_UNUSED,
            )
        upload = Upload(self._new_id(), owner, media_type, size_bytes, hour)
        doc = {
            "v": 1,
            "channel": channel.uid,
            "media_type": media_type,
            "bytes": size_bytes,
        }
        self._table.increment(*_count_key(owner, hour), _UNUSED)
        self._table.put(Row(*_row_key(upload), doc=doc, expires=now + EXPIRES_S), expect="absent")
        return upload

    def _unused(self, owner: str, hour: int, hours: int) -> int:
        """Return how many uploads of the last hours are unused; forget those that have expired."""
        rows = self._table.query(_count_key(owner, hour)[0]).rows
        expired = [row for row in rows if int(row.sk) < hour - _HOURS]
        if expired:
            self._table.transact([Delete(row.pk, row.sk) for row in expired[:MAX_TRANSACTION]])
        recent = [row for row in rows if int(row.sk) > hour - hours]
        return sum(max(0, row.counters.get(_UNUSED, 0)) for row in recent)

    def address(self, upload: Upload) -> str | None:
        """Return the URL for uploading the body with its exact length; None: there is none."""
        return self._objects.presign(
            "put", _object_key(upload.id), ADDRESS_EXPIRES_S, upload.size_bytes
        )

    def find(self, upload_id: str, user_id: int | None, channel: Channel) -> Upload:
        """Return an upload of this user (None: of nobody) and for this channel.

        Raises
        ------
        UploadNotFoundError
            There is none, it was used, it expired, or it belongs to another user or channel.
        """
        known = _ID.fullmatch(upload_id) is not None
        owner = _owner(user_id, channel)
        row = self._table.get(_partition(owner), upload_id) if known else None
        if row is None or row.doc["channel"] != channel.uid:
            raise UploadNotFoundError(
                "There is no such upload; it may have been used or have expired. Upload again."
            )
        announced_at = (row.expires or 0) - EXPIRES_S
        hour = announced_at // _HOUR_S
        return Upload(upload_id, owner, row.doc["media_type"], row.doc["bytes"], hour)

    def put(self, upload: Upload, body: bytes | memoryview) -> None:
        """Store a body that was sent to the server itself; idempotent.

        Raises
        ------
        MalformedBodyError
            Its length differs from the announced one.
        """
        _check_size(upload, len(body))
        self._objects.put(_object_key(upload.id), body, Overwrite())

    def read(self, upload: Upload) -> memoryview:
        """Return the body, read-only; on files it is memory-mapped.

        Raises
        ------
        UploadNotFoundError
            It was not uploaded yet.
        MalformedBodyError
            Its length differs from the announced one.
        """
        # Not more than announced, since a store may ignore the signed length.
        stored = self._objects.get(_object_key(upload.id), Range(0, upload.size_bytes))
        if stored is None:
            raise UploadNotFoundError("The upload was announced, but its body was not sent.")
        _check_size(upload, stored.size)
        return stored.data

    def discard(self, upload: Upload) -> None:
        """Delete a used upload."""
        self._table.delete(*_row_key(upload))
        self._table.increment(*_count_key(upload.owner, upload.hour), _UNUSED, -1)
        self._objects.delete(_object_key(upload.id))


def _check_size(upload: Upload, size_bytes: int) -> None:
    if size_bytes != upload.size_bytes:
        raise MalformedBodyError(
            f"{upload.size_bytes} bytes were announced, but {size_bytes} received.",
            expected=upload.size_bytes,
            found=size_bytes,
        )


def _owner(user_id: int | None, channel: Channel) -> str:
    return f"anonymous#{channel.uid}" if user_id is None else f"{user_id}"


def _partition(owner: str) -> str:
    return f"uploads#{owner}"


def _row_key(upload: Upload) -> Key:
    return _partition(upload.owner), upload.id


def _count_key(owner: str, hour: int) -> Key:
    return f"{_partition(owner)}#count", f"{hour:010d}"


def _object_key(upload_id: str) -> str:
    return PREFIX + upload_id
