"""A body that comes in chunks (RFC 9112, section 7.1), parsed apart from its head."""

from typing import Final

import httptools

from ndlambda.errors import MalformedBodyError

_HEAD: Final = b"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
"""Puts a parser before the first chunk, and lets it take nothing after the last one."""
_FRAMING_BYTES: Final = 1 << 16
_FRAMING_SHARE: Final = 8


class ChunkParser:
    """Parses one body with llhttp; chunk extensions and trailers are thrown away.

    Attributes
    ----------
    is_complete
        Whether the whole body is there.
    is_followed
        Whether more than line ends came after it.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._arrived = self._body_bytes = 0
        self.is_complete = self.is_followed = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_HEAD)

    def feed(self, data: bytes) -> bytes:
        """Parse more of the body, and return what it holds.

        Raises
        ------
        MalformedBodyError
            It is not chunked as HTTP says, or extensions and trailers are far longer than it.
        """
        if self.is_complete:
            self.is_followed = self.is_followed or bool(data.strip(b"\r\n"))
            return b""
        return self._parse(data)

    def _parse(self, data: bytes) -> bytes:
        self._pieces = []
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.is_complete:
                raise MalformedBodyError(f"The body is not properly chunked ({error}).") from error
            self.is_followed = True
        body = b"".join(self._pieces)
        self._arrived += len(data)
        self._body_bytes += len(body)
        framing = self._arrived - self._body_bytes
        if not self.is_complete and framing > _FRAMING_BYTES + _FRAMING_SHARE * self._body_bytes:
            raise MalformedBodyError("The chunks hold little but their extensions or trailers.")
        return body

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self.is_complete = True
