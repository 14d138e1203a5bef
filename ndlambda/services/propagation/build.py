"""Builds the service of propagation."""

from ndlambda.services.catalog.service import Catalog
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.painter import LabelPainter
from ndlambda.services.propagation.builder import PyramidBuilder
from ndlambda.services.propagation.marks import PropagationMarks
from ndlambda.services.propagation.service import PropagationService, PropagationStores
from ndlambda.services.propagation.worker import PropagationOptions
from ndlambda.services.support.resources import Resources
from ndlambda.services.volume.options import VolumeOptions


def build_propagation(
    resources: Resources,
    catalog: Catalog,
    marks: PropagationMarks,
    volume_options: VolumeOptions,
    options: PropagationOptions,
) -> PropagationService:
    """Build the service; ``marks`` are those that the volume's writers set."""
    objects, table = resources.objects, resources.table
    painter = LabelPainter(objects, LabelIndex(table), resources.executor, volume_options)
    return PropagationService(
        PropagationStores(table, objects, resources.queues.propagate),
        catalog,
        marks,
        PyramidBuilder(objects, painter, volume_options),
        options,
    )
