"""Every setting of the server, read once from the environment.

``docs/settings.md`` lists them; a test keeps the two equal.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from ndlambda.errors import InvalidArgumentError

LAMBDA_BODY_BYTES = 4 * 1024 * 1024
"""Largest body passed through Lambda: its 6 MB payload holds the body as base64."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this process runs. Each field is the environment variable ``NDLAMBDA_<FIELD>``.

    Attributes
    ----------
    store
        ``disk`` (files and SQLite under ``data``) or ``aws`` (S3, DynamoDB, SQS).
    data
        Folder of the disk stores.
    bucket, table, erase_queue, propagate_queue, drop_queue, ingest_queue
        Names of the S3 bucket, the DynamoDB table and the SQS queues of erasures, propagations,
        notifications of dropped files, and chunks to be built of them.
    aws_endpoint
        Address of an S3, DynamoDB and SQS look-alike; empty for AWS itself.
    secret
        Server secret (hex or any text) that keys are hashed with; on disk it is made at first
        start and kept in ``data/secret.key``.
    admin_key
        Key of the superuser ``admin``; on disk made at first start and kept in
        ``data/admin.key``.
    anonymous_write
        Whether everybody may write to public tokens, as ndstore allowed.
    ndauth_secret
        Shared secret of ``/ndauth/validate/``; empty turns the route off.
    lambda_limits
        Enforce Lambda's body limits (bodies over 4 MiB go through the store).
    cutout_voxels
        Most voxels that one cutout reads or writes.
    paint_supercuboids
        Most supercuboids that the objects of one upload, or a merge in a box, change.
    body_bytes
        Longest request body, also of one that is uploaded ahead.
    memory_bytes
        Most bytes of voxels that all running requests hold together.
    threads
        Threads that read and write supercuboids.
    cache_s
        Seconds that catalogue look-ups may be remembered; writers look anew.
    erase_grace_s
        Seconds after a deletion before its last erasing pass.
    propagate_levels
        Most levels that one task of a propagation builds.
    drop_owner
        The user to whom belongs what is made of dropped files.
    ingest_user_jobs
        Most ingest jobs of one user that have not ended; 0 is no bound.
    ingest_job_bytes
        Most bytes of voxels of one ingest job; 0 is no bound.
    ingest_strip_bytes
        Most bytes of voxels that a builder of an ingest job holds at once.
    ingest_keep_input
        Whether files stay in the drop folder when they are ingested; uploads of jobs never do.
    ingest_allowed_hosts
        Hosts (``host`` or ``host:port``, commas between) that autoIngest may read from though they
        are not on the internet; by default none are, and of public addresses all.
    ingest_file_roots
        Folders of this machine (``:`` between) that every user may let autoIngest read from.
    fsync
        Whether disk writes are forced to the device before they are acknowledged.
    trace
        Where durations of parts of requests go: ``off``, ``log`` (JSON lines) or ``xray``.
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
    ndauth_secret: str = ""
    lambda_limits: bool = False
    cutout_voxels: int = 1 << 28
    paint_supercuboids: int = 1 << 12
    body_bytes: int = 1 << 31
    memory_bytes: int = 1 << 32
    threads: int = 8
    cache_s: float = 5.0
    erase_grace_s: float = 900.0
    propagate_levels: int = 3
    drop_owner: str = "admin"
    ingest_user_jobs: int = 20
    ingest_job_bytes: int = 0
    ingest_strip_bytes: int = 1 << 29
    ingest_keep_input: bool = True
    ingest_allowed_hosts: str = ""
    ingest_file_roots: str = ""
    fsync: bool = True
    trace: str = "off"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read ``NDLAMBDA_*`` variables; absent or empty ones keep their default.

        Raises
        ------
        InvalidArgumentError
            A value cannot be read as its type.
        """
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for item in fields(cls):
            text = source.get(f"NDLAMBDA_{item.name.upper()}", "")
            if text:
                values[item.name] = _parse(item.name, text, type(item.default))
        return cls(**values)

    @property
    def max_body_bytes(self) -> int:
        """Longest request body that this process accepts."""
        return min(self.body_bytes, LAMBDA_BODY_BYTES) if self.lambda_limits else self.body_bytes


def _parse(name: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError) as error:
        raise InvalidArgumentError(
            f"NDLAMBDA_{name.upper()}={text!r} is not a valid {kind.__name__}.", setting=name
        ) from error
