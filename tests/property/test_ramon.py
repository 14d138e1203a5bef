"""Queries of RAMON objects against a plain dictionary of them."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndlambda.model.ramon import ObjectQuery, RamonType, build, fields_of, parse_query, to_flat
from ndlambda.model.ramon.kinds import Form
from ndlambda.services.ramon import query as query_module
from ndlambda.services.ramon.keys import _real, _whole, index_rows
from tests.support.ramon_world import CHANNEL, disk_world

_SMALL = st.integers(0, 3)
_REALS = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 1e300])
_VALUES = {
    Form.INTEGER: _SMALL,
    Form.REAL: _REALS,
    Form.TEXT: st.sampled_from(["", "a", "b#"]),
    Form.IDS: st.lists(_SMALL, max_size=3),
    Form.POSITION: st.sampled_from([[], [1, 2, 3]]),
    Form.LOCATION: st.sampled_from([[], [0.5, 2.0, 3.0]]),
}
_PAIRS = st.dictionaries(st.sampled_from(["k", "k#", "l"]), st.sampled_from(["", "a", "#a"]))


@st.composite
def objects(draw, number):
    kind = draw(st.sampled_from(RamonType))
    values = {name: draw(_VALUES[f.kind.form]) for name, f in fields_of(kind).items()}
    return build(kind, number, values, draw(_PAIRS))


WORDS = st.one_of(
    st.tuples(st.just("type"), st.integers(1, 9).map(str)),
    st.tuples(st.just("status"), _SMALL.map(str)),
    st.tuples(st.just("confidence"), st.sampled_from(["lt", "gt"]), _REALS.map(repr)),
    st.tuples(st.sampled_from(["k", "k#", "l"]), st.sampled_from(["", "a", "#a"])),
    st.tuples(
        st.sampled_from(["seg_neuron", "syn_segments", "node_parent", "roi_parent", "org_class"]),
        _SMALL.map(str),
    ),
    st.tuples(st.sampled_from(["syn_weight", "node_radius"]), _REALS.map(repr)),
    st.tuples(st.sampled_from(["syn_centroid", "node_location"]), st.sampled_from(["", "1,2,3"])),
    st.tuples(st.just("author"), st.sampled_from(["", "a", "b#"])),
)
QUERIES = st.lists(WORDS, max_size=3).map(lambda parts: [word for part in parts for word in part])


def _by_hand(ramon, words):
    """Decide from the flat form, without the code under test."""
    short = {"type": "ann_type", "status": "ann_status", "author": "ann_author"}
    flat = to_flat(ramon)
    words = list(words)
    while words:
        key = words.pop(0)
        if key == "confidence":
            relation, value = words.pop(0), float(words.pop(0))
            found = flat["ann_confidence"]
            if not (found < value if relation == "lt" else found > value):
                return False
            continue
        found, word = flat.get(short.get(key, key)), words.pop(0)
        match found:
            case None:
                return False
            case list():
                holds = int(word) in found
            case int() | float():
                holds = found == float(word)
            case _ if key in {"syn_centroid", "node_location"}:
                numbers = [float(part) for part in word.split(",") if part]
                holds = [float(part) for part in found[1:-1].split(",") if part] == numbers
            case _:
                holds = found == word
        if not holds:
            return False
    return True


@settings(max_examples=20)
@given(st.data())
def test_queries_give_what_a_loop_over_all_objects_gives(data):
    """Whole and page by page, with few rows in a page of a partition."""
    model = {}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(query_module, "_SPARE", 1)
        patched.setattr(query_module, "_FEW", 3)
        world = disk_world(Path(folder))
        ramon = world.ramon()
        for _ in range(data.draw(st.integers(1, 12))):
            number = data.draw(st.integers(1, 20))
            made = data.draw(objects(number))
            if number in model:
                ramon.update(CHANNEL, made)
            else:
                assert not ramon.query(CHANNEL, ObjectQuery(), within={number})
                world.upload(made)
            model[number] = made
        for words in data.draw(st.lists(QUERIES, min_size=4, max_size=8)):
            within = data.draw(st.none() | st.sets(st.integers(1, 20)))
            expected = sorted(
                number
                for number, made in model.items()
                if _by_hand(made, words) and (within is None or number in within)
            )
            query = parse_query(words)
            assert ramon.query(CHANNEL, query, within) == expected, words
            limit, after, paged = data.draw(st.integers(1, 5)), 0, list[int]()
            while page := ramon.query(CHANNEL, replace(query, limit=limit, after=after), within):
                assert len(page) <= limit
                paged += page
                after = page[-1]
            assert paged == expected, (words, limit)
        exact = {(r.pk, r.sk) for made in model.values() for r in index_rows("uid-1", made)}
        assert world.index() == exact
        world.table.close()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2))
def test_reals_are_written_in_their_order(values):
    by_text = sorted(values, key=_real)
    assert by_text == sorted(values)
    assert _real(0.0) == _real(-0.0)


@given(st.lists(st.integers(-(2**63), 2**64 - 1), min_size=2))
def test_integers_are_written_in_their_order(values):
    assert sorted(values, key=_whole) == sorted(values)
    assert {len(_whole(value)) for value in values} == {20}
