"""Every format of synapse graphs, read back by networkx itself."""

import json
from collections.abc import Callable
from io import BytesIO

import networkx as nx
import pytest

from ndlambda.errors import MalformedBodyError, UnknownNameError
from ndlambda.wire.graph import Connection, SynapseGraph, formats, get_format
from ndlambda.wire.graph.node_link import decode_node_link

LARGE = 2**32 - 1
CONNECTIONS = (
    Connection(3, LARGE, 5, weight=0.5, confidence=0.25, synapse_type=1, status=2),
    Connection(4, 5, LARGE),
    Connection(9, 7, 7, weight=-1.5),
    Connection(2**63 + 5, 5, 8),
)
ATTRIBUTES = ("synapse", "weight", "confidence", "synapse_type", "status")


def _kind(graph: SynapseGraph) -> "type[nx.MultiGraph]":
    return nx.MultiDiGraph if graph.directed else nx.MultiGraph


READERS: dict[str, Callable[[bytes, SynapseGraph], nx.Graph]] = {
    "graphml": lambda body, _: nx.read_graphml(BytesIO(body), int, force_multigraph=True),
    "gexf": lambda body, _: nx.read_gexf(BytesIO(body)),
    "gml": lambda body, _: nx.read_gml(BytesIO(body)),
    "pajek": lambda body, _: nx.read_pajek(BytesIO(body)),
    "adjlist": lambda body, graph: nx.read_adjlist(BytesIO(body), create_using=_kind(graph)),
    "edgelist": lambda body, graph: nx.read_edgelist(BytesIO(body), create_using=_kind(graph)),
    "json": lambda body, _: decode_node_link(body),
}


def read(name: str, graph: SynapseGraph) -> nx.Graph:
    return READERS[name](get_format(name).encode(graph), graph)


def edges(network: nx.Graph, names: tuple[str, ...]) -> list[tuple[object, ...]]:
    """Return ends and attributes of all edges as numbers, sorted; ends of undirected ones too."""
    found = []
    for u, v, attributes in network.edges(data=True):
        ends = (int(u), int(v)) if network.is_directed() else tuple(sorted((int(u), int(v))))
        found.append((*ends, *(float(attributes[name]) for name in names)))
    return sorted(found)


def expected(graph: SynapseGraph, names: tuple[str, ...]) -> list[tuple[object, ...]]:
    found = []
    for one in graph.connections:
        ends = (one.source, one.target)
        ends = ends if graph.directed else tuple(sorted(ends))
        found.append((*ends, *(float(getattr(one, name)) for name in names)))
    return sorted(found)


def test_every_format_is_read_back_here():
    assert set(READERS) == set(formats())


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("name", sorted(READERS))
def test_networkx_reads_all_edges_and_attributes(name, directed):
    graph = SynapseGraph(CONNECTIONS, directed)
    network = read(name, graph)
    assert network.is_directed() == directed
    names = () if name == "adjlist" else ATTRIBUTES
    assert edges(network, names) == expected(graph, names)


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("name", sorted(READERS))
def test_an_empty_graph_is_one(name, directed):
    network = read(name, SynapseGraph((), directed, (4, 5)))
    assert (len(network.nodes), len(network.edges), network.is_directed()) == (0, 0, directed)


@pytest.mark.parametrize("name", sorted(READERS))
def test_two_synapses_between_two_segments_are_two_edges(name):
    graph = SynapseGraph((Connection(1, 10, 20), Connection(2, 20, 10), Connection(3, 10, 20)))
    assert len(read(name, graph).edges) == 3


@pytest.mark.parametrize("name", ["graphml", "gml", "json", "adjlist", "edgelist"])
def test_synapses_that_are_no_edge_are_told_in_the_graph_or_a_comment(name):
    graph = SynapseGraph(CONNECTIONS, False, (77, 78))
    if name in {"adjlist", "edgelist"}:
        assert get_format(name).encode(graph).startswith(b"# skipped 77,78\n")
    else:
        assert read(name, graph).graph["skipped"] == "77,78"


def test_edges_of_one_synapse_have_keys_of_their_own():
    graph = SynapseGraph((Connection(1, 10, 20), Connection(1, 10, 30)), directed=True)
    network = read("graphml", graph)
    assert len({key for *_, key in network.edges(keys=True)}) == 2


def test_an_unknown_format_lists_the_known_ones():
    with pytest.raises(UnknownNameError) as caught:
        get_format("gpickle")
    assert caught.value.details["known"] == sorted(READERS)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", json.dumps({"nodes": 1}).encode()])
def test_what_is_no_node_link_json_is_refused(body):
    with pytest.raises(MalformedBodyError):
        decode_node_link(body)
