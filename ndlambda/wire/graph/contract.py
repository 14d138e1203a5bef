"""The synapse graph, and the contract of its formats."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connection:
    """One synapse between two segments.

    Attributes
    ----------
    synapse
        Id of the synapse's object.
    source, target
        Ids of the segments; their order means nothing in an undirected graph.
    weight, confidence, synapse_type, status
        Of the synapse's object.
    """

    synapse: int
    source: int
    target: int
    weight: float = 0.0
    confidence: float = 0.0
    synapse_type: int = 0
    status: int = 0


@dataclass(frozen=True, slots=True)
class SynapseGraph:
    """Segments and the synapses between them.

    Attributes
    ----------
    connections
        In ascending order of synapses. A synapse with several targets occurs several times.
    directed
        Whether edges point from source to target.
    skipped
        Ids of synapses that form no edge because they do not name the segments they connect.
    """

    connections: tuple[Connection, ...] = ()
    directed: bool = False
    skipped: tuple[int, ...] = ()


Encode = Callable[[SynapseGraph], bytes]


@dataclass(frozen=True, slots=True)
class GraphFormat:
    """A format of graph bodies.

    Parameters
    ----------
    name
        As in URLs, and the suffix of files.
    content_type
        Of the body.
    encode
        Graph -> body, which networkx can read. Where the format supports edge attributes, they are
        ``synapse``, ``weight``, ``confidence``, ``synapse_type`` and ``status``.
    """

    name: str
    content_type: str
    encode: Encode
