"""The Chalice application: packaging, event bindings and deployment; routing is ours.

Chalice's own HTTP path refuses binary bodies without an Accept header and HEAD requests, and has
no greedy path argument, so HTTP events are passed to the WSGI application unchanged.
"""

import os
from typing import Any

from chalice.app import Chalice, CloudWatchEvent, Rate, SQSEvent

from functions import erase, http, ingest_build, propagate, s3_drop, sweep

_METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]


class NdApp(Chalice):
    """A Chalice application whose HTTP side is the WSGI application of ``ndlambda.web``."""

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Answer an API Gateway event."""
        return http.handler(event, context)


app = NdApp(app_name="ndlambda")
app.api.binary_types = ["*/*"]


@app.route("/", methods=_METHODS)
def root() -> None:
    """Declare the root path to API Gateway; ``NdApp.__call__`` answers it."""


@app.route("/{proxy+}", methods=_METHODS)
def proxy() -> None:
    """Declare every other path to API Gateway; ``NdApp.__call__`` answers it."""


@app.on_sqs_message(
    queue=os.environ.get("NDLAMBDA_ERASE_QUEUE", "ndlambda-erase"), batch_size=1, name="erase"
)
def erase_worker(event: SQSEvent) -> dict[str, Any]:
    """Remove the voxels of deleted channels."""
    return erase.handler(event.to_dict(), event.context)


@app.on_sqs_message(
    queue=os.environ.get("NDLAMBDA_PROPAGATE_QUEUE", "ndlambda-propagate"),
    batch_size=1,
    name="propagate",
)
def propagate_worker(event: SQSEvent) -> dict[str, Any]:
    """Build coarser resolutions."""
    return propagate.handler(event.to_dict(), event.context)


@app.on_sqs_message(
    queue=os.environ.get("NDLAMBDA_DROP_QUEUE", "ndlambda-drop"), batch_size=10, name="drop"
)
def drop_worker(event: SQSEvent) -> dict[str, Any]:
    """Record dropped files in ingest jobs."""
    return s3_drop.handler(event.to_dict(), event.context)


@app.on_sqs_message(
    queue=os.environ.get("NDLAMBDA_INGEST_QUEUE", "ndlambda-ingest"), batch_size=1, name="ingest"
)
def ingest_worker(event: SQSEvent) -> dict[str, Any]:
    """Build or fetch chunks of ingest jobs."""
    return ingest_build.handler(event.to_dict(), event.context)


@app.schedule(Rate(1, unit=Rate.DAYS), name="sweep")
def sweep_worker(event: CloudWatchEvent) -> dict[str, int]:
    """Look after open work that no watch message looks after."""
    return sweep.handler(event.to_dict(), event.context)
