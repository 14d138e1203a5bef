"""The composition root: settings to stores to services. Only this module chooses an adapter."""

import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ndlambda.errors import InvalidArgumentError
from ndlambda.services.access import Access
from ndlambda.services.budget import ByteBudget
from ndlambda.services.catalog import Catalog
from ndlambda.services.erasure import Erasure
from ndlambda.services.labels import LabelService
from ndlambda.services.users import Users
from ndlambda.services.volume import VolumeService
from ndlambda.services.volume_options import VolumeOptions
from ndlambda.settings import Settings
from ndlambda.stores.ports import ObjectStore, Queue, Table

ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything that a host, a route or a worker needs, built once a process."""

    settings: Settings
    objects: ObjectStore
    table: Table
    erase_queue: Queue
    users: Users
    catalog: Catalog
    erasure: Erasure
    access: Access
    volume: VolumeService
    labels: LabelService
    executor: ThreadPoolExecutor
    row_executor: ThreadPoolExecutor

    def close(self) -> None:
        """End the threads, when nothing is asked any more."""
        self.executor.shutdown()
        self.row_executor.shutdown()


_built: list[Runtime] = []


def current() -> Runtime:
    """Give this process's runtime, built from the environment at the first call."""
    if not _built:
        _built.append(build(Settings.from_environment()))
    return _built[0]


def install(runtime: Runtime) -> None:
    """Make a runtime the one that ``current`` gives (a host that built its own)."""
    _built[:] = [runtime]


def build(settings: Settings) -> Runtime:
    """Build a runtime.

    Raises
    ------
    InvalidArgumentError
        The settings name no store, or AWS stores without a secret.
    """
    objects, table, queue = _stores(settings)
    secret = _secret(settings)
    users = Users(table, secret, cache_s=settings.cache_s)
    erasure = Erasure(table, objects, queue, grace_s=settings.erase_grace_s)
    catalog = Catalog(table, erasure, cache_s=settings.cache_s)
    executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="volume")
    row_executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="rows")
    options = VolumeOptions(cutout_voxels=settings.cutout_voxels)
    volume = VolumeService(objects, executor, ByteBudget(settings.memory_bytes), options)
    return Runtime(
        settings=settings,
        objects=objects,
        table=table,
        erase_queue=queue,
        users=users,
        catalog=catalog,
        erasure=erasure,
        access=Access(catalog, anonymous_write=settings.anonymous_write),
        volume=volume,
        labels=LabelService(objects, table, volume, executor, row_executor, options),
        executor=executor,
        row_executor=row_executor,
    )


def _stores(settings: Settings) -> tuple[ObjectStore, Table, Queue]:
    if settings.store == "disk":
        from ndlambda.stores import disk

        # Private volumes and hashes of passwords are nobody's business on this machine either.
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (
            disk.DiskObjectStore(settings.data / "objects", fsync=settings.fsync),
            disk.SqliteTable(settings.data / "table.sqlite", fsync=settings.fsync),
            disk.SqliteQueue(
                settings.data / "queue.sqlite", settings.erase_queue, fsync=settings.fsync
            ),
        )
    if settings.store == "aws":
        from ndlambda.stores import aws

        config = aws.AwsConfig(endpoint_url=settings.aws_endpoint or None)
        return (
            aws.S3ObjectStore(config, settings.bucket),
            aws.DynamoTable(config, settings.table),
            aws.SqsQueue(config, settings.erase_queue),
        )
    raise InvalidArgumentError(f"NDLAMBDA_STORE={settings.store!r}; say disk or aws.")


def create_aws_stores(settings: Settings) -> None:
    """Make the bucket, table and queue of the settings where they are missing (moto, tests)."""
    from ndlambda.stores import aws

    config = aws.AwsConfig(endpoint_url=settings.aws_endpoint or None)
    aws.create_bucket(config, settings.bucket)
    aws.create_table(config, settings.table)
    aws.create_queue(config, settings.erase_queue)


def _secret(settings: Settings) -> bytes:
    if settings.secret:
        return settings.secret.encode()
    if settings.store != "disk":
        raise InvalidArgumentError(
            "NDLAMBDA_SECRET must be set (long and random) when the stores are on AWS."
        )
    return keep_file(settings.data / "secret.key", lambda: secrets.token_hex(32)).encode()


def keep_file(path: Path, make: Callable[[], str]) -> str:
    """Give the text of a private file (mode 600), making it first where it is missing.

    Several processes that start at once agree on one text: the file appears complete or not at
    all, and the first wins.
    """
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
