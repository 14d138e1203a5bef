"""The XML formats ``graphml`` and ``gexf``, for Gephi, Cytoscape and others."""

from io import BytesIO

from ndlambda.wire.graph.contract import GraphFormat, SynapseGraph
from ndlambda.wire.graph.network import to_network


def encode_graphml(graph: SynapseGraph) -> bytes:
    """Return GraphML; nodes are read back as text unless ``node_type=int`` is given."""
    import networkx as nx

    body = BytesIO()
    # The writer that needs no lxml, so that the output does not depend on installed packages.
    nx.write_graphml_xml(to_network(graph), body)
    return body.getvalue()


def encode_gexf(graph: SynapseGraph) -> bytes:
    """Return GEXF 1.2, which cannot store synapses that form no edge."""
    import networkx as nx

    body = BytesIO()
    nx.write_gexf(to_network(graph), body)
    return body.getvalue()


FORMATS = (
    GraphFormat("graphml", "application/graphml+xml", encode_graphml),
    GraphFormat("gexf", "application/gexf+xml", encode_gexf),
)
