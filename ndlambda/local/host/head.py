"""A request line with its headers, parsed."""

from typing import Any, Final
from urllib.parse import unquote_to_bytes

import httptools

from ndlambda.errors import HeaderTooLargeError, InvalidArgumentError

_MAX_HEADERS: Final = 200
_PROTOCOLS: Final = (b" HTTP/1.1", b" HTTP/1.0")
_UNPREFIXED: Final = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})


class Head:
    """Parses one request with llhttp, fed with the bytes of its head as they arrive.

    A parser belongs to one request: the bytes that follow the head are another matter, so that
    they can be refused, stored or left for the next request.

    Attributes
    ----------
    is_complete
        Whether all headers are there.
    keeps_alive
        Whether the client goes on with this connection.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._count = self._hosts = 0
        self.headers: dict[str, str] = {}
        self.is_complete = self.keeps_alive = False

    def feed(self, data: bytes) -> None:
        """Parse more of the head.

        Raises
        ------
        InvalidArgumentError
            This is not HTTP/1.
        HeaderTooLargeError
            There are too many headers.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # to another protocol: we know none, and go on
            pass
        except httptools.HttpParserError as error:
            raise InvalidArgumentError(
                f"This is not a request in HTTP/1.1 ({error}). A server of ndlambda is addressed "
                "with http://, unless there is a proxy before it."
            ) from error
        if self._count > _MAX_HEADERS:
            raise HeaderTooLargeError(
                f"A request has at most {_MAX_HEADERS} headers.", limit=_MAX_HEADERS
            )

    def check(self, request_line: bytes) -> None:
        """Check that the head is complete and says how long its body is.

        Raises
        ------
        InvalidArgumentError
            It is of another protocol or version, names no host or several (RFC 9112, section 3.2),
            or its body is encoded in another way than in chunks.
        """
        if not self.is_complete or not request_line.endswith(_PROTOCOLS):
            raise InvalidArgumentError("This server speaks HTTP/1.1.")
        if self._hosts > 1 or (self.version == "1.1" and not self._hosts):
            raise InvalidArgumentError("A request in HTTP/1.1 has one Host header.")
        coding = self.headers.get("TRANSFER_ENCODING")
        if coding is not None and (coding.lower() != "chunked" or self.version == "1.0"):
            raise InvalidArgumentError("Transfer-Encoding must be chunked, in HTTP/1.1.")

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; of names that WSGI cannot tell apart only the usual one counts."""
        self._count += 1
        if b"_" in name or self._count > _MAX_HEADERS:
            return
        word = name.decode("latin-1").upper().replace("-", "_")
        self._hosts += word == "HOST"
        text = value.decode("latin-1").strip(" \t")
        if word in self.headers:
            text = f"{self.headers[word]}{'; ' if word == 'COOKIE' else ', '}{text}"
        self.headers[word] = text

    def on_headers_complete(self) -> None:
        """Note the end of the head."""
        self.is_complete = True
        self.keeps_alive = bool(self._parser.should_keep_alive())

    @property
    def path(self) -> bytes:
        """The path as it was sent, without the query."""
        return self._target()[0]

    @property
    def method(self) -> str:
        """The method, in capitals; ``GET`` as long as it has not come."""
        return self._parser.get_method().decode("latin-1") if self._url else "GET"

    @property
    def version(self) -> str:
        """``1.0`` or ``1.1``."""
        return self._parser.get_http_version()

    @property
    def is_chunked(self) -> bool:
        """Whether the body has no declared length."""
        return "TRANSFER_ENCODING" in self.headers

    @property
    def body_bytes(self) -> int:
        """The declared length of the body."""
        return int(self.headers.get("CONTENT_LENGTH", "0"))

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a word before it sends its body."""
        return self.version == "1.1" and self.headers.get("EXPECT", "").lower() == "100-continue"

    def environ(self, server: tuple[str, str], peer: str) -> dict[str, Any]:
        """Return the environment of WSGI (PEP 3333), without the body.

        Parameters
        ----------
        server
            Name and port.
        peer
            Address of the client.
        """
        path, query = self._target()
        headers = {
            name if name in _UNPREFIXED else f"HTTP_{name}": value
            for name, value in self.headers.items()
        }
        return {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query.decode("latin-1"),
            "REQUEST_URI": self._url.decode("latin-1"),
            "SERVER_PROTOCOL": f"HTTP/{self.version}",
            "SERVER_NAME": server[0],
            "SERVER_PORT": server[1],
            "REMOTE_ADDR": peer,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input_terminated": True,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            **headers,
        }

    def _target(self) -> tuple[bytes, bytes]:
        if self._url.startswith(b"/"):
            path, _, query = self._url.partition(b"?")
            return path, query.partition(b"#")[0]
        try:
            parsed = httptools.parse_url(self._url)
        except httptools.HttpParserInvalidURLError:  # such as * of OPTIONS
            return self._url, b""
        return parsed.path or b"/", parsed.query or b""
