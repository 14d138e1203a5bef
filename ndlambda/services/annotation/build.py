"""Builds the services of annotation on stores and on the services below."""

from dataclasses import dataclass

from ndlambda.services.annotation.adoption import Adoption
from ndlambda.services.annotation.erasing import ObjectErasure
from ndlambda.services.annotation.graph import GraphService
from ndlambda.services.annotation.merger import AnnotationMerger
from ndlambda.services.annotation.merging import ObjectMerge
from ndlambda.services.annotation.reader import AnnotationReader
from ndlambda.services.annotation.service import AnnotationService
from ndlambda.services.annotation.skeletons import SkeletonService
from ndlambda.services.annotation.writer import AnnotationWriter
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.merge import RamonMerge
from ndlambda.services.ramon.rows import ObjectRows
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.support.resources import Resources
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.service import VolumeService


@dataclass(frozen=True, slots=True)
class AnnotationServices:
    """What works on annotation channels.

    Attributes
    ----------
    labels
        Voxels and their index.
    ramon
        Objects without their voxels.
    objects
        Objects with their voxels.
    merges
        Merges that a worker completes.
    adoption
        Makes objects of labels.
    """

    labels: LabelService
    ramon: Ramon
    objects: AnnotationService
    skeletons: SkeletonService
    graphs: GraphService
    merges: ObjectMerge
    adoption: Adoption


def build_annotation(
    resources: Resources, volume: VolumeService, options: VolumeOptions
) -> AnnotationServices:
    """Build the services of annotation."""
    objects, table = resources.objects, resources.table
    jobs, index = EraseJobs(table, resources.queues.erase), LabelIndex(table)
    labels = LabelService(objects, table, volume, resources.executor, options)
    eraser = ObjectErasure(CatalogRows(table), index, labels, jobs)
    ramon = Ramon(table, eraser, executor=resources.row_executor)
    merges = ObjectMerge(index, labels, RamonMerge(table, resources.row_executor), jobs)
    reader = AnnotationReader(labels, ramon, volume)
    return AnnotationServices(
        labels=labels,
        ramon=ramon,
        objects=AnnotationService(
            AnnotationWriter(labels, ramon, ObjectRows(table), volume),
            reader,
            AnnotationMerger(labels, ramon, merges, volume),
        ),
        skeletons=SkeletonService(ramon, labels.ids, volume, resources.row_executor),
        graphs=GraphService(ramon, reader),
        merges=merges,
        adoption=Adoption(index, labels.ids, ObjectRows(table), volume),
    )
