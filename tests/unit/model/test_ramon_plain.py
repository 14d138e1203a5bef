"""RAMON objects as JSON for people."""

import json

import pytest

from ndlambda.errors import MalformedBodyError, ValidationError
from ndlambda.model.ramon import CLASSES, Node, RamonType, Segment, Synapse, fields_of
from ndlambda.model.ramon.fields import DERIVED
from ndlambda.model.ramon.plain import TYPE_WORDS, from_plain, patched, read_type_word, to_plain

SYNAPSE = Synapse(3, 1, 0.5, "ann", {"a": "b"}, weight=1.5, seeds=(4, 5), centroid=(1, 2, 3))


@pytest.mark.parametrize("ramon_type", RamonType)
def test_every_type_comes_back_from_json_as_it_was(ramon_type):
    ramon = CLASSES[ramon_type](2**63 + 1, kvpairs={"key": "value"})
    document = json.loads(json.dumps(to_plain(ramon, {}, 1)))
    assert from_plain(document) == ramon
    assert from_plain({"type": document["type"], "id": ramon.id, "pairs": ramon.kvpairs}) == ramon


def test_fields_have_their_own_names_and_places_are_lists():
    document = to_plain(SYNAPSE, {"nodes": [9]}, 7)
    assert document.items() >= {
        "type": "synapse", "weight": 1.5, "centroid": [1, 2, 3], "derived": {"nodes": [9]},
        "version": 7,
    }.items()  # fmt: skip
    assert from_plain(document) == SYNAPSE


def test_no_field_has_the_name_of_what_stands_beside_the_fields():
    for ramon_type in RamonType:
        names = {*fields_of(ramon_type), *DERIVED.get(ramon_type, ())}
        assert names.isdisjoint({"id", "type", "pairs", "version", "derived"})


def test_types_are_named_by_words_or_numbers():
    assert [read_type_word(word) for word in TYPE_WORDS] == list(RamonType)
    assert read_type_word(4) is read_type_word("SEGMENT") is RamonType.SEGMENT
    for wrong in (0, 10, True, "cell", None, 4.0, ["segment"]):
        with pytest.raises(ValidationError):
            read_type_word(wrong)


def test_a_patch_changes_what_it_names_and_null_is_the_default():
    changed = patched(SYNAPSE, {"status": 4, "seeds": None, "pairs": {"a": None, "c": "d"}})
    assert changed == Synapse(3, 4, 0.5, "ann", {"c": "d"}, weight=1.5, centroid=(1, 2, 3))
    assert patched(SYNAPSE, {}) == SYNAPSE
    assert patched(SYNAPSE, to_plain(SYNAPSE, {}, 9)) == SYNAPSE
    assert patched(Node(1, parent=-1), {"parent": 0}) == Node(1)


@pytest.mark.parametrize(
    "changes",
    [{"id": 4}, {"type": "segment"}, {"pairs": 3}, {"neuron": 1}, {"weight": "x"}, {"id": None}],
)
def test_a_patch_that_cannot_be_meant_is_refused(changes):
    with pytest.raises(ValidationError):
        patched(SYNAPSE, changes)


def test_an_id_is_the_one_that_is_insisted_on():
    assert from_plain({"type": "segment"}, 5) == from_plain({"type": "segment", "id": 5}, 5)
    assert from_plain({"type": "segment"}) == Segment(0)
    with pytest.raises(ValidationError):
        from_plain({"type": "segment", "id": 4}, 5)
    for wrong in ([], "segment", None, 4):
        with pytest.raises(MalformedBodyError):
            from_plain(wrong)
