"""SWC files: what is read, what is refused, and that nothing of a file is lost."""

import random

import pytest

from ndlambda.errors import MalformedBodyError, NDLambdaError, PayloadTooLargeError
from ndlambda.wire.skeleton.swc import Swc, SwcLimits, SwcNode, order_nodes, read_swc, write_swc

CELL = b"""# A cell of layer 5
#  micrometres, right-handed

1 1 10.5 20 30 4.25 -1
2 3 11 21 31 .5 1
3 3 -12.5 22 1e2 5e-1 2
4 2 9 19 29 0 1
"""
NODES = (
    SwcNode(1, 1, (10.5, 20.0, 30.0), 4.25, -1),
    SwcNode(2, 3, (11.0, 21.0, 31.0), 0.5, 1),
    SwcNode(3, 3, (-12.5, 22.0, 100.0), 0.5, 2),
    SwcNode(4, 2, (9.0, 19.0, 29.0), 0.0, 1),
)
COMMENTS = ("# A cell of layer 5", "#  micrometres, right-handed")
ONE = "1 1 0 0 0 1 -1"


def numbers(swc: Swc) -> list[int]:
    return [node.number for node in swc.nodes]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"  \t\n"])
def test_comments_and_nodes_are_read_whatever_ends_a_line(end):
    assert read_swc(CELL.replace(b"\n", end)) == Swc(NODES, COMMENTS)


def test_a_byte_order_mark_and_a_missing_last_end_are_nothing():
    assert read_swc(b"\xef\xbb\xbf" + CELL.rstrip()) == Swc(NODES, COMMENTS)


def test_what_is_written_reads_the_same_and_a_heading_is_not_kept():
    heading = ("# ND (NeuroData) Version 1.2.0 Schema 1.1.0", "# Project pr Channel ch")
    body = write_swc(Swc(NODES, COMMENTS), heading)
    assert body.decode().splitlines()[:3] == [*heading, COMMENTS[0]]
    assert read_swc(body) == Swc(NODES, COMMENTS)


def test_several_trees_keep_their_order():
    assert numbers(read_swc(b"7 1 0 0 0 1 -1\n3 1 0 0 0 1 -1\n8 1 0 0 0 1 3\n9 1 0 0 0 1 7")) == [
        7, 3, 8, 9,
    ]  # fmt: skip


def test_children_in_front_of_their_parents_are_put_behind_them_tree_by_tree():
    lines = ["5 1 0 0 0 1 2", "2 1 0 0 0 1 1", "9 1 0 0 0 1 -1", ONE, "4 1 0 0 0 1 9"]
    assert numbers(read_swc("\n".join(lines).encode())) == [9, 4, 1, 2, 5]


def test_a_chain_of_many_thousand_nodes_in_any_order_is_a_tree():
    lines = [f"{n} 3 {n} 0 0 1 {n - 1 if n else -1}" for n in range(20_000)]
    random.Random(1).shuffle(lines)
    assert numbers(read_swc("\n".join(lines).encode())) == list(range(20_000))


def test_nodes_of_cycles_are_told_from_those_of_trees():
    parents = {1: -1, 2: 1, 3: 4, 4: 3, 5: 4}
    nodes = [SwcNode(n, 0, (0.0, 0.0, 0.0), 0.0, parent) for n, parent in parents.items()]
    ordered, cyclic = order_nodes(nodes)
    assert [node.number for node in ordered] == [1, 2]
    assert [node.number for node in cyclic] == [3, 4, 5]


BAD = {
    "nothing": "",
    "only comments": "# a\n# b",
    "six columns": "1 1 0 0 0 -1",
    "eight columns": f"{ONE} 5",
    "a comment behind a node": f"{ONE} # soma",
    "commas": "1,1,0,0,0,1,-1",
    "words": "a b c d e f g",
    "a real number of a node": "1.0 1 0 0 0 1 -1",
    "a negative number of a node": "-1 1 0 0 0 1 -1",
    "a negative type": "1 -1 0 0 0 1 -1",
    "a type over 32 bits": "1 4294967296 0 0 0 1 -1",
    "a number without end": f"{'9' * 400} 1 0 0 0 1 -1",
    "not a number": "1 1 nan 0 0 1 -1",
    "infinity": "1 1 0 inf 0 1 -1",
    "a place that no double holds": "1 1 0 1e999 0 1 -1",
    "a radius that is no number": "1 1 0 0 0 - -1",
    "an underscore, which Python would take": "1 1 1_0 0 0 1 -1",
    "digits that are not ASCII": "١ 1 0 0 0 1 -1",
    "hexadecimal": "1 1 0x10 0 0 1 -1",
    "a parent below -1": "1 1 0 0 0 1 -2",
    "no root": "1 1 0 0 0 1 2\n2 1 0 0 0 1 1",
    "its own parent": "1 1 0 0 0 1 1",
    "a cycle beside a tree": f"{ONE}\n2 1 0 0 0 1 3\n3 1 0 0 0 1 4\n4 1 0 0 0 1 2",
    "a missing parent": f"{ONE}\n2 1 0 0 0 1 9",
    "a number twice": f"{ONE}\n2 1 0 0 0 1 1\n2 1 0 0 0 1 1",
    "a root twice": f"{ONE}\n{ONE}",
    "a long line": f"#{'x' * 1001}\n{ONE}",
}


NO_TEXT = (b"\xff\xfe1 1", b"# \xe9\n" + ONE.encode(), b"\x89HDF\r\n\x1a\n")


@pytest.mark.parametrize("body", [*(text.encode() for text in BAD.values()), *NO_TEXT], ids=[
    *BAD, "UTF-16", "Latin-1", "HDF5",
])  # fmt: skip
def test_what_is_no_text_and_no_forest_is_refused(body):
    with pytest.raises(MalformedBodyError):
        read_swc(body)


def test_the_line_that_is_wrong_is_named():
    with pytest.raises(MalformedBodyError, match="Line 3: y is not a finite number") as caught:
        read_swc(f"# a\n{ONE}\n2 1 0 x 0 1 1".encode())
    assert caught.value.details == {"line": 3}


def test_more_than_the_limits_is_refused():
    limits = SwcLimits(nodes=3, comments=2, comment_characters=20)
    chain = "\n".join(f"{n} 1 0 0 0 1 {n - 1 or -1}" for n in range(1, 5))
    few = chain.rsplit("\n", 1)[0]
    assert len(read_swc(f"#a\n#b\n{few}".encode(), limits).nodes) == 3
    for text in (chain, f"#\n#\n#\n{few}", f"#{'a' * 20}\n{few}"):
        with pytest.raises(PayloadTooLargeError):
            read_swc(text.encode(), limits)


def test_too_many_lines_are_refused_before_one_is_looked_at():
    """Seen to fail without the count of line ends: the first line's fault was found instead."""
    with pytest.raises(PayloadTooLargeError):
        read_swc(b"no node\n" + b"\n" * 100, SwcLimits(nodes=3, comments=2))


def test_any_bytes_are_read_or_refused():
    dice = random.Random(5)
    for _ in range(300):
        body = bytearray(CELL)
        for _ in range(dice.randint(1, 6)):
            body[dice.randrange(len(body))] = dice.randrange(256)
        try:
            swc = read_swc(bytes(body))
        except NDLambdaError:
            continue
        assert read_swc(write_swc(swc)) == swc
