"""Reading from other people's servers without being led into our own network.

Whoever names an address may name one that only this machine can reach: its loopback, its private
network, the metadata service of the cloud that hands out credentials. So a name is resolved once,
each of its addresses is looked at, and the connection goes to an address that was looked at; a
redirect is another name. What is not public is refused before anything is sent, with the same
answer whether or not somebody listens there.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from ndlambda.errors import (
    InvalidArgumentError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    UpstreamError,
)

Resolve = Callable[[str, int], Sequence[str]]
"""Gives the addresses of a name and port."""

_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({408, 425, 429})
_MOST_REDIRECTS: Final = 5
_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn")
_PIECE_BYTES: Final = 1 << 20
# They lead to IPv4 addresses of whatever kind, by translation.
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
# Kept for protocols; a cloud hands out credentials at 192.0.0.192. Older Pythons call it global.
_PROTOCOLS: Final = IPv4Network("192.0.0.0/24")


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the internet, and to one machine."""
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
    """Ask the system's resolver; literal addresses of any spelling are resolved by it, too."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a server may take.

    Attributes
    ----------
    connect_s, silence_s
        For a connection, and between two pieces.
    whole_s
        For the whole answer, however it trickles.
    """

    connect_s: float = 10.0
    silence_s: float = 30.0
    whole_s: float = 300.0


@dataclass(frozen=True, slots=True)
class OwnBucket:
    """Our own bucket, which holds what is private; a look-alike of S3 may ask for no credentials.

    Attributes
    ----------
    name
        Of the bucket.
    endpoint
        URL of the look-alike; empty where it is AWS.
    """

    name: str
    endpoint: str = ""

    def is_meant(self, url: SplitResult, *, is_near: bool) -> bool:
        """Return whether a URL may lead there, by host or by path.

        Parameters
        ----------
        is_near
            Whether its host may be ours by another name.
        """
        host = (url.hostname or "").rstrip(".")
        is_near = is_near or host.endswith(_AWS) or host == urlsplit(self.endpoint).hostname
        first = next(filter(None, _names(url.path)), "")
        return is_near and self.name in {first, host.partition(".")[0]}


class HttpReader:
    """GETs objects over http and https from public addresses and from hosts that are listed.

    Parameters
    ----------
    allowed
        ``host`` or ``host:port``: these may have any address.
    own
        The bucket that is never read from.
    resolve
        Resolves names.
    bounds
        Times.
    """

    def __init__(
        self,
        allowed: Iterable[str] = (),
        resolve: Resolve = resolve_name,
        bounds: Bounds | None = None,
        own: "OwnBucket | None" = None,
    ) -> None:
        self._own = own
        self._allowed = frozenset(host.strip().lower() for host in allowed if host.strip())
        self._resolve = resolve
        self._bounds = bounds or Bounds()

    def read(self, url: str, limit_bytes: int) -> bytes:
        """Return the body behind a URL.

        Raises
        ------
        InvalidArgumentError
            It is no URL that is read.
        PermissionDeniedError
            It leads to an address that is not public.
        NotFoundError
            The server does not give it (4xx).
        PayloadTooLargeError
            It is longer than the limit.
        UpstreamError
            The server cannot be reached, fails, or takes too long: to be tried again.
        """
        here = url
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._get(self.check(here), limit_bytes)
            if not isinstance(answer, str):
                return answer
            here = urljoin(here, answer)
        raise NotFoundError(f"{url} redirects more than {_MOST_REDIRECTS} times.", url=url)

    def check(self, url: str) -> SplitResult:
        """Take a URL apart, if it is one that may be read; nothing is sent or resolved.

        Raises
        ------
        InvalidArgumentError, PermissionDeniedError
            It is none, or lies in our own bucket.
        """
        parts = split_url(url)
        assert parts.hostname is not None, "split_url looked after it"
        is_near = self._is_allowed(parts.hostname, parts.port or _PORTS[parts.scheme])
        if self._own is not None and self._own.is_meant(parts, is_near=is_near):
            raise PermissionDeniedError("This server's own bucket cannot be read by address.")
        return parts

    def _is_allowed(self, host: str, port: int) -> bool:
        return not self._allowed.isdisjoint({host, f"{host}:{port}"})

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Return addresses that may be connected to."""
        try:
            found = self._resolve(host, port)
        except UnicodeError as error:
            raise InvalidArgumentError(f"{host[:80]!r} is no name of a host.") from error
        except OSError as error:
            raise UpstreamError(f"The host {host} cannot be found.", host=host) from error
        if not self._is_allowed(host, port) and not all(map(is_public, found)):
            raise PermissionDeniedError(
                f"{host} is not on the internet; only the operator can allow to read from there.",
                host=host,
            )
        return found

    def _get(self, url: SplitResult, limit_bytes: int) -> bytes | str:
        """Return a body, or where it is instead."""
        assert url.hostname is not None, "split_url looked after it"
        port = url.port or _PORTS[url.scheme]
        addresses = self._addresses(url.hostname, port)
        connection = _Connection((url.hostname, port), addresses, url.scheme, self._bounds)
        target = quote(url.path or "/", safe="/%:@!$&'()*+,;=~") + (
            f"?{url.query}" * bool(url.query)
        )
        headers = {"Host": url.netloc, "User-Agent": "ndlambda", "Connection": "close"}
        with _watched(connection, self._bounds.whole_s, url.geturl()):
            connection.request("GET", target, headers=headers)
            with closing(connection.getresponse()) as response:
                if response.status in _REDIRECTS:
                    return response.getheader("Location", "")
                _check_status(response.status, url.geturl())
                return _body(response, limit_bytes, url.geturl())


def split_url(url: str) -> SplitResult:
    """Take a URL apart.

    Raises
    ------
    InvalidArgumentError
        It is none of http or https, has no host, holds a name and password, or leads upwards.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in _PORTS and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise InvalidArgumentError(f"{url[:200]!r} is no URL.") from error
    if (
        not fine
        or "@" in parts.netloc
        or any(ord(char) < 33 for char in parts.netloc + parts.query)
    ):
        raise InvalidArgumentError(
            f"{url[:200]!r} cannot be read: http:// or https:// with a host, and without a name "
            "and password, is needed."
        )
    if {".", ".."} & set(_names(parts.path)):  # where they lead the server that is asked decides
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


def _body(response: http.client.HTTPResponse, limit_bytes: int, url: str) -> bytes:
    declared = response.length
    body = bytearray()
    if declared is None or declared <= limit_bytes:
        wanted = limit_bytes + 1
        while piece := response.read(min(_PIECE_BYTES, wanted - len(body))):
            body += piece
    if len(body) > limit_bytes or (declared or 0) > limit_bytes:
        raise PayloadTooLargeError(
            f"{url} is longer than {limit_bytes} bytes, more than any image of this size.",
            limit=limit_bytes,
        )
    if declared is not None and len(body) < declared:
        raise UpstreamError(f"{url} broke off after {len(body)} of {declared} bytes.", url=url)
    return bytes(body)


@contextmanager
def _watched(connection: "_Connection", whole_s: float, url: str) -> Iterator[None]:
    """Translate what goes wrong with a connection, and cut it when its time is up."""
    timer = threading.Timer(whole_s, connection.cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    # ValueError: TLS over a socket that was cut while it was read.
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = "took too long" if connection.is_cut else str(error) or type(error).__name__
        raise UpstreamError(f"{url} cannot be read ({reason}).", url=url) from error
    finally:
        timer.cancel()
        connection.close()


class _Connection(http.client.HTTPConnection):
    """Connects to addresses that were looked at, whatever their name resolves to by now."""

    def __init__(
        self, host: tuple[str, int], addresses: Sequence[str], scheme: str, bounds: Bounds
    ) -> None:
        super().__init__(*host)
        self._addresses = addresses
        self._bounds = bounds
        self._tls = ssl.create_default_context() if scheme == "https" else None
        self.is_cut = False

    def connect(self) -> None:
        """Connect to the first address that answers."""
        self.sock = self._reach()
        self.sock.settimeout(self._bounds.silence_s)
        if self._tls is not None:
            # In two steps, so that ``cut`` finds the socket during the handshake.
            self.sock = self._tls.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self.sock.do_handshake()

    def cut(self) -> None:
        """End the connection under whoever waits for it."""
        self.is_cut = True
        with suppress(OSError, AttributeError):  # it may not be there yet, or not any more
            self.sock.shutdown(socket.SHUT_RDWR)

    def _reach(self) -> socket.socket:
        last = OSError("it has no address")
        for address in self._addresses:
            try:
                return socket.create_connection((address, self.port), self._bounds.connect_s)
            except OSError as error:
                last = error
        raise last
