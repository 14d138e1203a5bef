"""Reads files from other servers over HTTP, without reaching into our own network.

Server-side request forgery: a URL may name what only this machine can reach, such as its loopback,
its private network or the cloud's metadata service, which hands out credentials. So each host name
is resolved once, every address is checked, and the connection goes to a checked address; each
redirect is checked the same way. An address that is not public is refused before anything is sent,
with the same answer whether or not a server listens there.

urllib3 speaks HTTP and TLS. Names, addresses, redirects and the deadline of a whole answer are
handled here: a timeout of a socket bounds the pause between two packets only.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from threading import Timer
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.response import BaseHTTPResponse

from ndlambda.errors import (
    InvalidArgumentError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    UpstreamError,
)

Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host name and port."""

_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({408, 425, 429})
_MAX_REDIRECTS: Final = 5
_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn")
_PIECE_BYTES: Final = 1 << 20
# NAT64: these lead to IPv4 addresses of any kind.
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
# Reserved; a cloud hands out credentials at 192.0.0.192. Older Pythons call it global.
_PROTOCOLS: Final = IPv4Network("192.0.0.0/24")


def is_public(address: str) -> bool:
    """Return whether an IP address is a unicast address of the public internet."""
    ip = ip_address(address.partition("%")[0])
    if ip.version == 6:
        mapped = ip.ipv4_mapped
        if mapped is not None:
            return is_public(str(mapped))
        if ip.sixtofour or ip.teredo or ip.is_site_local or any(ip in net for net in _TRANSLATED):
            return False
    elif ip in _PROTOCOLS:
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def resolve_name(host: str, port: int) -> list[str]:
    """Return what the system's resolver answers; it also knows every spelling of an address."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a server may take.

    Attributes
    ----------
    connect_s, silence_s
        For a connection or its TLS handshake; between two packets.
    whole_s
        For a whole answer, even if it trickles.
    """

    connect_s: float = 10.0
    silence_s: float = 30.0
    whole_s: float = 300.0


@dataclass(frozen=True, slots=True)
class OwnBucket:
    """Our own bucket, which is private; an S3 look-alike may ask for no credentials.

    Attributes
    ----------
    endpoint
        URL of the look-alike; empty for AWS.
    """

    name: str
    endpoint: str = ""

    def matches(self, url: SplitResult, *, may_be_ours: bool) -> bool:
        """Return whether a URL may lead to the bucket, by host or by path.

        Parameters
        ----------
        may_be_ours
            Whether its host may be ours by another name.
        """
        host = (url.hostname or "").rstrip(".")
        may_be_ours = may_be_ours or host.endswith(_AWS) or host == urlsplit(self.endpoint).hostname
        first = next(filter(None, _names(url.path)), "")
        return may_be_ours and self.name in {first, host.partition(".")[0]}


class HttpReader:
    """Reads objects by http and https from public addresses and from allowed hosts.

    Parameters
    ----------
    allowed
        ``host`` or ``host:port``: these may have any address.
    own
        The bucket that is never read from.
    """

    def __init__(
        self,
        allowed: Iterable[str] = (),
        resolve: Resolve = resolve_name,
        bounds: Bounds | None = None,
        own: OwnBucket | None = None,
    ) -> None:
        self._own = own
        self._allowed = frozenset(host.strip().lower() for host in allowed if host.strip())
        self._resolve = resolve
        self._bounds = bounds or Bounds()

    def read(self, url: str, limit_bytes: int) -> bytes:
        """Return the body at a URL.

        Raises
        ------
        InvalidArgumentError
            The URL is malformed or of another scheme.
        PermissionDeniedError
            It leads to an address that is not public, or to our own bucket.
        NotFoundError
            The server refuses it (4xx).
        PayloadTooLargeError
            The body is longer than the limit.
        UpstreamError
            The server cannot be reached, fails, or takes too long; worth a retry.
        """
        here = url
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._get(self.check(here), limit_bytes)
            if not isinstance(answer, str):
                return answer
            here = urljoin(here, answer)
        raise NotFoundError(f"{url} redirects more than {_MAX_REDIRECTS} times.", url=url)

    def check(self, url: str) -> SplitResult:
        """Return the parts of a URL that may be read; nothing is sent or resolved.

        Raises
        ------
        InvalidArgumentError, PermissionDeniedError
            It may not be read.
        """
        parts = split_url(url)
        assert parts.hostname is not None, "split_url checked it"
        may_be_ours = self._is_allowed(parts.hostname, parts.port or _PORTS[parts.scheme])
        if self._own is not None and self._own.matches(parts, may_be_ours=may_be_ours):
            raise PermissionDeniedError("This server's own bucket cannot be read by address.")
        return parts

    def _is_allowed(self, host: str, port: int) -> bool:
        return not self._allowed.isdisjoint({host, f"{host}:{port}"})

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host, all of them checked."""
        try:
            found = self._resolve(host, port)
        except UnicodeError as error:
            raise InvalidArgumentError(f"{host[:80]!r} is not a host name.") from error
        except OSError as error:
            raise UpstreamError(f"The host {host} cannot be found.", host=host) from error
        if not self._is_allowed(host, port) and not all(map(is_public, found)):
            raise PermissionDeniedError(
                f"{host} is not on the internet; only the operator can allow to read from there.",
                host=host,
            )
        return found

    def _get(self, url: SplitResult, limit_bytes: int) -> bytes | str:
        """Return a body, or the location that it redirects to."""
        deadline = time.monotonic() + self._bounds.whole_s
        target = quote(url.path or "/", safe="/%:@!$&'()*+,;=~") + f"?{url.query}" * bool(url.query)
        headers = {"Host": url.netloc, "User-Agent": "ndlambda", "Connection": "close"}
        with (
            _upstream_errors(url.geturl(), deadline),
            closing(self._connect(url, deadline)) as connection,
            _cut_at(deadline, connection.sock),
        ):
            connection.request("GET", target, headers=headers, preload_content=False)
            with closing(connection.getresponse()) as response:
                if response.status in _REDIRECTS:
                    return response.headers.get("Location", "")
                _check_status(response.status, url.geturl())
                return _body(response, limit_bytes, url.geturl())

    def _connect(self, url: SplitResult, deadline: float) -> HTTPConnection:
        """Connect to the first checked address that answers; TLS verifies the host name."""
        host, port = url.hostname or "", url.port or _PORTS[url.scheme]
        kind: Callable[..., HTTPConnection] = HTTPConnection
        if url.scheme == "https":
            tls = ssl.create_default_context()
            kind = partial(HTTPSConnection, server_hostname=host, ssl_context=tls)
        failure: Exception = OSError("it has no address")
        for address in self._addresses(host, port):
            timeout_s = min(self._bounds.connect_s, max(deadline - time.monotonic(), 0.001))
            connection = kind(address, port, timeout=timeout_s)
            try:
                connection.connect()
            except (NewConnectionError, ConnectTimeoutError) as error:
                failure = error
            else:
                connection.timeout = self._bounds.silence_s
                return connection
        raise failure


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises
    ------
    InvalidArgumentError
        It is not http or https, has no host, has a name and password, or a segment . or ..
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in _PORTS and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise InvalidArgumentError(f"{url[:200]!r} is not a URL.") from error
    is_printable = all(ord(char) > 32 for char in parts.netloc + parts.query)
    if not fine or "@" in parts.netloc or not is_printable:
        raise InvalidArgumentError(
            f"{url[:200]!r} cannot be read: http:// or https:// with a host, and without a name "
            "and password, is needed."
        )
    if {".", ".."} & set(_names(parts.path)):  # the server decides where they lead
        raise InvalidArgumentError(f"{url[:200]!r} has a segment that is . or .., and is not read.")
    return parts


def _names(path: str) -> list[str]:
    """Return the segments of a path as servers may see them."""
    return unquote(path).replace("\\", "/").split("/")


def _check_status(status: int, url: str) -> None:
    if status in _TRANSIENT or status >= 500:
        raise UpstreamError(f"{url} answers {status}.", url=url, status=status)
    if status != 200:
        raise NotFoundError(f"{url} answers {status}.", url=url, status=status)


def _body(response: BaseHTTPResponse, limit_bytes: int, url: str) -> bytes:
    """Return the body as it was sent: nothing is decompressed."""
    body = bytearray()
    if (response.length_remaining or 0) <= limit_bytes:
        wanted = limit_bytes + 1
        while piece := response.read(min(_PIECE_BYTES, wanted - len(body)), decode_content=False):
            body += piece
        if len(body) <= limit_bytes:
            return bytes(body)
    raise PayloadTooLargeError(
        f"{url} is longer than {limit_bytes} bytes, more than any image of this size.",
        limit=limit_bytes,
    )


@contextmanager
def _upstream_errors(url: str, deadline: float) -> Iterator[None]:
    """Raise what goes wrong with a connection as ``UpstreamError``, also a passed deadline."""
    try:
        yield
        if time.monotonic() >= deadline:  # it may have been cut: what was read may end early
            raise TimeoutError
    # ValueError: TLS over a socket that was shut down while it was read.
    except (OSError, http.client.HTTPException, HTTPError, ValueError) as error:
        cause = error.__cause__ or error
        is_late = time.monotonic() >= deadline
        reason = "took too long" if is_late else str(cause) or type(cause).__name__
        raise UpstreamError(f"{url} cannot be read ({reason}).", url=url) from error


@contextmanager
def _cut_at(deadline: float, sock: socket.socket) -> Iterator[None]:
    """Shut a socket down at a deadline, even while it is read."""

    def cut() -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = Timer(max(deadline - time.monotonic(), 0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
