"""``graphml`` and ``gexf``, for Gephi, Cytoscape and others."""

from io import BytesIO

from ndlambda.wire.graph.contract import GraphFormat, SynapseGraph
from ndlambda.wire.graph.network import to_network


def encode_graphml(graph: SynapseGraph) -> bytes:
    """Return GraphML; nodes read back as texts unless the reader is told ``node_type=int``."""
    import networkx as nx

    body = BytesIO()
    # The one that needs no lxml, so that the text does not depend on what else is installed.
    nx.write_graphml_xml(to_network(graph), body)
    return body.getvalue()


def encode_gexf(graph: SynapseGraph) -> bytes:
    """Return GEXF 1.2; it has no place for synapses that are no edge."""
    import networkx as nx

    body = BytesIO()
    nx.write_gexf(to_network(graph), body)
    return body.getvalue()


FORMATS = (
    GraphFormat("graphml", "application/graphml+xml", encode_graphml),
    GraphFormat("gexf", "application/gexf+xml", encode_gexf),
)
