"""Reads autoIngest's files: from web servers, public S3 buckets and folders of this machine."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ingest_queue.fetch.http_reader import HttpReader
from ndlambda.errors import (
    InvalidArgumentError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    UpstreamError,
)

S3_URL: Final = "https://{bucket}.s3.amazonaws.com/{key}"
"""Anonymous access to objects of a public bucket."""

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_MAX_URL_CHARS: Final = 2000


class RemoteFiles:
    """Files by URL.

    Buckets are read anonymously, never with this server's credentials: with these a user could read
    what others own, this server's bucket included.

    Parameters
    ----------
    http
        Reads URLs.
    file_roots
        Folders under which ``file:`` URLs are allowed; by default none.
    s3_url
        Address of an object, with ``{bucket}`` and ``{key}``.
    """

    def __init__(
        self, http: HttpReader, file_roots: Sequence[Path] = (), s3_url: str = S3_URL
    ) -> None:
        self._http = http
        self._file_roots = tuple(root.resolve() for root in file_roots)
        self._s3_url = s3_url

    def check(self, url: str) -> str:
        """Return a URL of a folder without trailing slashes, if it may be read.

        Nothing is sent, and no name is resolved.

        Raises
        ------
        InvalidArgumentError, PermissionDeniedError
            It may not be read.
        """
        bare = url.strip().rstrip("/")
        if len(bare) > _MAX_URL_CHARS or "?" in bare or "#" in bare:
            raise InvalidArgumentError(
                f"A data_url has at most {_MAX_URL_CHARS} characters, and no question mark or hash."
            )
        if bare.startswith("file:"):
            self._path(bare)
        else:
            self._http.check(self._http_url(bare))
        return bare

    def read(self, url: str, limit_bytes: int) -> bytes:
        """Return the content of a file.

        Raises
        ------
        NDLambdaError
            See ``HttpReader.read``.
        """
        if url.startswith("file:"):
            return self._read_file(self._path(url), limit_bytes)
        return self._http.read(self._http_url(url), limit_bytes)

    def _http_url(self, url: str) -> str:
        if not url.startswith("s3:"):
            return url
        bucket, _, key = url.removeprefix("s3:").removeprefix("//").partition("/")
        if not _BUCKET.fullmatch(
            bucket
        ):  # a dot would name another host, which no certificate covers
            raise InvalidArgumentError(
                f"{bucket[:80]!r} is not a bucket that can be read as s3://BUCKET/PREFIX; give "
                "the https address of others."
            )
        return self._s3_url.format(bucket=bucket, key=key)

    def _path(self, url: str) -> Path:
        """Return the resolved path of a ``file:`` URL, if it is under a root."""
        parts = urlsplit(url)
        denied = PermissionDeniedError(
            f"{url[:200]!r} is not in a folder of this server that the operator opened."
        )
        if parts.netloc not in {"", "localhost"} or not self._file_roots:
            raise denied
        try:
            path = Path(unquote(parts.path)).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise denied from error
        if not any(path.is_relative_to(root) for root in self._file_roots):
            raise denied
        return path

    def _read_file(self, path: Path, limit_bytes: int) -> bytes:
        """Read a regular file; reading a pipe or device could block forever."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise NotFoundError(f"{path} is not a file.")
                body = file.read(limit_bytes + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFoundError(f"{path} does not exist.") from error
        except OSError as error:
            raise UpstreamError(f"{path} cannot be read ({error.strerror}).") from error
        if len(body) > limit_bytes:
            raise PayloadTooLargeError(
                f"{path} is longer than {limit_bytes} bytes, more than any image of this size.",
                limit=limit_bytes,
            )
        return body
