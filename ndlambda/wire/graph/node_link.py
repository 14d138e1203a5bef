"""``json``: networkx's node-link form, which is lossless and which D3 draws."""

import json
from typing import TYPE_CHECKING

from ndlambda.errors import MalformedBodyError
from ndlambda.wire.graph.contract import GraphFormat, SynapseGraph
from ndlambda.wire.graph.network import to_network

if TYPE_CHECKING:
    import networkx as nx

NAME = "json"


def encode_node_link(graph: SynapseGraph) -> bytes:
    """Return node-link JSON with the edges under ``edges``."""
    import networkx as nx

    return json.dumps(nx.node_link_data(to_network(graph), edges="edges")).encode()


def decode_node_link(body: bytes) -> "nx.Graph[int]":
    """Decode node-link JSON.

    Raises
    ------
    MalformedBodyError
        It is not node-link JSON.
    """
    import networkx as nx

    try:
        document = json.loads(body)
        return nx.node_link_graph(document, edges="edges")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedBodyError("The body is no node-link JSON of a graph.") from error


FORMATS = (GraphFormat(NAME, "application/json", encode_node_link),)
