"""The Python client: brain volumes on a server, indexed like numpy arrays.

>>> from ndlambda.client import connect
>>> client = connect("http://127.0.0.1:8080", key="...")
>>> volume = client.volume("demo", "em")  # doctest: +SKIP
>>> plane = volume[32]  # doctest: +SKIP
>>> volume[0:16, 0:64, 0:64] = my_array  # doctest: +SKIP
>>> synapses = client.annotations("demo", "synapses").query(type="synapse")  # doctest: +SKIP
"""

from ndlambda.client.annotation.annotation import Annotations
from ndlambda.client.annotation.bodies import LabelledVoxels, Mask
from ndlambda.client.annotation.graph import SynapseGraphs
from ndlambda.client.annotation.skeleton import Skeletons
from ndlambda.client.client import Client, connect
from ndlambda.client.ingest import Ingests
from ndlambda.client.propagation import Propagation
from ndlambda.client.transport.blocks import Block
from ndlambda.client.transport.http import Answer, Request, Transport
from ndlambda.client.transport.session import RetryPolicy
from ndlambda.client.volume.transfer import Piece, WriteReport
from ndlambda.client.volume.volume import Volume

__all__ = [
    "Annotations",
    "Answer",
    "Block",
    "Client",
    "Ingests",
    "LabelledVoxels",
    "Mask",
    "Piece",
    "Propagation",
    "Request",
    "RetryPolicy",
    "Skeletons",
    "SynapseGraphs",
    "Transport",
    "Volume",
    "WriteReport",
    "connect",
]
