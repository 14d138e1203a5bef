"""The graph of segments and synapses that the objects of an annotation channel describe."""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from ndlambda.errors import PayloadTooLargeError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.ramon import ObjectQuery, Predicate, RamonType, Synapse
from ndlambda.model.ramon.fields import TYPE_KEY
from ndlambda.services.labels.layer import check_annotation
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.volume.region import Region
from ndlambda.wire.graph.contract import Connection, SynapseGraph

MOST_CONNECTIONS: Final = 1 << 18
"""Edges, and synapses that are none, of one graph."""

_SYNAPSES: Final = ObjectQuery((Predicate(TYPE_KEY, "=", int(RamonType.SYNAPSE)),))


class RegionLabels(Protocol):
    """Finds the labels of a region."""

    def labels_in(self, dataset: Dataset, channel: Channel, region: Region) -> list[int]:
        """Return the labels of a region, own and extra ones."""
        ...


class GraphService:
    """Makes graphs.

    Parameters
    ----------
    ramon
        Has the synapses.
    labels
        Knows which labels a region has.
    """

    def __init__(self, ramon: Ramon, labels: RegionLabels) -> None:
        self._ramon = ramon
        self._labels = labels

    def build(
        self, dataset: Dataset, channel: Channel, region: Region | None, *, directed: bool = False
    ) -> SynapseGraph:
        """Return the graph of the synapses that have voxels in a region.

        Undirected, as in ndstore, a synapse is an edge between its two segments: those in
        ``segments``, or where that is empty, the one before and the one behind it. Directed, it
        leads from its one presynaptic segment to each postsynaptic one. A synapse of which that
        cannot be said is no edge but among the skipped ones.

        Parameters
        ----------
        dataset, channel
            Where.
        region
            Zero-based; None: all synapses of the channel, painted or not.
        directed
            Whether edges lead from presynaptic to postsynaptic segments.

        Returns
        -------
        SynapseGraph
            Without edges where there is no synapse (ndstore fails).

        Raises
        ------
        InvalidArgumentError
            It is no annotation channel.
        OutOfBoundsError, PayloadTooLargeError
            The region leaves the volume or is too large, or there are more than
            ``MOST_CONNECTIONS``.
        """
        check_annotation(channel)
        within = None
        if region is not None:
            within = frozenset(self._labels.labels_in(dataset, channel, region))
        connections: list[Connection] = []
        skipped: list[int] = []
        for synapse in self._synapses(channel, within):
            ends = _directed_ends(synapse) if directed else _two_ends(synapse)
            if len(connections) + len(skipped) + max(1, len(ends)) > MOST_CONNECTIONS:
                raise PayloadTooLargeError(
                    f"The graph has more than {MOST_CONNECTIONS} connections; ask for a part.",
                    limit=MOST_CONNECTIONS,
                )
            connections += (_connection(synapse, *pair) for pair in ends)
            if not ends:
                skipped.append(synapse.id)
        return SynapseGraph(tuple(connections), directed, tuple(skipped))

    def _synapses(self, channel: Channel, within: frozenset[int] | None) -> Iterator[Synapse]:
        for ramon in self._ramon.find_objects(channel, _SYNAPSES, within):
            if isinstance(ramon, Synapse):
                yield ramon


def _two_ends(synapse: Synapse) -> Sequence[tuple[int, int]]:
    match synapse.segments or (*synapse.presegments, *synapse.postsegments):
        case (one, other):
            return [(one, other)]
    return []


def _directed_ends(synapse: Synapse) -> Sequence[tuple[int, int]]:
    match synapse.presegments:
        case (before,):
            return [(before, behind) for behind in dict.fromkeys(synapse.postsegments)]
    # From each of several to each of several would be connections that nobody has seen.
    return []


def _connection(synapse: Synapse, source: int, target: int) -> Connection:
    return Connection(
        synapse.id,
        source,
        target,
        weight=synapse.weight,
        confidence=synapse.confidence,
        synapse_type=synapse.synapse_type,
        status=synapse.status,
    )
