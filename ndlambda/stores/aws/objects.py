"""Objects on S3.

Bytes go through obstore, which needs 0.2 ms of CPU for a GET where boto3 needs 1.0; boto3 lists and
presigns. obstore cannot list keys as S3 does: its prefixes are whole path segments, and a single
key that it cannot parse fails the listing.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import obstore
from obstore.exceptions import GenericError

from ndlambda.errors import InvalidArgumentError, PreconditionFailedError, UpstreamError
from ndlambda.stores.aws.errors import (
    AWS_ERRORS,
    error_code,
    http_status,
    meaning_of,
    translate,
)
from ndlambda.stores.aws.session import AwsConfig, make_client, make_s3_store
from ndlambda.stores.ports import (
    MAX_DELETED,
    ByteRange,
    Create,
    ObjectInfo,
    Overwrite,
    PutMode,
    Range,
    Replace,
    StoredObject,
)
from ndlambda.trace import span

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore import PutMode as ObstorePutMode

MAX_KEY_BYTES = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PRESIGNED = {"get": "get_object", "put": "put_object"}


class S3ObjectStore:
    """An ``ObjectStore`` in a bucket of S3 or of a compatible server.

    Readers also need ``s3:ListBucket``: without it S3 answers 403, not 404, for an absent object.
    """

    def __init__(self, config: AwsConfig, bucket: str) -> None:
        self._config = config
        self._bucket = bucket
        self._store = make_s3_store(config, bucket)

    @property
    def whole_reads_are_cheap(self) -> bool:
        """False: a range transfers fewer bytes."""
        return False

    def get(
        self, key: str, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> StoredObject | None:
        """Read an object or a range of it; ``data`` is a view of the bytes that arrived."""
        options: GetOptions = {}
        if if_match is not None:
            options["if_match"] = if_match
        if isinstance(byte_range, Range):
            if byte_range.stop <= byte_range.start:
                return self._get_nothing(key, byte_range, if_match)
            options["range"] = (byte_range.start, byte_range.stop)
        elif byte_range is not None:
            options["range"] = {"suffix": byte_range.length}
        try:
            with span("object.get", key=key):
                result = obstore.get(self._store, _checked(key), options=options)
                data = memoryview(result.bytes())
        except GenericError as error:
            if byte_range is not None and _has_no_such_range(error):
                return self._get_nothing(key, byte_range, if_match)
            raise translate(error, f"GET {key}").error from error
        except FileNotFoundError as error:
            _check_absent(error, key, if_match)
            return None
        except AWS_ERRORS as error:
            raise translate(error, f"GET {key}").error from error
        meta = result.meta
        return StoredObject(data=data, etag=meta["e_tag"] or "", size=meta["size"])

    def put(self, key: str, data: bytes | memoryview, mode: PutMode) -> str:
        """Write an object in one request and return its ETag.

        If an answer is lost the request is sent again, so a conditional PUT that succeeded may
        report a failed condition; the content tells (the write-id of a supercuboid).
        """
        try:
            with span("object.put", key=key, bytes=len(data)):
                result = obstore.put(
                    self._store,
                    _checked(key),
                    memoryview(data).cast("B"),
                    mode=_obstore_mode(mode),
                    use_multipart=False,
                )
        except AWS_ERRORS as error:
            raise translate(error, f"PUT {key}").error from error
        return result["e_tag"] or ""

    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""
        try:
            obstore.delete(self._store, _checked(key))
        except FileNotFoundError as error:
            _check_absent(error, key, if_match=None)
        except AWS_ERRORS as error:
            raise translate(error, f"DELETE {key}").error from error

    def delete_many(self, keys: Sequence[str]) -> None:
        """Remove objects; keys that S3 answers as failed are sent again while that can help.

        (boto3, since obstore tells neither which keys failed nor why.)
        """
        refused: dict[str, str] = {}

        def delete(batch: Sequence[str]) -> Sequence[str]:
            wanted = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
            answer = self._config.retry.run(
                "DELETE objects",
                lambda: self._boto.delete_objects(Bucket=self._bucket, Delete=wanted),
            )
            codes = {failed["Key"]: failed["Code"] for failed in answer.get("Errors", ())}
            again = [key for key in batch if key in codes and meaning_of(codes[key]).is_transient]
            refused.update((key, codes[key]) for key in batch if key in codes.keys() - {*again})
            return again

        distinct = [_checked(key) for key in dict.fromkeys(keys)]
        self._config.retry.run_batches("DELETE objects", distinct, MAX_DELETED, delete)
        for key, code in refused.items():
            raise meaning_of(code).kind(
                f"DELETE {key} failed with {code}; {len(refused)} of {len(distinct)} keys failed.",
                key=key,
                code=code,
            )

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Iterate in key order, with one request for each 1000 objects."""
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix}
        if after:
            request["StartAfter"] = after
        while True:
            page = self._config.retry.run(
                f"LIST {prefix}", lambda: self._boto.list_objects_v2(**request)
            )
            for found in page.get("Contents", ()):
                modified_at = datetime.fromisoformat(found["LastModified"]).timestamp()
                yield ObjectInfo(found["Key"], found["Size"], found["ETag"], modified_at)
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def presign(
        self,
        verb: Literal["get", "put"],
        key: str,
        expires_s: int,
        size_bytes: int | None = None,
    ) -> str | None:
        """Return a URL that reads or writes the object for some seconds; the length is signed."""
        params: dict[str, Any] = {"Bucket": self._bucket, "Key": _checked(key)}
        if size_bytes is not None:
            params["ContentLength"] = size_bytes
        url: str = self._boto.generate_presigned_url(
            _PRESIGNED[verb], Params=params, ExpiresIn=expires_s
        )
        return url

    @cached_property
    def _boto(self) -> Any:
        return make_client(self._config, "s3")

    def _get_nothing(
        self, key: str, byte_range: ByteRange, if_match: str | None
    ) -> StoredObject | None:
        """Read only the metadata of an object, since S3 refuses an empty range."""
        options: GetOptions = {"head": True}
        if if_match is not None:
            options["if_match"] = if_match
        try:
            meta = obstore.get(self._store, _checked(key), options=options).meta
        except FileNotFoundError as error:
            _check_absent(error, key, if_match)
            return None
        except AWS_ERRORS as error:
            raise translate(error, f"HEAD {key}").error from error
        if _bytes_in(byte_range, meta["size"]) > 0:
            raise UpstreamError(
                f"GET {key}: a range was refused, though the object has bytes in it."
            )
        return StoredObject(data=memoryview(b""), etag=meta["e_tag"] or "", size=meta["size"])


def create_bucket(config: AwsConfig, name: str) -> None:
    """Create a bucket for local use; no error if we own it already."""
    client = make_client(config, "s3")
    request: dict[str, Any] = {"Bucket": name}
    if config.region != "us-east-1":  # the one region that S3 does not accept here
        request["CreateBucketConfiguration"] = {"LocationConstraint": config.region}
    try:
        client.create_bucket(**request)
    except client.exceptions.BucketAlreadyOwnedByYou:
        return
    except AWS_ERRORS as error:
        raise translate(error, f"CREATE BUCKET {name}").error from error


def _checked(key: str) -> str:
    """Return the key if obstore sends it unchanged.

    obstore silently drops a slash at either end and refuses the other cases.
    """
    segments = key.split("/")
    if (
        any(segment in {"", ".", ".."} for segment in segments)
        or _CONTROL.search(key)
        or len(key.encode()) > MAX_KEY_BYTES
    ):
        raise InvalidArgumentError(f"The key {key[:80]!r} cannot name an object here.", key=key)
    return key


def _obstore_mode(mode: PutMode) -> "ObstorePutMode":
    match mode:
        case Overwrite():
            return "overwrite"
        case Create():
            return "create"
        case Replace(etag):
            return {"e_tag": etag}


def _bytes_in(byte_range: ByteRange, size: int) -> int:
    """Return how many bytes of an object of this size are in the range."""
    if isinstance(byte_range, Range):
        return min(byte_range.stop, size) - byte_range.start
    return min(byte_range.length, size)


def _has_no_such_range(error: GenericError) -> bool:
    # An empty object has no last byte either; moto then answers 200, which obstore refuses.
    return http_status(error) == "416" or "NotPartial" in str(error)


def _check_absent(error: FileNotFoundError, key: str, if_match: str | None) -> None:
    """Accept a 404 of an absent object, but not of an absent bucket."""
    if error_code(error) == "NoSuchBucket":
        raise UpstreamError("The bucket does not exist.") from error
    if if_match is not None:
        raise PreconditionFailedError(f"GET {key}: the object is gone.") from error
