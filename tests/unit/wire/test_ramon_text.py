"""RAMON objects as JSON, in ndstore's flat form and in the older one, and as CSV."""

import csv
import json
from io import StringIO

import pytest

from ndlambda.errors import MalformedBodyError, NDLambdaError, PayloadTooLargeError
from ndlambda.model.ramon import Annotation, Organelle, Segment, Synapse
from ndlambda.wire.ramon import BoundingBox, RamonItem, RamonLimits, get_format
from ndlambda.wire.ramon.text import decode_flat, decode_old, encode_csv, encode_flat, encode_old

LIMITS = RamonLimits(objects=2)
SYNAPSE = Synapse(21, confidence=1.0, author="me", kvpairs={"mykey": "v"}, segments=(0,))


def test_flat_json_is_ndstores():
    found = json.loads(encode_flat([RamonItem(SYNAPSE)]))
    old = json.loads(encode_old([RamonItem(SYNAPSE)]))
    assert found == {"21": old["21"] | {
        "ann_id": 21, "ann_type": 2, "ann_status": 0, "ann_confidence": 1.0, "ann_author": "me",
        "syn_weight": 0.0, "syn_type": 0, "syn_segments": [0], "syn_centroid": "[]", "mykey": "v",
    }}  # fmt: skip


def test_a_bounding_box_is_corner_and_size():
    item = RamonItem(Segment(3), box=BoundingBox(0, (1, 2, 3), (4, 5, 6)))
    flat = json.loads(encode_flat([item]))["3"]
    assert (flat["bbcorner"], flat["bbdim"]) == ([1, 2, 3], [4, 5, 6])


def test_the_id_inside_flat_json_counts():
    (item,) = decode_flat(b'{"99": {"ann_type": 4, "ann_id": 7, "seg_neuron": 5}}', LIMITS)
    assert item.ramon == Segment(7, neuron=5)
    (item,) = decode_flat(b'{"99": {"ann_type": 4}}', LIMITS)
    assert item.ramon == Segment(0)


def test_old_json_has_words_and_field_names():
    item = RamonItem(Segment(3, status=1, kvpairs={"k": "v"}), derived={"synapses": [8]})
    assert json.loads(encode_old([item])) == {"3": {"type": "segment", "metadata": {
        "status": 1, "confidence": 0.0, "author": "", "segmentclass": 0, "parentseed": 0,
        "neuron": 0, "synapses": [8], "kvpairs": {"k": "v"},
    }}}  # fmt: skip
    assert decode_old(encode_old([item]), LIMITS)[0].ramon == item.ramon


@pytest.mark.parametrize("ramon", [
    SYNAPSE, Annotation(5), Organelle(6, organelleclass=3),
    Segment(7, kvpairs={"type": "pyramidal"}), Segment(8, kvpairs={"metadata": "m", "type": "t"}),
])  # fmt: skip
def test_an_object_is_the_same_after_a_round_trip_in_either_json(ramon):
    for encode, decode in ((encode_flat, decode_flat), (encode_old, decode_old)):
        assert decode(encode([RamonItem(ramon)]), LIMITS)[0].ramon == ramon


def test_old_json_has_what_ndio_slices_and_its_word_for_a_plain_annotation():
    old = json.loads(encode_old([RamonItem(Annotation(5)), RamonItem(Organelle(6))]))
    assert (old["5"]["type"], old["6"]["metadata"]["organelleclass"]) == ("generic", [0])


@pytest.mark.parametrize("body", [
    b"",
    b"[]",
    b"{",
    b'{"1": []}',
    b'{"1": {"ann_type": 1, "ann_type": 2}}',
    b'{"1": {"ann_type": 1, "ann_confidence": NaN}}',
    b'{"1": {"ann_type": 1, "ann_id": ' + b"9" * 5000 + b"}}",
    b'{"1": ' + b"[" * 100_000,
    b'{"1": {"ann_type": 1, "key": "\xff"}}',
    b'{"1": {"ann_type": 1, "key": "\\ud800"}}',
    b'{"1": {"ann_type": 1}, "2": {"ann_type": 1}, "3": {"ann_type": 1}}',
])  # fmt: skip
def test_bad_json_is_refused(body):
    for decode in (decode_flat, decode_old):
        with pytest.raises(NDLambdaError):
            decode(body, LIMITS)


def test_bodies_that_are_no_objects_are_malformed():
    with pytest.raises(MalformedBodyError):
        decode_flat(b"[1]", LIMITS)


@pytest.mark.parametrize("value", [
    {"type": "segment"},
    {"type": 4, "metadata": {}},
    {"type": "volume", "metadata": {}},
    {"type": "segment", "metadata": {"kvpairs": []}},
    {"type": "segment", "metadata": {"neuron": "x"}},
])  # fmt: skip
def test_bad_old_objects_are_refused(value):
    with pytest.raises(NDLambdaError):
        decode_old(json.dumps({"1": value}).encode(), LIMITS)


def test_too_many_objects_are_too_large():
    body = json.dumps({str(n): {"ann_type": 1} for n in range(3)}).encode()
    with pytest.raises(PayloadTooLargeError):
        decode_flat(body, LIMITS)


def test_csv_has_a_line_a_dataset():
    item = RamonItem(SYNAPSE, box=BoundingBox(1, (1, 2, 3), (4, 5, 6)), derived={"nothing": [1]})
    lines = dict(csv.reader(StringIO(encode_csv([item]).decode(), newline="")))
    assert lines.items() >= {
        "ANNOTATION_ID": "21", "ANNOTATION_TYPE": "2", "XYZOFFSET": "[1, 2, 3]", "AUTHOR": "me",
        "XYZDIMENSION": "[4, 5, 6]", "SEGMENTS": "[0]", "KVPAIRS": "mykey,v\r\n",
    }.items()  # fmt: skip
    assert get_format("csv").decode is None
