"""Converts synapse graphs to networkx graphs; networkx is imported only when needed."""

from typing import TYPE_CHECKING

from ndlambda.wire.graph.contract import SynapseGraph

if TYPE_CHECKING:
    import networkx as nx

SKIPPED = "skipped"
"""Graph attribute: ids of synapses that form no edge, joined by commas."""


def to_network(graph: SynapseGraph) -> "nx.MultiGraph[int]":
    """Return a ``MultiGraph`` (``MultiDiGraph`` if directed) whose nodes are segment ids.

    Edge keys are texts that are unique in the graph, so that formats with edge ids are valid.
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
