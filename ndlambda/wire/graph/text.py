"""The text formats ``gml``, ``pajek``, ``adjlist`` and ``edgelist``."""

from collections.abc import Iterable

from ndlambda.wire.graph.contract import GraphFormat, SynapseGraph
from ndlambda.wire.graph.network import SKIPPED, to_network


def encode_gml(graph: SynapseGraph) -> bytes:
    """Return GML; it stores node labels and numbers over 31 bits as text."""
    import networkx as nx

    return _text(nx.generate_gml(to_network(graph)))


def encode_pajek(graph: SynapseGraph) -> bytes:
    """Return Pajek; attributes other than the weight are text, skipped synapses are omitted."""
    import networkx as nx

    network = to_network(graph)
    for *_, attributes in network.edges(data=True):
        attributes.update({k: str(v) for k, v in attributes.items() if k != "weight"})
    network.graph.clear()
    return _text(nx.generate_pajek(network))


def encode_adjlist(graph: SynapseGraph) -> bytes:
    """Return one line per segment: the segment and its neighbours, without attributes."""
    import networkx as nx

    return _text(nx.generate_adjlist(to_network(graph)), graph)


def encode_edgelist(graph: SynapseGraph) -> bytes:
    """Return one line per connection: two segments and the attributes."""
    import networkx as nx

    return _text(nx.generate_edgelist(to_network(graph)), graph)


def _text(lines: Iterable[str], graph: SynapseGraph | None = None) -> bytes:
    """Return lines as a body, with a leading comment that lists skipped synapses."""
    comment = [] if graph is None or not graph.skipped else [f"# {SKIPPED} {_ids(graph.skipped)}"]
    return "".join(f"{line}\n" for line in (*comment, *lines)).encode()


def _ids(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


FORMATS = tuple(
    GraphFormat(name, "text/plain", encode)
    for name, encode in (
        ("gml", encode_gml),
        ("pajek", encode_pajek),
        ("adjlist", encode_adjlist),
        ("edgelist", encode_edgelist),
    )
)
