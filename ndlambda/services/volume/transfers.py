"""Bodies that come ahead of their request, past a server that could not carry them.

An object ``uploads/{id}`` holds the body, and a row among those of its owner says what it is for.
Both go when the body has been used; what is never used expires after a day (``expires`` of the row;
a rule of the bucket or, on files, the sweeper for the object).
"""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ndlambda.errors import MalformedBodyError, QuotaExceededError, UploadNotFoundError
from ndlambda.model.catalog import Channel
from ndlambda.services.support.paging import Key, children
from ndlambda.stores.ports import ObjectStore, Overwrite, Range, Row, Table

PREFIX: Final = "uploads/"
EXPIRES_S: Final = 24 * 3600
ADDRESS_EXPIRES_S: Final = 3600
MOST_UNUSED: Final = 4096
"""Uploads of one user that wait to be used; a few more where many are announced at once."""

_RETRY_AFTER_S: Final = 30

_ID_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # what base64 makes of 32 bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that was announced: whose it is, its media type and exact size."""

    id: str
    owner_id: int
    media_type: str
    size_bytes: int


def _new_id() -> str:
    return secrets.token_urlsafe(_ID_BYTES)


class Uploads:
    """Announced bodies, each of one user and for one channel.

    Parameters
    ----------
    table, objects
        Where rows and bodies are.
    clock
        Unix seconds.
    new_id
        Gives unguessable ids.
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

    def announce(self, owner_id: int, channel: Channel, media_type: str, size_bytes: int) -> Upload:
        """Return a new upload, of which nothing is there yet.

        Raises
        ------
        QuotaExceededError
            Too many of the owner's uploads were not used yet.
        """
        if len(children(self._table, _partition(owner_id))) >= MOST_UNUSED:
            raise QuotaExceededError(
                f"{MOST_UNUSED} of your uploads were not used yet; use them, or wait for a day.",
                retry_after_s=_RETRY_AFTER_S,
                limit=MOST_UNUSED,
            )
        upload = Upload(self._new_id(), owner_id, media_type, size_bytes)
        doc = {
            "v": 1,
            "channel": channel.uid,
            "media_type": media_type,
            "bytes": size_bytes,
        }
        expires = int(self._clock()) + EXPIRES_S
        self._table.put(Row(*_row_key(upload), doc=doc, expires=expires), expect="absent")
        return upload

    def address(self, upload: Upload) -> str | None:
        """Return the URL to which the body is put, with its exact length; None: there is none."""
        return self._objects.presign(
            "put", _object_key(upload.id), ADDRESS_EXPIRES_S, upload.size_bytes
        )

    def find(self, upload_id: str, owner_id: int, channel: Channel) -> Upload:
        """Return an upload of this user and for this channel.

        Raises
        ------
        UploadNotFoundError
            There is none, it was used, it expired, or it is another user's or channel's.
        """
        known = _ID.fullmatch(upload_id) is not None
        row = self._table.get(_partition(owner_id), upload_id) if known else None
        if row is None or row.doc["channel"] != channel.uid:
            raise UploadNotFoundError(
                "There is no such upload here; it may have been used or have expired. Upload anew."
            )
        return Upload(upload_id, owner_id, row.doc["media_type"], row.doc["bytes"])

    def put(self, upload: Upload, body: bytes | memoryview) -> None:
        """Store a body that came through the server; again has no effect.

        Raises
        ------
        MalformedBodyError
            It has another length than was announced.
        """
        _check_size(upload, len(body))
        self._objects.put(_object_key(upload.id), body, Overwrite())

    def read(self, upload: Upload) -> memoryview:
        """Return the body, read-only; on files it is mapped.

        Raises
        ------
        UploadNotFoundError
            It was not put yet.
        MalformedBodyError
            It has another length than was announced.
        """
        # No more than was announced, since a store may have overlooked the length that was signed.
        stored = self._objects.get(_object_key(upload.id), Range(0, upload.size_bytes))
        if stored is None:
            raise UploadNotFoundError("The upload was announced, but nothing was put there.")
        _check_size(upload, stored.size)
        return stored.data

    def discard(self, upload: Upload) -> None:
        """Delete an upload that was used."""
        self._table.delete(*_row_key(upload))
        self._objects.delete(_object_key(upload.id))


def _check_size(upload: Upload, size_bytes: int) -> None:
    if size_bytes != upload.size_bytes:
        raise MalformedBodyError(
            f"{upload.size_bytes} bytes were announced, and {size_bytes} came.",
            expected=upload.size_bytes,
            found=size_bytes,
        )


def _partition(owner_id: int) -> str:
    return f"uploads#{owner_id}"


def _row_key(upload: Upload) -> Key:
    return _partition(upload.owner_id), upload.id


def _object_key(upload_id: str) -> str:
    return PREFIX + upload_id
