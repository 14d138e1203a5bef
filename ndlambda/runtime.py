"""The composition root: settings to stores to services. Only this module chooses an adapter."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from ingest_queue.assembly import IngestOutlets, IngestServices, build_ingest
from ingest_queue.build.builder import BuildOptions
from ingest_queue.erasure import IngestErasure
from ingest_queue.fetch.http_reader import HttpReader, OwnBucket
from ingest_queue.fetch.remote import S3_URL, RemoteFiles
from ingest_queue.job_kind import IngestKind
from ingest_queue.jobs.job import Job
from ingest_queue.jobs.keys import DONE, DROP, UPLOADS
from ingest_queue.jobs.target import VoxelWriter
from ingest_queue.service import IngestOptions
from ndlambda import trace
from ndlambda.deadline import Threads
from ndlambda.errors import (
    InvalidArgumentError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
)
from ndlambda.services.access.service import Access
from ndlambda.services.access.users import UserService
from ndlambda.services.annotation.build import AnnotationServices, build_annotation
from ndlambda.services.catalog.build import build_catalog
from ndlambda.services.catalog.deletion_job import DELETION, MERGE
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.deletion.build import build_deletion
from ndlambda.services.deletion.job_kind import DeletionKind
from ndlambda.services.deletion.worker import Erasure
from ndlambda.services.jobs.index import JobIndex
from ndlambda.services.jobs.service import JobService
from ndlambda.services.propagation.build import build_propagation
from ndlambda.services.propagation.job_kind import PropagationKind
from ndlambda.services.propagation.marks import PropagationMarks
from ndlambda.services.propagation.service import PropagationService
from ndlambda.services.propagation.worker import PropagationOptions
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.support.resources import Queues, Resources
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.results import Results
from ndlambda.services.volume.service import VolumeService
from ndlambda.services.volume.transfers import Uploads
from ndlambda.settings import Settings
from ndlambda.stores.process import Ports
from ndlambda.stores.timed import timed_ports

ADMIN = "admin"

_POLL_S = 15
"""How long one request to SQS waits for messages; less than the time-out of a read."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What hosts, routes and workers need, built once a process: one field a room."""

    settings: Settings
    resources: Resources
    users: UserService
    catalog: Catalog
    access: Access
    uploads: Uploads
    results: Results
    volume: VolumeService
    annotation: AnnotationServices
    propagation: PropagationService
    deletion: Erasure
    ingest: IngestServices
    jobs: JobService

    def sweeps(self) -> dict[str, Callable[[], int]]:
        """Return what looks after the open work whose watch chains stand still, by its kind."""
        return {
            "deletions": self.deletion.sweep,
            "propagations": self.propagation.sweep,
            "waiting folders": self.ingest.drop.sweep,
            "ingests": self.ingest.jobs.sweeper.sweep_all,
        }

    def close(self) -> None:
        """End the threads when no request is running any more."""
        self.resources.close()


_built: list[Runtime] = []


def current() -> Runtime:
    """Return this process's runtime, built from the environment at the first call."""
    if not _built:
        _built.append(build(Settings.from_environment()))
    return _built[0]


def install(runtime: Runtime) -> None:
    """Make a runtime the one that ``current`` gives (a host that built its own)."""
    _built[:] = [runtime]


def build(settings: Settings, ports: Ports | None = None) -> Runtime:
    """Build a runtime.

    Parameters
    ----------
    ports
        Stores to use instead of those that the settings name.

    Raises
    ------
    InvalidArgumentError
        The settings name no store, or AWS stores without a secret, or no way to trace.
    """
    trace.configure(settings.trace)
    ports = timed_ports(ports or open_ports(settings))
    resources = _resources(settings, ports)
    table, objects = resources.table, resources.objects
    secret = _secret(settings)
    users = UserService(table, secret, cache_s=settings.cache_s)
    catalog = build_catalog(resources, cache_s=settings.cache_s)
    access = Access(
        catalog,
        anonymous_write=settings.anonymous_write,
        anonymous_delete=settings.anonymous_delete,
    )
    options = VolumeOptions(
        settings.max_cutout_voxels,
        settings.max_read_supercuboids,
        settings.max_paint_supercuboids,
    )
    marks = PropagationMarks(table, resources.row_executor)
    budget = ByteBudget(settings.max_memory_bytes)
    volume = VolumeService(objects, resources.executor, budget, options, marks)
    annotation = build_annotation(resources, volume, options)
    deletion = build_deletion(resources, annotation, grace_s=settings.erase_grace_s)
    erasure = IngestErasure(table, objects, resources.dropped, aside=ports.aside)
    deletion.add_first(erasure.retire_folders)
    deletion.add_last(erasure.sweep)
    propagation = build_propagation(
        resources, catalog, marks, options, PropagationOptions(depth=settings.max_propagate_levels)
    )
    strip_bytes = settings.max_ingest_strip_bytes
    outlets = IngestOutlets(
        VoxelWriter(volume, annotation.labels, min(settings.max_cutout_voxels, strip_bytes)),
        partial(_propagate, catalog, propagation),
        lambda: users.get_user(settings.drop_owner).principal,
    )
    ingest_options = IngestOptions(
        settings.max_ingest_user_jobs,
        settings.max_ingest_job_bytes,
        BuildOptions(strip_bytes, settings.ingest_keep_input),
    )
    remote = _remote_files(settings)
    ingest = build_ingest(resources, access, catalog, outlets, remote, ingest_options)
    catalog.add_listener(ingest.drop.on_created)
    return Runtime(
        settings=settings,
        resources=resources,
        users=users,
        catalog=catalog,
        access=access,
        uploads=Uploads(table, objects),
        results=Results(objects, secret),
        volume=volume,
        annotation=annotation,
        propagation=propagation,
        deletion=deletion,
        ingest=ingest,
        jobs=_jobs(resources, catalog, propagation, ingest),
    )


def _jobs(
    resources: Resources,
    catalog: Catalog,
    propagation: PropagationService,
    ingest: IngestServices,
) -> JobService:
    """Build the list of jobs of all kinds."""
    queues, table = resources.queues, resources.table
    erasing = EraseJobs(table, queues.erase)
    kinds = (
        IngestKind(ingest.jobs, ingest.fetcher),
        PropagationKind(propagation, catalog),
        DeletionKind(DELETION, erasing),
        DeletionKind(MERGE, erasing),
    )
    named = {field.name: getattr(queues, field.name) for field in fields(queues)}
    return JobService(JobIndex(table), kinds, named)


def _resources(settings: Settings, ports: Ports) -> Resources:
    """Open the queues and start the threads that the settings ask for."""
    names = (
        settings.erase_queue,
        settings.propagate_queue,
        settings.drop_queue,
        settings.ingest_queue,
    )
    return Resources(
        objects=ports.objects,
        dropped=ports.dropped,
        table=ports.table,
        queues=Queues(*(ports.open_queue(name) for name in names)),
        executor=Threads(settings.threads, thread_name_prefix="volume"),
        row_executor=Threads(settings.threads, thread_name_prefix="rows"),
        checks=ports.checks,
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
            dataset = catalog.get_dataset(job.dataset)
            propagation.start(dataset, channel, owner_id=job.owner_id, token=job.token)


def open_ports(settings: Settings) -> Ports:
    """Open the stores that the settings name.

    Raises
    ------
    InvalidArgumentError
        They name none.
    StoreUnavailableError
        There are rows without the folder with their voxels, or voxels without their rows.
    UpstreamError
        A store cannot be read.
    """
    if settings.store == "disk":
        from ndlambda.stores import disk

        # Private volumes and hashes of passwords are nobody's business on this machine either.
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk.check_data_folder(settings.data)
        files = disk.DiskObjectStore(settings.data / "objects", fsync=settings.fsync)
        table = disk.SqliteTable(settings.data / "table.sqlite", fsync=settings.fsync)
        return Ports(
            files,
            # People copy files in, and over each other: DATA/drop/TOKEN/CHANNEL/0001.png.
            disk.DroppedFiles(settings.data, UPLOADS, DONE, fsync=settings.fsync),
            table,
            partial(disk.SqliteQueue, settings.data / "queue.sqlite", fsync=settings.fsync),
            disk.AsideFolder(settings.data),
            (files.check, table.check),
        )
    if settings.store == "aws":
        from ndlambda.stores import aws

        config = aws.AwsConfig(endpoint_url=settings.aws_endpoint or None)
        objects = aws.S3ObjectStore(config, settings.bucket)
        return Ports(
            objects,
            objects,
            aws.DynamoTable(config, settings.table),
            # A look-alike on this machine (moto) is polled as files are, so that it ends at once.
            partial(aws.SqsQueue, config, wait_s=0 if settings.aws_endpoint else _POLL_S),
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
