"""SWC, the text that tracing programs exchange: comments, and a line ``n T x y z R P`` a node.

Number, type, place, radius, number of the parent; the root of a tree has the parent -1. A file may
hold several trees. Coordinates and radii have no unit here: they are kept as they are given.
Format: Cannon et al. 1998, J Neurosci Methods 84:49, as neuromorpho.org describes it.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ndlambda.errors import MalformedBodyError, PayloadTooLargeError

ROOT: Final = -1
"""Parent of a node that has none."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_REAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_LARGEST_TYPE: Final = 2**32 - 1
_LONGEST_LINE: Final = 1000
_ENDS_A_LINE: Final = 4
"""Ends of lines that are forgiven for each line that says something: CR LF, and an empty one."""
_COLUMNS: Final = ("n", "T", "x", "y", "z", "R", "P")
_OURS: Final = re.compile(r"# (ND \(NeuroData\) Version \S+ Schema \S+|Project \S+ Channel \S+)")
"""Lines that are written above every file, and are not part of what it says."""


@dataclass(frozen=True, slots=True)
class SwcNode:
    """A node of a tree.

    Attributes
    ----------
    number
        Not negative, each once in a file.
    kind
        What it is part of: 1 soma, 2 axon, 3 and 4 dendrites, others as the program likes.
    location_xyz, radius
        Finite.
    parent
        A number, or ``ROOT``.
    """

    number: int
    kind: int
    location_xyz: tuple[float, float, float]
    radius: float
    parent: int


@dataclass(frozen=True, slots=True)
class Swc:
    """What a file says.

    Attributes
    ----------
    nodes
        Of one or several trees, every node behind its parent.
    comments
        Lines that start with ``#``, in their order.
    """

    nodes: tuple[SwcNode, ...]
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SwcLimits:
    """What a body may make us hold: nodes, and comments (as many lines, as many characters)."""

    nodes: int = 1 << 17
    comments: int = 1000
    comment_characters: int = 10_000


def read_swc(body: bytes | memoryview, limits: SwcLimits | None = None) -> Swc:
    """Read a file; lines may come in any order, but must be trees.

    Parameters
    ----------
    body
        UTF-8. Empty lines count for nothing, nor do the two lines that :func:`write_swc` is given
        as a heading here, so that reading and writing again adds nothing.
    limits
        Checked before lines are taken apart.

    Raises
    ------
    MalformedBodyError
        A line is neither a comment nor a node, a number comes twice, a parent is missing, nodes
        form a cycle, or there is no node at all.
    PayloadTooLargeError
        There is more than the limits allow.
    """
    limits = limits or SwcLimits()
    comments: list[str] = []
    nodes: dict[int, SwcNode] = {}
    for place, line in _lines(body, limits):
        if line.startswith("#"):
            if not _OURS.fullmatch(line):
                comments.append(line)
            continue
        node = _node(line, place)
        if node.number in nodes:
            raise MalformedBodyError(
                f"Line {place}: number {node.number} is there twice.", line=place
            )
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
    """Return the text of a file: the heading's lines, the comments, a line a node, in their order.

    Reals are written so that reading them gives the same ones.
    """
    lines = [*heading, *swc.comments]
    for node in swc.nodes:
        x, y, z = node.location_xyz
        lines.append(
            f"{node.number} {node.kind} {x!r} {y!r} {z!r} {node.radius!r} {node.parent}"
        )  # fmt: skip
    return "".join(f"{line}\n" for line in lines).encode()


def order_nodes(nodes: Sequence[SwcNode]) -> tuple[list[SwcNode], list[SwcNode]]:
    """Return nodes with every one behind its parent, tree by tree, and those that form cycles.

    Trees, and the children of a node, come in the order given. All parents are among the nodes.
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
    """Iterate over the lines that say something, with their places counted from 1."""
    data = bytes(body)
    if data.count(b"\n") + data.count(b"\r") > _ENDS_A_LINE * (limits.nodes + limits.comments):
        raise _too_many("nodes", limits.nodes)
    for place, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if len(raw) > _LONGEST_LINE:
            raise MalformedBodyError(
                f"Line {place} has more than {_LONGEST_LINE} bytes.", line=place
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
    if number < 0 or not 0 <= kind <= _LARGEST_TYPE or parent < ROOT:
        raise MalformedBodyError(
            f"Line {place}: n is not negative, T from 0 to {_LARGEST_TYPE}, P a number n or -1.",
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
    """Return nodes in the order of the file where it has that already, else tree by tree."""
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
