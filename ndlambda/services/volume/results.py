"""Stores answers that are too large for their request, under a name that only the asker learns.

An object ``results/{name}`` holds the body. The name is a keyed hash of the content and of the half
day, so the same answer within half a day is stored once, and nobody can guess the name of a
content. Results expire after a day (by a rule of the bucket or, on files, by the sweeper), later
than any name that is given out.
"""

import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from ndlambda.errors import NotFoundError
from ndlambda.stores.ports import ObjectStore, Overwrite, Range

PREFIX: Final = "results/"
ADDRESS_EXPIRES_S: Final = 900

_NAMED_S: Final = 12 * 3600
_NAME_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes in URL-safe base64


class Results:
    """The stored answers of a server.

    Parameters
    ----------
    objects
        Where they are stored.
    secret
        The server's secret, with which names are made.
    clock
        Unix seconds.
    """

    def __init__(
        self, objects: ObjectStore, secret: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self._objects = objects
        self._key = blake2b(secret, person=b"results").digest()
        self._clock = clock

    def store(self, body: bytes | bytearray | memoryview) -> str:
        """Store a body unless it was stored in this half day, and return its name."""
        half_day = int(self._clock() // _NAMED_S).to_bytes(8, "little")
        digest = blake2b(body, key=self._key, salt=half_day, digest_size=_NAME_BYTES).digest()
        name = urlsafe_b64encode(digest).decode().rstrip("=")
        if self._objects.get(PREFIX + name, Range(0, 0)) is None:
            self._objects.put(PREFIX + name, memoryview(body), Overwrite())
        return name

    def address(self, name: str) -> str | None:
        """Return a URL that reads a result without a key, None if the store has none."""
        return self._objects.presign("get", PREFIX + name, ADDRESS_EXPIRES_S)

    def read(self, name: str) -> memoryview:
        """Return a stored body.

        Raises
        ------
        NotFoundError
            There is none, or it has expired.
        """
        stored = self._objects.get(PREFIX + name) if _NAME.fullmatch(name) else None
        if stored is None:
            raise NotFoundError("No such result; they expire after a day. Ask for the box again.")
        return stored.data
