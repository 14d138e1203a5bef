"""Builds the services of ingest on stores and on the services below."""

from collections.abc import Callable
from dataclasses import dataclass

from ingest_queue.build.builder import Propagate, Stores
from ingest_queue.drop.owner import DropOwner
from ingest_queue.drop.watcher import Drop
from ingest_queue.fetch.create import AutoCreation
from ingest_queue.fetch.remote import RemoteFiles
from ingest_queue.fetch.worker import Fetcher
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.retired import RetiredFolders
from ingest_queue.jobs.target import VoxelWriter
from ingest_queue.jobs.waiting import WaitingFolders
from ingest_queue.service import IngestOptions, IngestService
from ndlambda.model.principal import Principal
from ndlambda.services.access.service import Access
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.support.resources import Resources


@dataclass(frozen=True, slots=True)
class IngestServices:
    """What takes data from files into volumes.

    Attributes
    ----------
    jobs
        Ingest jobs, whatever feeds them.
    drop
        Folders of dropped files.
    fetcher, creation
        Jobs fed from other servers, and the catalogue entries that such a request makes.
    """

    jobs: IngestService
    drop: Drop
    fetcher: Fetcher
    creation: AutoCreation


@dataclass(frozen=True, slots=True)
class IngestOutlets:
    """Where ingest's results go.

    Attributes
    ----------
    writer
        Writes voxels.
    propagate
        Starts the propagation of a channel that a job has filled.
    drop_owner
        Returns the user for whom files are dropped.
    """

    writer: VoxelWriter
    propagate: Propagate
    drop_owner: Callable[[], Principal]


def build_ingest(
    resources: Resources,
    access: Access,
    catalog: Catalog,
    outlets: IngestOutlets,
    remote: RemoteFiles,
    options: IngestOptions,
) -> IngestServices:
    """Build the services of ingest."""
    table = resources.table
    stores = Stores(resources.dropped, resources.objects, resources.queues.ingest)
    jobs = IngestService(Ledger(table), stores, catalog, outlets.writer, outlets.propagate, options)
    fetcher = Fetcher(jobs, table, remote)
    return IngestServices(
        jobs=jobs,
        drop=Drop(
            jobs,
            catalog,
            WaitingFolders(table, resources.queues.drop),
            RetiredFolders(table),
            DropOwner(catalog, access, outlets.drop_owner),
        ),
        fetcher=fetcher,
        creation=AutoCreation(catalog, access, jobs, fetcher, table),
    )
