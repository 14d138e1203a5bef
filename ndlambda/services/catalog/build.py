"""Builds the catalogue."""

from ndlambda.services.catalog.cascade import Cascade
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.support.resources import Resources


def build_catalog(resources: Resources, *, cache_s: float) -> Catalog:
    """Build the catalogue; what deletions leave to do is enqueued for their worker."""
    table = resources.table
    jobs = EraseJobs(table, resources.queues.erase)
    return Catalog(table, Cascade(table, jobs), cache_s=cache_s)
