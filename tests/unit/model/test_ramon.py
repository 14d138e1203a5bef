"""RAMON objects: every type and field, what is refused, and the flat form."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ndlambda.errors import (
    InvalidArgumentError,
    MalformedBodyError,
    NotFoundError,
    PathSyntaxError,
    ValidationError,
)
from ndlambda.model.ramon import (
    CLASSES,
    DERIVED,
    LARGEST_ID,
    Annotation,
    Neuron,
    Node,
    ObjectQuery,
    Organelle,
    RamonType,
    RegionOfInterest,
    Seed,
    Segment,
    Skeleton,
    Synapse,
    build,
    check,
    fields_of,
    from_document,
    from_flat,
    get_field,
    parse_query,
    to_document,
    to_flat,
    with_field,
    with_references_moved,
)

COMMON = {"ann_status": 0, "ann_confidence": 0.0, "ann_author": ""}
SPECIFIED: dict[int, dict[str, Any]] = {
    1: {},
    2: {"syn_weight": 0.0, "syn_type": 0, "syn_centroid": "[]"},
    3: {"seed_parent": 0, "seed_cubelocation": 0, "seed_source": 0, "seed_position": "[]"},
    4: {"seg_class": 0, "seg_parentseed": 0, "seg_neuron": 0},
    5: {},
    6: {"org_class": 0, "org_segment": 0, "org_parentseed": 0, "org_centroid": "[]"},
    7: {
        "node_type": 0,
        "node_parent": 0,
        "node_skeleton": 0,
        "node_radius": 0.0,
        "node_location": "[]",
    },
    8: {"skel_type": 0, "skel_rootnode": 0},
    9: {"roi_parent": 0},
}
"""Keys and defaults of the contract; empty lists of ids have no key."""

FULL = [
    Annotation(1, 2, 0.5, "ann", {"k": "v"}),
    Synapse(2, 1, 0.25, "syn", {"a b": ""}, 1.5, 3, (4, 4), (5,), (6, 7), (8,), (1, 2, 3)),
    Seed(3, 3, -1.0, "", {}, 9, 123456789012, 11, (4, 5, 6)),
    Segment(4, 0, 1.0, "é", {}, 2, 3, LARGEST_ID),
    Neuron(5, 1, 0.0, "", {"key": "x" * 20_000}),
    Organelle(6, 0, 0.0, "", {}, 1, 2, 3, (7, 8, 9), (10, 11)),
    Node(7, 0, 0.0, "", {}, 1, -1, 8, 2.5, (1.5, 2.5, 3.0)),
    Skeleton(8, 0, 0.0, "", {}, 4, 7),
    RegionOfInterest(9, 0, 0.0, "", {}, 3),
]

SETTABLE = [(ramon, name) for ramon in FULL for name in fields_of(ramon.ramon_type)]


@pytest.mark.parametrize("number", SPECIFIED)
def test_a_new_object_has_the_keys_and_defaults_of_the_contract(number):
    ramon = CLASSES[RamonType(number)]()
    expected = {"ann_id": 0, "ann_type": number, **COMMON, **SPECIFIED[number]}
    assert to_flat(ramon) == expected


@pytest.mark.parametrize("ramon", FULL, ids=lambda ramon: ramon.ramon_type.name)
def test_an_object_survives_its_flat_form_and_its_document(ramon):
    assert from_flat(json.loads(json.dumps(to_flat(ramon)))) == ramon
    assert from_document(ramon.id, json.loads(json.dumps(to_document(ramon)))) == ramon
    assert check(ramon) == ramon


@pytest.mark.parametrize(
    ("ramon", "name"), SETTABLE, ids=[f"{r.ramon_type.name}-{n}" for r, n in SETTABLE]
)
def test_every_field_is_set_to_what_it_shows(ramon, name):
    word = get_field(ramon, name)
    bare = CLASSES[ramon.ramon_type](ramon.id)
    assert getattr(with_field(bare, name, word), name) == getattr(ramon, name)


@pytest.mark.parametrize(("ramon", "name", "text"), [
    (FULL[1], "annid", "2"), (FULL[1], "weight", "1.5"), (FULL[1], "seeds", "4,4"),
    (FULL[1], "centroid", "1,2,3"), (Synapse(), "centroid", ""), (FULL[0], "k", "v"),
])  # fmt: skip
def test_fields_are_shown_as_text(ramon, name, text):
    assert get_field(ramon, name) == text


@pytest.mark.parametrize("name", ["nothing", "segments", "ann_status", "ann_type", ""])
def test_unknown_fields_are_not_found(name):
    with pytest.raises(NotFoundError):
        get_field(FULL[0], name)


def test_any_other_name_becomes_a_pair():
    assert with_field(Annotation(1), "segments", "1,2").kvpairs == {"segments": "1,2"}
    assert with_field(Annotation(1, kvpairs={"a": "1"}), "a", "2").kvpairs == {"a": "2"}


@pytest.mark.parametrize(
    ("ramon", "name"),
    [(CLASSES[kind](1), name) for kind, names in DERIVED.items() for name in (*names, "annid")],
)
def test_derived_lists_and_ids_cannot_be_set(ramon, name):
    with pytest.raises(InvalidArgumentError):
        with_field(ramon, name, "1,2")


@pytest.mark.parametrize(("ramon", "name", "word"), [
    (Annotation(), "status", "aa"), (Annotation(), "status", "-1"),
    (Annotation(), "status", "4294967296"), (Annotation(), "status", "1" * 5000),
    (Annotation(), "status", "1_0"), (Annotation(), "status", "１"),
    (Annotation(), "confidence", "nan"), (Annotation(), "confidence", "1e999"),
    (Annotation(), "author", "x" * 20_001), (Annotation(), "key", "x" * 20_001),
    (Annotation(), "k" * 256, "x"), (Annotation(), "ann_status", "1"),
    (Annotation(), "seg_neuron", "1"), (Annotation(), "bbdim", "1"),
    (Annotation(), "key", "\ud800"), (Synapse(), "seeds", "1,,2"), (Synapse(), "seeds", "-1"),
    (Synapse(), "segments", str(LARGEST_ID + 1)), (Synapse(), "centroid", "1,2"),
    (Synapse(), "centroid", "1,2,3,4"), (Synapse(), "centroid", "1,2,4294967296"),
    (Node(), "parent", "-2"), (Node(), "location", "1.0,2.0"), (Seed(), "position", "1,2,x"),
])  # fmt: skip
def test_wrong_values_are_refused(ramon, name, word):
    with pytest.raises(ValidationError):
        with_field(ramon, name, word)


def test_every_fault_is_listed():
    with pytest.raises(ValidationError) as caught:
        build(RamonType.SEGMENT, -1, {"neuron": "x", "weight": 1.0}, {"ann_type": "1", "": "2"})
    faults = {entry["field"] for entry in caught.value.details["errors"]}
    assert faults == {"ann_id", "neuron", "weight", "ann_type", "key"}


@pytest.mark.parametrize("flat", [
    {}, {"ann_type": "2"}, {"ann_type": True}, {"ann_type": 0}, {"ann_type": 10}, {"ann_type": 2.0},
    {"ann_type": 1, "ann_id": "x"}, {"ann_type": 1, "ann_id": LARGEST_ID + 1},
    {"ann_type": 1, "syn_weight": 1.0}, {"ann_type": 1, "key": None}, {"ann_type": 1, "key": [1]},
    {"ann_type": 2, "syn_centroid": "[1, 2"}, {"ann_type": 2, "syn_centroid": "[" * 100_000},
    {"ann_type": 2, "syn_seeds": {"a": 1}}, {"ann_type": 2, "syn_seeds": "12"},
])  # fmt: skip
def test_wrong_flat_objects_are_refused(flat):
    with pytest.raises(ValidationError):
        from_flat(flat)


def test_a_flat_object_must_be_a_mapping():
    with pytest.raises(MalformedBodyError):
        from_flat([1])


def test_lists_of_one_come_as_their_element_and_numbers_as_pairs():
    found = from_flat({"ann_type": 2, "syn_seeds": 7, "syn_centroid": [1, 2, 3], "n": 3})
    assert found == Synapse(seeds=(7,), centroid=(1, 2, 3), kvpairs={"n": "3"})


SYNAPSE = Synapse(1, segments=(10, 11, 12), presegments=(11,), seeds=(1,))


@pytest.mark.parametrize(("ramon", "losers", "moved"), [
    (SYNAPSE, {10, 11}, replace(SYNAPSE, segments=(20, 12), presegments=(20,))),
    (Synapse(1, segments=(20, 11)), {11}, Synapse(1, segments=(20,))),
    (Segment(1, neuron=10), {10}, Segment(1, neuron=20)),
    (Node(20, parent=10), {10}, Node(20, parent=0)),
    (Synapse(20, segments=(10, 5)), {10}, Synapse(20, segments=(5,))),
], ids=["lists", "once", "number", "its own parent", "itself in a list"])  # fmt: skip
def test_a_merge_turns_references_but_those_of_the_survivor_to_itself(ramon, losers, moved):
    assert with_references_moved(ramon, frozenset(losers), 20) == moved
    assert with_references_moved(ramon, frozenset({99}), 20) is ramon


@pytest.mark.parametrize(("words", "holds"), [
    ("type/2", True), ("type/1", False), ("status/1/confidence/lt/0.3/confidence/gt/0.2", True),
    ("confidence/lt/0.25", False), ("confidence/gt/0.25", False), ("author/syn", True),
    ("ann_author/syn", True), ("syn_presegments/7", True), ("syn_presegments/8", False),
    ("syn_centroid/1,2,3", True), ("seg_neuron/0", False), ("key/007", True), ("key/7", False),
    ("type/2/status/2", False),
])  # fmt: skip
def test_predicates_hold_as_the_contract_says(words, holds):
    synapse = replace(FULL[1], kvpairs={"key": "007"})
    assert parse_query(words.split("/")).holds(synapse) is holds


def test_an_empty_query_asks_for_everything():
    assert parse_query([]) == ObjectQuery()
    assert parse_query(["limit", "3"]) == ObjectQuery(limit=3)


@pytest.mark.parametrize("words", [
    "type", "type/4/status", "confidence", "confidence/lt", "confidence/eq/1", "confidence/0.5",
    "limit", "limit/0", "limit/-1", "limit/x", "limit/２",
])  # fmt: skip
def test_queries_that_do_not_parse_are_refused(words):
    with pytest.raises(PathSyntaxError):
        parse_query(words.split("/"))


@pytest.mark.parametrize("words", [
    "type/x", "status/aa", "confidence/lt/x", "syn_segments/1,2", "syn_segments/", "seg_neuron/-1",
])  # fmt: skip
def test_values_that_no_field_can_have_are_refused(words):
    with pytest.raises(InvalidArgumentError):
        parse_query(words.split("/"))
