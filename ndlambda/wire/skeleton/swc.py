"""SWC, the text format of tracing programs: comments, and one line ``n T x y z R P`` per node.

The columns are number, type, position, radius and the parent's number; the root of a tree has the
parent -1. A file may hold several trees. Coordinates and radii have no unit: they are kept as
given.
Format: Cannon et al. 1998, J Neurosci Methods 84:49, as neuromorpho.org describes it.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ndlambda.errors import MalformedBodyError, PayloadTooLargeError

ROOT: Final = -1
"""Parent of a root node."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_REAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_MAX_TYPE: Final = 2**32 - 1
_MAX_LINE_BYTES: Final = 1000
_LINE_ENDS_PER_LINE: Final = 4
"""Line ends allowed per non-empty line: CR LF, and an empty line."""
_COLUMNS: Final = ("n", "T", "x", "y", "z", "R", "P")
_HEADING: Final = re.compile(r"# (ND \(NeuroData\) Version \S+ Schema \S+|Project \S+ Channel \S+)")
"""Heading lines of every written file, which are not part of its contents."""


@dataclass(frozen=True, slots=True)
class SwcNode:
    """A node of a tree.

    Attributes
    ----------
    number
        Not negative, unique in the file.
    kind
        Part of the cell: 1 soma, 2 axon, 3 and 4 dendrites, others as the program defines.
    location_xyz, radius
        Finite.
    parent
        The parent's number, or ``ROOT``.
    """

    number: int
    kind: int
    location_xyz: tuple[float, float, float]
    radius: float
    parent: int


@dataclass(frozen=True, slots=True)
class Swc:
    """The contents of a file.

    Attributes
    ----------
    nodes
        Nodes of one or several trees, every node after its parent.
    comments
        Lines that start with ``#``, in order.
    """

    nodes: tuple[SwcNode, ...]
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SwcLimits:
    """Limits of a body: nodes, and comments (as lines, as characters)."""

    nodes: int = 1 << 17
    comments: int = 1000
    comment_characters: int = 10_000


def read_swc(body: bytes | memoryview, limits: SwcLimits | None = None) -> Swc:
    """Read a file; lines may come in any order, but must form trees.

    Parameters
    ----------
    body
        UTF-8. Empty lines are skipped, and so are the two heading lines of :func:`write_swc`, so
        that reading and writing again adds nothing.
    limits
        Checked before lines are parsed.

    Raises
    ------
    MalformedBodyError
        A line is neither a comment nor a node, a number is repeated, a parent is missing, nodes
        form a cycle, or there is no node.
    PayloadTooLargeError
        The contents exceed the limits.
    """
    limits = limits or SwcLimits()
    comments: list[str] = []
    nodes: dict[int, SwcNode] = {}
    for place, line in _lines(body, limits):
        if line.startswith("#"):
            if not _HEADING.fullmatch(line):
                comments.append(line)
            continue
        node = _node(line, place)
        if node.number in nodes:
            raise MalformedBodyError(f"Line {place}: number {node.number} is repeated.", line=place)
        nodes[node.number] = node
        if len(nodes) > limits.nodes:
            raise _too_many("nodes", limits.nodes)
    if len(comments) > limits.comments:
        raise _too_many("lines of comments", limits.comments)
    if sum(map(len, comments)) > limits.comment_characters:
        raise _too_many("characters of comments", limits.comment_characters)
    if not nodes:
        raise MalformedBodyError("The SWC file has no node.")
    return Swc(tuple(_parents_first(nodes)), tuple(comments))


def write_swc(swc: Swc, heading: Iterable[str] = ()) -> bytes:
    """Return the text of a file: heading, comments, and one line per node, in order.

    Floats are written so that they read back exactly.
    """
    lines = [*heading, *swc.comments]
    for node in swc.nodes:
        x, y, z = node.location_xyz
        lines.append(
            f"{node.number} {node.kind} {x!r} {y!r} {z!r} {node.radius!r} {node.parent}"
        )  # fmt: skip
    return "".join(f"{line}\n" for line in lines).encode()


def order_nodes(nodes: Sequence[SwcNode]) -> tuple[list[SwcNode], list[SwcNode]]:
    """Return nodes ordered so that parents come first, tree by tree, and the nodes in cycles.

    Trees, and the children of a node, keep the given order. All parents must be among the nodes.
    """
    children: dict[int, list[SwcNode]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    ordered: list[SwcNode] = []
    # Not recursive: a neurite is a chain of thousands of nodes.
    waiting = children.get(ROOT, [])[::-1]
    while waiting:
        node = waiting.pop()
        ordered.append(node)
        waiting += children.get(node.number, ())[::-1]
    if len(ordered) == len(nodes):
        return ordered, []
    reached = {node.number for node in ordered}
    return ordered, [node for node in nodes if node.number not in reached]


def _lines(body: bytes | memoryview, limits: SwcLimits) -> Iterator[tuple[int, str]]:
    """Iterate over the non-empty lines and their line numbers, from 1."""
    data = bytes(body)
    if data.count(b"\n") + data.count(b"\r") > _LINE_ENDS_PER_LINE * (
        limits.nodes + limits.comments
    ):
        raise _too_many("nodes", limits.nodes)
    for place, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if len(raw) > _MAX_LINE_BYTES:
            raise MalformedBodyError(
                f"Line {place} has more than {_MAX_LINE_BYTES} bytes.", line=place
            )
        try:
            line = raw.decode().strip()
        except UnicodeDecodeError:
            raise MalformedBodyError(f"Line {place} is not UTF-8.", line=place) from None
        if line:
            yield place, line


def _node(line: str, place: int) -> SwcNode:
    words = line.split()
    if len(words) != len(_COLUMNS):
        raise MalformedBodyError(
            f"Line {place} has {len(words)} columns, not the seven n T x y z R P.", line=place
        )
    number, kind, parent = (_integer(words[column], column, place) for column in (0, 1, 6))
    x, y, z, radius = (_real(words[column], column, place) for column in (2, 3, 4, 5))
    if number < 0 or not 0 <= kind <= _MAX_TYPE or parent < ROOT:
        raise MalformedBodyError(
            f"Line {place}: n is not negative, T from 0 to {_MAX_TYPE}, P a number n or -1.",
            line=place,
        )
    return SwcNode(number, kind, (x, y, z), radius, parent)


def _integer(word: str, column: int, place: int) -> int:
    if not _INTEGER.fullmatch(word):
        raise _not("an integer", word, column, place)
    return int(word)


def _real(word: str, column: int, place: int) -> float:
    if not _REAL.fullmatch(word) or not math.isfinite(value := float(word)):
        raise _not("a finite number", word, column, place)
    return value


def _not(what: str, word: str, column: int, place: int) -> MalformedBodyError:
    return MalformedBodyError(
        f"Line {place}: {_COLUMNS[column]} is not {what} but {word[:80]!r}.", line=place
    )


def _parents_first(nodes: dict[int, SwcNode]) -> list[SwcNode]:
    """Return nodes in file order if parents come first there, else tree by tree."""
    seen = {ROOT}
    in_order = True
    for node in nodes.values():
        if node.parent != ROOT and node.parent not in nodes:
            raise MalformedBodyError(
                f"Node {node.number} has the parent {node.parent}, which is not in the file.",
                node=node.number,
            )
        in_order = in_order and node.parent in seen
        seen.add(node.number)
    if in_order:
        return list(nodes.values())
    ordered, cyclic = order_nodes(list(nodes.values()))
    if cyclic:
        raise MalformedBodyError(
            f"Node {cyclic[0].number} is its own ancestor, or below one that is.",
            node=cyclic[0].number,
        )
    return ordered


def _too_many(what: str, limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"The SWC file has more than {limit} {what}; send it in parts.", limit=limit
    )
