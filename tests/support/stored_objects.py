"""Objects that are there before a test begins."""

from typing import Protocol

import numpy as np

from ndlambda.model.catalog import Channel
from ndlambda.model.ramon import Annotation
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.service import Ramon


class Services(Protocol):
    """Those of a process, or of a whole server."""

    @property
    def labels(self) -> LabelService: ...

    @property
    def ramon(self) -> Ramon: ...


def store(services: Services, channel: Channel, *ramons: Annotation) -> None:
    """Store objects without voxels under ids of their own, in whatever state the channel is."""
    services.labels.ids.claim_all(channel, np.array([ramon.id for ramon in ramons], np.uint64))
    services.ramon.create_reserved(channel, ramons)
