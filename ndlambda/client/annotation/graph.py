"""Synapse graphs of an annotation channel."""

from typing import TYPE_CHECKING

from ndlambda.client.transport.blocks import box_ranges
from ndlambda.client.transport.session import Session, channel_path
from ndlambda.space.box import Box
from ndlambda.wire.graph.node_link import NAME, decode_node_link

if TYPE_CHECKING:
    import networkx as nx


class SynapseGraphs:
    """Graphs whose nodes are segments and whose edges are synapses, of one annotation channel."""

    def __init__(self, session: Session, token: str, channel: str) -> None:
        self._session = session
        self._path = channel_path(token, channel)

    def network(self, box: Box | None = None, *, directed: bool = False) -> "nx.Graph[int]":
        """Return a graph as a ``networkx.MultiGraph``, or ``MultiDiGraph`` if directed.

        Nodes are ids of segments. Edges have the attributes ``synapse`` (its id), ``weight``,
        ``confidence``, ``synapse_type`` and ``status``. The graph's attribute ``skipped`` lists
        synapses that do not name the segments they connect, if there are any.

        Parameters
        ----------
        box
            Only synapses with voxels in it: dataset coordinates at the channel's own resolution.
            None: all, painted or not.
        directed
            Edges from the presynaptic segment to each postsynaptic one, instead of undirected.

        Raises
        ------
        OutOfBoundsError, PayloadTooLargeError
            The box exceeds the volume or is too large, or there are too many synapses.
        """
        return decode_node_link(self.text(NAME, box, directed=directed))

    def text(self, name: str, box: Box | None = None, *, directed: bool = False) -> bytes:
        """Return a graph as a file: ``graphml``, ``gexf``, ``gml``, ``pajek``, ``json`` and others.

        Raises
        ------
        UnknownNameError
            There is no such format; the message lists the known ones.
        OutOfBoundsError, PayloadTooLargeError
            See :meth:`network`.
        """
        query = {"format": name, "direction": "pre-post" if directed else "none"}
        if box is not None:
            query |= box_ranges(box)
        return self._session.request("GET", f"{self._path}/graph", query=query).body
