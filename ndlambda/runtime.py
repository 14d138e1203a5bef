"""The composition root: settings to stores to services. Only this module chooses an adapter."""

import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ingest_queue.build.builder import BuildOptions, Stores
from ingest_queue.drop.watcher import Drop
from ingest_queue.erasure import IngestErasure
from ingest_queue.fetch.create import AutoCreation
from ingest_queue.fetch.http_reader import HttpReader, OwnBucket
from ingest_queue.fetch.remote import S3_URL, RemoteFiles
from ingest_queue.fetch.worker import Fetcher
from ingest_queue.jobs.job import Job
from ingest_queue.jobs.keys import DONE, DROP, UPLOADS
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.target import VoxelWriter
from ingest_queue.jobs.waiting import WaitingFolders
from ingest_queue.service import IngestOptions, IngestService
from ndlambda import trace
from ndlambda.errors import (
    InvalidArgumentError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
)
from ndlambda.services.access.service import Access
from ndlambda.services.access.users import UserService
from ndlambda.services.annotation.erasing import ObjectErasure
from ndlambda.services.annotation.graph import GraphService
from ndlambda.services.annotation.merger import AnnotationMerger
from ndlambda.services.annotation.merging import ObjectMerge
from ndlambda.services.annotation.reader import AnnotationReader
from ndlambda.services.annotation.service import AnnotationService
from ndlambda.services.annotation.skeletons import SkeletonService
from ndlambda.services.annotation.writer import AnnotationWriter
from ndlambda.services.catalog.cascade import Cascade
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.deletion.objects import ObjectWorker
from ndlambda.services.deletion.worker import Erasure
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.painter import LabelPainter
from ndlambda.services.labels.service import LabelService
from ndlambda.services.propagation.builder import PyramidBuilder
from ndlambda.services.propagation.marks import PropagationMarks
from ndlambda.services.propagation.service import PropagationService, PropagationStores
from ndlambda.services.propagation.worker import PropagationOptions
from ndlambda.services.ramon.merge import RamonMerge
from ndlambda.services.ramon.rows import ObjectRows
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.service import VolumeService
from ndlambda.services.volume.transfers import Uploads
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
    propagate_queue: Queue
    drop_queue: Queue
    ingest_queue: Queue
    users: UserService
    catalog: Catalog
    erasure: Erasure
    access: Access
    uploads: Uploads
    volume: VolumeService
    labels: LabelService
    propagation: PropagationService
    ingest: IngestService
    drop: Drop
    fetcher: Fetcher
    auto_creation: AutoCreation
    ramon: Ramon
    annotations: AnnotationService
    skeletons: SkeletonService
    graphs: GraphService
    executor: ThreadPoolExecutor
    row_executor: ThreadPoolExecutor

    def close(self) -> None:
        """End the threads, when nothing is asked any more."""
        self.executor.shutdown()
        self.row_executor.shutdown()


_built: list[Runtime] = []


def current() -> Runtime:
    """Return this process's runtime, built from the environment at the first call."""
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
        The settings name no store, or AWS stores without a secret, or no way to trace.
    """
    trace.configure(settings.trace)
    objects, drop_store, table, open_queue = _stores(settings)
    queue = open_queue(settings.erase_queue)
    propagate_queue = open_queue(settings.propagate_queue)
    secret = _secret(settings)
    users = UserService(table, secret, cache_s=settings.cache_s)
    executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="volume")
    row_executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="rows")
    options = VolumeOptions(settings.max_cutout_voxels, settings.max_paint_supercuboids)
    budget = ByteBudget(settings.max_memory_bytes)
    marks = PropagationMarks(table, row_executor)
    volume = VolumeService(objects, executor, budget, options, marks)
    labels = LabelService(objects, table, volume, executor, options)
    finder, jobs = CatalogRows(table), EraseJobs(table, queue)
    index = LabelIndex(table)
    eraser = ObjectErasure(finder, index, labels, jobs)
    ramon = Ramon(table, eraser, executor=row_executor)
    merges = ObjectMerge(index, labels, RamonMerge(table, row_executor), jobs)
    do_object = ObjectWorker(finder, labels, ramon, merges, jobs).run
    erasure = Erasure(table, objects, jobs, do_object, grace_s=settings.erase_grace_s)
    erasure.add_last(IngestErasure(table, objects, drop_store).sweep)
    catalog = Catalog(table, Cascade(table, jobs), cache_s=settings.cache_s)
    builder = PyramidBuilder(objects, LabelPainter(objects, index, executor, options), options)
    propagation = PropagationService(
        PropagationStores(table, objects, propagate_queue),
        catalog,
        marks,
        builder,
        PropagationOptions(depth=settings.max_propagate_levels),
    )
    reader = AnnotationReader(labels, ramon, volume)
    ingest_queue = open_queue(settings.ingest_queue)
    ingest = IngestService(
        Ledger(table),
        Stores(drop_store, objects, ingest_queue),
        catalog,
        VoxelWriter(
            volume, labels, min(settings.max_cutout_voxels, settings.max_ingest_strip_bytes)
        ),
        partial(_propagate, catalog, propagation),
        IngestOptions(
            settings.max_ingest_user_jobs,
            settings.max_ingest_job_bytes,
            BuildOptions(settings.max_ingest_strip_bytes, settings.ingest_keep_input),
        ),
    )
    drop_owner = partial(users.get_user, settings.drop_owner)
    drop = Drop(ingest, catalog, WaitingFolders(table), lambda: drop_owner().id)
    access = Access(catalog, anonymous_write=settings.anonymous_write)
    fetcher = Fetcher(ingest, table, _remote_files(settings))
    return Runtime(
        settings=settings,
        objects=objects,
        table=table,
        erase_queue=queue,
        propagate_queue=propagate_queue,
        drop_queue=open_queue(settings.drop_queue),
        ingest_queue=ingest_queue,
        users=users,
        catalog=catalog,
        erasure=erasure,
        access=access,
        uploads=Uploads(table, objects),
        volume=volume,
        labels=labels,
        propagation=propagation,
        ingest=ingest,
        drop=drop,
        fetcher=fetcher,
        auto_creation=AutoCreation(catalog, access, ingest, fetcher, table),
        ramon=ramon,
        annotations=AnnotationService(
            AnnotationWriter(labels, ramon, ObjectRows(table), volume),
            reader,
            AnnotationMerger(labels, ramon, merges, volume),
        ),
        skeletons=SkeletonService(ramon, labels.ids, volume, row_executor),
        graphs=GraphService(ramon, reader),
        executor=executor,
        row_executor=row_executor,
    )


def _remote_files(settings: Settings) -> RemoteFiles:
    """Return what autoIngest reads from; buckets of a look-alike of S3 are behind its address."""
    roots = [Path(folder) for folder in settings.ingest_file_roots.split(os.pathsep) if folder]
    endpoint = settings.aws_endpoint.rstrip("/")
    s3_url = f"{endpoint}/{{bucket}}/{{key}}" if endpoint else S3_URL
    own = OwnBucket(settings.bucket, endpoint) if settings.store == "aws" else None
    http = HttpReader(settings.ingest_allowed_hosts.split(","), own=own)
    return RemoteFiles(http, roots, s3_url)


def _propagate(catalog: Catalog, propagation: PropagationService, job: Job) -> None:
    """Start the propagation that a completed ingest job asks for.

    One that runs began after the last write, since nothing is written to a channel meanwhile; a
    channel that is gone or read-only by now is left alone.
    """
    with suppress(NotFoundError, PermissionDeniedError, InvalidStateError):
        channel = catalog.get_channel(job.project, job.channel)
        if channel.uid == job.channel_uid:
            propagation.start(catalog.get_dataset(job.dataset), channel)


def _stores(
    settings: Settings,
) -> tuple[ObjectStore, ObjectStore, Table, Callable[[str], Queue]]:
    """Return the stores of objects and of dropped files, the table, and what opens a queue."""
    if settings.store == "disk":
        from ndlambda.stores import disk

        # Private volumes and hashes of passwords are nobody's business on this machine either.
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (
            disk.DiskObjectStore(settings.data / "objects", fsync=settings.fsync),
            # People copy files in, and over each other: DATA/drop/TOKEN/CHANNEL/0001.png.
            disk.DroppedFiles(settings.data, UPLOADS, DONE, fsync=settings.fsync),
            disk.SqliteTable(settings.data / "table.sqlite", fsync=settings.fsync),
            partial(disk.SqliteQueue, settings.data / "queue.sqlite", fsync=settings.fsync),
        )
    if settings.store == "aws":
        from ndlambda.stores import aws

        config = aws.AwsConfig(endpoint_url=settings.aws_endpoint or None)
        objects = aws.S3ObjectStore(config, settings.bucket)
        return (
            objects,
            objects,
            aws.DynamoTable(config, settings.table),
            partial(aws.SqsQueue, config),
        )
    raise InvalidArgumentError(f"NDLAMBDA_STORE={settings.store!r}; say disk or aws.")


def create_aws_stores(settings: Settings) -> None:
    """Make the bucket, table and queues of the settings where they are missing (moto, tests).

    The bucket tells the drop queue of what is put under ``drop/``.
    """
    from ndlambda.stores import aws

    config = aws.AwsConfig(endpoint_url=settings.aws_endpoint or None)
    aws.create_bucket(config, settings.bucket)
    aws.create_table(config, settings.table)
    for name in (
        settings.erase_queue,
        settings.propagate_queue,
        settings.drop_queue,
        settings.ingest_queue,
    ):
        aws.create_queue(config, name)
    aws.notify_queue(config, settings.bucket, settings.drop_queue, DROP)


def release_messages(settings: Settings) -> None:
    """Let messages come back at once that were received by servers that are dead.

    On files only: SQS hides them for a while from everybody.
    """
    if settings.store == "disk":
        from ndlambda.stores import disk

        disk.release_received(settings.data / "queue.sqlite", fsync=settings.fsync)


def _secret(settings: Settings) -> bytes:
    if settings.secret:
        return settings.secret.encode()
    if settings.store != "disk":
        raise InvalidArgumentError(
            "NDLAMBDA_SECRET must be set (long and random) when the stores are on AWS."
        )
    return keep_file(settings.data / "secret.key", lambda: secrets.token_hex(32)).encode()


def keep_file(path: Path, make: Callable[[], str]) -> str:
    """Return the text of a private file (mode 600), making it first where it is missing.

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
