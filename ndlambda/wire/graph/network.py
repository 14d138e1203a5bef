"""Synapse graphs as graphs of networkx, which is imported when one is made."""

from typing import TYPE_CHECKING

from ndlambda.wire.graph.contract import SynapseGraph

if TYPE_CHECKING:
    import networkx as nx

SKIPPED = "skipped"
"""Attribute of the graph: ids of synapses that are no edge, joined by commas."""


def to_network(graph: SynapseGraph) -> "nx.MultiGraph[int]":
    """Return a ``MultiGraph`` (``MultiDiGraph`` where directed) whose nodes are ids of segments.

    Keys of edges are texts that occur once in the graph, so that formats in which an edge has an
    id of its own are valid.
    """
    import networkx as nx

    network: nx.MultiGraph[int] = nx.MultiDiGraph() if graph.directed else nx.MultiGraph()
    if graph.skipped:
        network.graph[SKIPPED] = ",".join(map(str, graph.skipped))
    for one in graph.connections:
        network.add_edge(
            one.source,
            one.target,
            key=f"{one.synapse}-{one.target}" if graph.directed else str(one.synapse),
            synapse=one.synapse,
            weight=one.weight,
            confidence=one.confidence,
            synapse_type=one.synapse_type,
            status=one.status,
        )
    return network
