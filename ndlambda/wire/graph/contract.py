"""What a synapse graph is, and what every format of one is."""

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
        Ids of the segments; in an undirected graph their order says nothing.
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
    """Segments, and the synapses between them.

    Attributes
    ----------
    connections
        By ascending synapse. A synapse with several targets is there several times.
    directed
        Whether sources send to targets.
    skipped
        Ids of synapses that are no edge, since they do not say which segments they connect.
    """

    connections: tuple[Connection, ...] = ()
    directed: bool = False
    skipped: tuple[int, ...] = ()


Encode = Callable[[SynapseGraph], bytes]


@dataclass(frozen=True, slots=True)
class GraphFormat:
    """One way to write a graph.

    Parameters
    ----------
    name
        As in URLs, and the suffix of files.
    content_type
        Of the body.
    encode
        Graph -> body; networkx reads it again. An edge has the attributes ``synapse``, ``weight``,
        ``confidence``, ``synapse_type`` and ``status``, where the format has attributes.
    """

    name: str
    content_type: str
    encode: Encode
