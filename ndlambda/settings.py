"""The settings of the server, read once from the environment.

``docs/settings.md`` lists them; a test keeps the two in agreement.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from ndlambda.errors import InvalidArgumentError

LAMBDA_BODY_BYTES = 4 * 1024 * 1024
"""Largest body passed through Lambda: its 6 MB payload holds the body as base64."""
_FUNCTION_MEMORY = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
"""Set by Lambda, in MiB."""
_PROGRAM_BYTES = 256 << 20
"""What Python and the libraries take before the first request."""

_KINDS = {bool: "1 or 0", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Settings:
    """The settings of a process, read from environment variables (see ``variable_of``).

    Attributes
    ----------
    store
        ``disk`` (files and SQLite under ``data``) or ``aws`` (S3, DynamoDB, SQS).
    data
        Folder of the disk stores.
    bucket, table, erase_queue, propagate_queue, drop_queue, ingest_queue
        Names of the S3 bucket, the DynamoDB table and the SQS queues of erasures, propagations,
        notifications of dropped files, and chunks to build.
    aws_endpoint
        Address of an S3, DynamoDB and SQS look-alike; empty for AWS itself.
    secret
        Server secret (hex or any text) with which keys are hashed; the disk stores generate it at
        first start into ``data/secret.key``.
    admin_key
        Key of the superuser ``admin``; ``ndlambda serve`` generates it at first start into
        ``data/admin.key``.
    anonymous_write
        Whether anonymous users may write to public tokens, as ndstore allowed.
    anonymous_delete
        Whether they may then delete channels there, too, and resources that belong to everybody.
    ndauth_secret
        Shared secret of ``/ndauth/validate/``; empty turns the route off.
    lambda_limits
        Enforce Lambda's body limits (bodies over 4 MiB go through the store).
    max_cutout_voxels
        Voxels that one cutout reads or writes.
    max_read_supercuboids
        Supercuboids that one cutout, or the objects of one request, touch.
    max_paint_supercuboids
        Supercuboids changed by the objects of one upload, or by a merge in a box.
    max_body_bytes
        Bytes of a request body, also of one that is uploaded ahead.
    max_memory_bytes
        Bytes of voxels that all running requests hold together.
    deadline_s
        Seconds that a request, or a run of a worker, may take; on Lambda less, where its own time
        is shorter.
    threads
        Threads that read and write supercuboids.
    cache_s
        Seconds for which catalogue look-ups are cached; writers do not use the cache.
    erase_grace_s
        Seconds after a deletion before its last erasing pass.
    max_propagate_levels
        Levels that one task of a propagation builds.
    drop_owner
        The owner of what is created from dropped files.
    max_ingest_user_jobs
        Ingest jobs of one user that have not ended; 0 is no bound.
    max_ingest_job_bytes
        Bytes of voxels of one ingest job; 0 is no bound.
    max_ingest_strip_bytes
        Bytes of voxels that a builder of an ingest job holds in memory.
    ingest_keep_input
        Whether files stay in the drop folder once they are ingested; uploads of jobs never do.
    ingest_allowed_hosts
        Hosts (``host`` or ``host:port``, separated by commas) without a public address that
        autoIngest may read from; by default none. All public addresses are allowed.
    ingest_file_roots
        Folders of this machine (separated by ``:``) that autoIngest of any user may read.
    max_connections
        Connections to ``ndlambda serve``; fewer where the system allows fewer open files.
    max_spool_bytes
        Bytes of all files in which ``ndlambda serve`` keeps large bodies while they arrive, and
        responses that are read slowly.
    header_s, stall_s
        Seconds for the headers of a request; for each 128 KiB of a body, or of a response.
    stop_s
        Seconds from SIGTERM to the end of ``ndlambda serve``, whatever is still under way.
    fsync
        Whether disk writes are forced to the device before they are acknowledged.
    trace
        Where the spans of requests are sent: ``off``, ``log`` (JSON lines) or ``xray``.
    """

    store: str = "disk"
    data: Path = Path("nd-data")
    bucket: str = "ndlambda"
    table: str = "ndlambda"
    erase_queue: str = "ndlambda-erase"
    propagate_queue: str = "ndlambda-propagate"
    drop_queue: str = "ndlambda-drop"
    ingest_queue: str = "ndlambda-ingest"
    aws_endpoint: str = ""
    secret: str = ""
    admin_key: str = ""
    anonymous_write: bool = False
    anonymous_delete: bool = False
    ndauth_secret: str = ""
    lambda_limits: bool = False
    max_cutout_voxels: int = 1 << 28
    max_read_supercuboids: int = 1 << 15
    max_paint_supercuboids: int = 1 << 12
    max_body_bytes: int = 1 << 31
    max_memory_bytes: int = 1 << 32
    deadline_s: float = 300.0
    threads: int = 8
    cache_s: float = 5.0
    erase_grace_s: float = 900.0
    max_propagate_levels: int = 3
    drop_owner: str = "admin"
    max_ingest_user_jobs: int = 20
    max_ingest_job_bytes: int = 0
    max_ingest_strip_bytes: int = 1 << 29
    ingest_keep_input: bool = True
    ingest_allowed_hosts: str = ""
    ingest_file_roots: str = ""
    max_connections: int = 4096
    max_spool_bytes: int = 1 << 33
    header_s: float = 20.0
    stall_s: float = 30.0
    stop_s: float = 60.0
    fsync: bool = True
    trace: str = "off"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read ``NDLAMBDA_*`` variables; absent or empty ones keep their default.

        In a Lambda function, which says how much memory it has, the defaults of what is held in
        memory follow from that, and Lambda's limits on bodies hold.

        Raises
        ------
        InvalidArgumentError
            A value cannot be read as its type.
        """
        source = os.environ if environ is None else environ
        values = _lambda_defaults(int(source.get(_FUNCTION_MEMORY, 0)) << 20)
        for item in fields(cls):
            variable = variable_of(item.name)
            if text := source.get(variable, ""):
                values[item.name] = _parse(variable, text, type(item.default))
        return cls(**values)

    @property
    def max_request_bytes(self) -> int:
        """Longest body that this process accepts in a request."""
        limit = LAMBDA_BODY_BYTES if self.lambda_limits else self.max_body_bytes
        return min(self.max_body_bytes, limit)


def _lambda_defaults(function_bytes: int) -> dict[str, Any]:
    """Return the defaults that differ in a function with so much memory; 0 if it is none."""
    if not function_bytes:
        return {}
    held = (function_bytes - min(_PROGRAM_BYTES, function_bytes // 2)) * 3 // 4
    return {
        "lambda_limits": True,
        "max_memory_bytes": min(held, Settings.max_memory_bytes),
        "max_body_bytes": min(held // 2, Settings.max_body_bytes),
        "max_ingest_strip_bytes": min(held // 4, Settings.max_ingest_strip_bytes),
    }


def variable_of(field: str) -> str:
    """Return the environment variable of a field, whose name says nothing of a maximum."""
    return f"NDLAMBDA_{field.removeprefix('max_').upper()}"


def _parse(variable: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError) as error:
        setting = variable.removeprefix("NDLAMBDA_").lower()
        raise InvalidArgumentError(
            f"{variable}={text!r} is not {_KINDS.get(kind, 'valid')}.", setting=setting
        ) from error
