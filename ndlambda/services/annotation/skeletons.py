"""Skeletons of annotation channels: trees of node objects, each tree under a skeleton object."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final

from ndlambda.batches import batched
from ndlambda.errors import (
    InvalidArgumentError,
    InvalidStateError,
    NDLambdaError,
    PayloadTooLargeError,
)
from ndlambda.model.catalog import Channel
from ndlambda.model.ramon import (
    Annotation,
    Node,
    ObjectQuery,
    Predicate,
    RamonType,
    Skeleton,
    check,
)
from ndlambda.model.ramon.fields import TYPE_KEY
from ndlambda.services.labels.ids import LabelIds
from ndlambda.services.labels.layer import check_annotation
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.support.pool import run_all
from ndlambda.services.volume.service import VolumeService
from ndlambda.wire.skeleton.swc import ROOT, Swc, SwcNode, order_nodes

MOST_NODES: Final = 1 << 19
"""Nodes that one reading gives."""
_MOST_PAIRS: Final = 1 << 17
_NODES_A_TASK: Final = 256
_COMMENT: Final = "#"


class SkeletonService:
    """Trees, stored and read; coordinates stay as they are given.

    Parameters
    ----------
    ramon
        Keeps the objects.
    ids
        Gives ids.
    volume
        Knows which channels may be written.
    executor
        Threads that store nodes side by side.
    """

    def __init__(
        self, ramon: Ramon, ids: LabelIds, volume: VolumeService, executor: Executor
    ) -> None:
        self._ramon = ramon
        self._ids = ids
        self._volume = volume
        self._executor = executor

    def upload(self, channel: Channel, swc: Swc) -> list[int]:
        """Store the trees of a file as new skeletons.

        Ids are taken in one block: the skeletons' in the order of their roots, then the nodes' in
        the order of the file. Every skeleton has the comments as pairs ``0``, ``1``, ``2`` ….

        Skeletons are stored behind all nodes, so that what stopped half-way shows no skeleton that
        is not whole. What remains of it are nodes that belong to no skeleton; an error tells the
        first and the last id that they may have (``unfinished``), for deleting them. Sent again,
        the file gets other ids.

        Returns
        -------
        list of int
            Ids of the skeletons, in the order of their roots.

        Raises
        ------
        InvalidArgumentError
            It is no annotation channel.
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now, or has not so many ids left.
        PayloadTooLargeError
            All skeletons together have too many comments.
        ValidationError
            A comment is refused.
        """
        check_annotation(channel)
        self._volume.check_writable(channel)
        roots = [node.number for node in swc.nodes if node.parent == ROOT]
        pairs = len(roots) * len(swc.comments)
        if pairs > _MOST_PAIRS:
            raise PayloadTooLargeError(
                f"{len(roots)} trees with {len(swc.comments)} comments each are too much; send "
                "trees or comments in parts.",
                limit=_MOST_PAIRS,
                asked=pairs,
            )
        comments = {str(place): line for place, line in enumerate(swc.comments)}
        check(Skeleton(kvpairs=comments))
        count = len(roots) + len(swc.nodes)
        first = self._ids.reserve(channel, count)
        new_id = {node.number: number for number, node in enumerate(swc.nodes, first + len(roots))}
        skeletons = [
            Skeleton(number, rootnode=new_id[root], kvpairs=comments)
            for number, root in enumerate(roots, first)
        ]
        try:
            run_all(
                self._executor,
                (
                    partial(self._ramon.create_reserved, channel, nodes)
                    for nodes in batched(_objects_of(swc, new_id, first), _NODES_A_TASK)
                ),
            )
            self._ramon.create_reserved(channel, skeletons)
        except NDLambdaError as error:
            error.details["unfinished"] = [first, first + count - 1]
            raise
        return [skeleton.id for skeleton in skeletons]

    def read(self, channel: Channel, ids: Sequence[int] | None = None) -> Swc:
        """Return skeletons as one file: nodes under their own ids, each behind its parent.

        A node whose parent is gone, or is in another skeleton, is given as a root. The comments
        are those of the first skeleton; its other pairs are comments ``# KEY VALUE``, as in
        ndstore.

        Parameters
        ----------
        channel
            Whose.
        ids
            Which, in this order; None: all that there are, by ascending id.

        Raises
        ------
        InvalidArgumentError
            It is no annotation channel, or an object is no skeleton.
        NotFoundError
            There is no object of an id.
        InvalidStateError
            Somebody made nodes of a cycle, or a node without a place: no SWC says that.
        PayloadTooLargeError
            There are more than ``MOST_NODES``.
        """
        check_annotation(channel)
        skeletons = self._skeletons(channel, ids)
        members = self._all_members if ids is None else self._members
        nodes: list[SwcNode] = []
        for found in members(channel, [skeleton.id for skeleton in skeletons]):
            nodes += _ordered(found)
        comments = tuple(_comments(skeletons[0])) if skeletons else ()
        return Swc(tuple(nodes), comments)

    def _skeletons(self, channel: Channel, ids: Sequence[int] | None) -> list[Skeleton]:
        found: Iterable[Annotation]
        if ids is None:
            found = self._ramon.find_objects(channel, _all_of(RamonType.SKELETON))
        else:
            found = self._ramon.get_many(channel, list(dict.fromkeys(ids)))
        skeletons: list[Skeleton] = []
        for ramon in found:
            if not isinstance(ramon, Skeleton):
                raise InvalidArgumentError(f"Object {ramon.id} is no skeleton.", id=ramon.id)
            skeletons.append(ramon)
        return skeletons

    def _members(self, channel: Channel, skeletons: Sequence[int]) -> Iterator[list[Node]]:
        """Iterate over the nodes of skeletons, one skeleton at a time."""
        total = 0
        for skeleton in skeletons:
            query = ObjectQuery((Predicate("node_skeleton", "=", skeleton),))
            found = _limited(self._ramon.find_objects(channel, query), MOST_NODES - total)
            total += len(found)
            yield found

    def _all_members(self, channel: Channel, skeletons: Sequence[int]) -> Iterator[list[Node]]:
        """As ``_members``, but looking through the nodes once, however many skeletons there are."""
        found = _limited(self._ramon.find_objects(channel, _all_of(RamonType.NODE)), MOST_NODES)
        found.sort(key=attrgetter("skeleton"))  # and, sorting being stable, by id
        by_skeleton = {
            skeleton: list(nodes) for skeleton, nodes in groupby(found, attrgetter("skeleton"))
        }
        return (by_skeleton.get(skeleton, []) for skeleton in skeletons)


def _all_of(ramon_type: RamonType) -> ObjectQuery:
    return ObjectQuery((Predicate(TYPE_KEY, "=", int(ramon_type)),))


def _limited(found: Iterable[Annotation], limit: int) -> list[Node]:
    nodes: list[Node] = []
    for ramon in found:
        if isinstance(ramon, Node):
            if len(nodes) == limit:
                raise PayloadTooLargeError(
                    f"The skeletons have more than {MOST_NODES} nodes; ask for fewer by their ids.",
                    limit=MOST_NODES,
                )
            nodes.append(ramon)
    return nodes


def _objects_of(swc: Swc, new_id: dict[int, int], first: int) -> Iterator[Node]:
    """Iterate over the nodes of a file as objects, skeletons being numbered from ``first``."""
    skeleton_of: dict[int, int] = {}
    for node in swc.nodes:
        if node.parent == ROOT:
            parent, skeleton = ROOT, first
            first += 1
        else:
            parent, skeleton = new_id[node.parent], skeleton_of[node.parent]
        skeleton_of[node.number] = skeleton
        yield Node(
            new_id[node.number],
            nodetype=node.kind,
            parent=parent,
            skeleton=skeleton,
            radius=node.radius,
            location=node.location_xyz,
        )


def _ordered(nodes: Sequence[Node]) -> list[SwcNode]:
    """Return the nodes of a skeleton as those of a file, each behind its parent."""
    present = {node.id for node in nodes}
    ordered, cyclic = order_nodes([_swc_node(node, present) for node in nodes])
    if cyclic:
        raise InvalidStateError(
            f"Node {cyclic[0].number} is its own ancestor, or below one that is; set its parent.",
            id=cyclic[0].number,
        )
    return ordered


def _swc_node(node: Node, present: set[int]) -> SwcNode:
    if len(node.location) != 3:
        raise InvalidStateError(
            f"Node {node.id} has no location; set it, or delete the node.", id=node.id
        )
    x, y, z = node.location
    parent = node.parent if node.parent in present else ROOT
    return SwcNode(node.id, node.nodetype, (x, y, z), node.radius, parent)


def _comments(skeleton: Skeleton) -> Iterator[str]:
    """Iterate over the pairs of a skeleton as lines: the file's comments first, in their order."""
    numbered = sorted((k for k in skeleton.kvpairs if k.isascii() and k.isdecimal()), key=int)
    for key in [*numbered, *sorted(skeleton.kvpairs.keys() - set(numbered))]:
        # A pair may have been set to several lines, which must not become lines of nodes.
        value = " ".join(skeleton.kvpairs[key].split("\n")).replace("\r", " ")
        yield value if value.startswith(_COMMENT) else f"{_COMMENT} {' '.join(key.split())} {value}"
