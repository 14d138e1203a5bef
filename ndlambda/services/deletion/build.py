"""Builds the worker of deletions."""

from ndlambda.services.annotation.build import AnnotationServices
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.deletion.objects import ObjectWorker
from ndlambda.services.deletion.worker import Erasure
from ndlambda.services.support.resources import Resources


def build_deletion(
    resources: Resources, annotation: AnnotationServices, *, grace_s: float
) -> Erasure:
    """Build the worker of deletions and of the merges of large objects."""
    table = resources.table
    jobs = EraseJobs(table, resources.queues.erase)
    objects = ObjectWorker(CatalogRows(table), annotation.labels, annotation.merges, jobs)
    return Erasure(table, resources.objects, jobs, objects.run, grace_s=grace_s)
