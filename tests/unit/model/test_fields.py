"""What clients send and see of the catalogue."""

import json
import math
from typing import Any

import pytest

from ndlambda.errors import InvalidNameError, MalformedBodyError, ValidationError
from ndlambda.model import fields
from ndlambda.model.catalog import IMAGE_CODEC, LABEL_CODEC, Channel, CodecSpec, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.volume import transfers
from ndlambda.services.volume.results import PREFIX as RESULTS_PREFIX
from ndlambda.space.pyramid import Scaling

DATASET = {"dataset_name": "ds", "ximagesize": 10, "yimagesize": 20, "zimagesize": 30}
CHANNEL = {"channel_name": "ch", "channel_type": "image", "channel_datatype": "uint8"}


def read_dataset(**changes: Any) -> Dataset:
    return fields.dataset_from_fields({**DATASET, **changes}, name="ds")


def read_channel(**changes: Any) -> Channel:
    return fields.channel_from_fields({**CHANNEL, **changes}, name="ch", project="pr")


def refused_fields(error: ValidationError) -> set[str]:
    return {problem["field"] for problem in error.details["errors"]}


PROJECT_SHOWN = {
    "project_name": "pr", "project_description": "", "user": 1, "public": 0, "dataset": "ds",
    "host": "localhost", "kvengine": "MySQL", "kvserver": "localhost", "mdengine": "MySQL",
    "s3backend": 1, "nd_version": "1.2.0", "schema_version": "1.1.0",
}  # fmt: skip
CHANNEL_SHOWN = {
    **CHANNEL, "id": 0, "project": "pr", "channel_description": "", "resolution": 0,
    "propagate": 0, "readonly": 0, "exceptions": 0, "starttime": 0, "endtime": 1,
    "startwindow": 0, "endwindow": 0, "default": False, "header": "",
}  # fmt: skip


def test_a_dataset_and_a_token_have_the_defaults_of_ndstore():
    shown = fields.dataset_fields(fields.dataset_from_fields(DATASET, name="ds", user_id=1))
    assert shown == {
        **DATASET, "dataset_description": "", "user": 1, "public": 0, "xoffset": 0, "yoffset": 0,
        "zoffset": 0, "xvoxelres": 1.0, "yvoxelres": 1.0, "zvoxelres": 1.0, "scalingoption": 0,
        "scalinglevels": 0,
    }  # fmt: skip
    assert type(shown["public"]) is int
    token = fields.token_from_fields({}, name="tk", project="pr", user_id=1)
    assert fields.token_fields(token) == {
        "token_name": "tk", "token_description": "", "user": 1, "project": "pr", "public": 0,
    }  # fmt: skip


@pytest.mark.parametrize("sent", [
    {},
    {
        "project_name": "pr", "host": "localhost", "s3backend": 0, "public": 1,
        "kvserver": "localhost", "kvengine": "Redis", "mdengine": "MySQL",
        "project_description": "",
    },
], ids=["defaults", "as ndio sends it"])  # fmt: skip
def test_a_project_has_the_defaults_of_ndstore_and_is_echoed(sent):
    project = fields.project_from_fields(sent, name="pr", dataset="ds", user_id=1)
    assert fields.project_fields(project) == PROJECT_SHOWN | sent


@pytest.mark.parametrize("sent", [
    {},
    {
        "startwindow": 0, "endwindow": 500, "starttime": 0, "endtime": 0, "readonly": 0,
        "propagate": 0, "resolution": 0, "channel_description": "",
    },
], ids=["defaults", "as ndio sends it"])  # fmt: skip
def test_a_channel_has_the_defaults_of_ndstore_and_is_echoed(sent):
    channel = read_channel(**sent)
    shown = fields.channel_fields(channel)
    assert shown == CHANNEL_SHOWN | sent
    assert shown["default"] is False
    assert type(shown["readonly"]) is int
    assert channel.times == (0, 1)


def test_every_fault_is_reported_at_once():
    sent = {
        "dataset_name": "other", "ximagesize": 0, "yimagesize": "20", "voxels": 3, "public": 2,
        "xvoxelres": 0, "scalinglevels": 21,
    }  # fmt: skip
    with pytest.raises(ValidationError) as caught:
        fields.dataset_from_fields(sent, name="ds")
    assert refused_fields(caught.value) == {*sent, "zimagesize"}


@pytest.mark.parametrize(("field", "value"), [
    ("ximagesize", 2**27 + 1), ("zimagesize", 2**25 + 1), ("ximagesize", True),
    ("ximagesize", 10.0), ("zoffset", -1), ("xvoxelres", math.nan), ("xvoxelres", math.inf),
    ("yvoxelres", -4.0), ("yvoxelres", 0), ("zvoxelres", "4"), ("zvoxelres", 10**400),
    ("zvoxelres", 1e-320),  # its ratio to another one is no number
    ("scalingoption", 2), ("scalingoption", True), ("scalinglevels", -1), ("public", "1"),
    ("public", None), ("dataset_description", "d" * 4097), ("dataset_description", "\ud800"),
])  # fmt: skip
def test_a_dataset_field_out_of_its_range_is_refused(field, value):
    with pytest.raises(ValidationError) as caught:
        read_dataset(**{field: value})
    assert refused_fields(caught.value) == {field}


@pytest.mark.parametrize(("field", "value"), [
    ("channel_type", "movie"), ("channel_datatype", "complex64"), ("channel_datatype", 8),
    ("resolution", -1), ("propagate", 3), ("readonly", 2), ("starttime", -1),
    ("endtime", -1), ("startwindow", math.nan), ("endwindow", -1), ("default", "yes"),
    ("header", "h" * 8193), ("codec", "zstd"), ("codec", {"cname": "zstd"}),
    ("codec", {"cname": "snappy", "clevel": 1}), ("codec", {"cname": "zstd", "clevel": 10}),
    ("cuboids_per_axis", 3), ("uid", "mine"), ("project", "another"),
])  # fmt: skip
def test_a_channel_field_out_of_its_range_is_refused(field, value):
    with pytest.raises(ValidationError) as caught:
        read_channel(**{field: value})
    assert refused_fields(caught.value) == {field}


def test_the_largest_dataset_is_accepted_and_voxel_sizes_are_integers_or_floats():
    dataset = read_dataset(
        ximagesize=2**27, yimagesize=2**27, zimagesize=2**25, xvoxelres=4, yvoxelres=4.5
    )
    assert dataset.imagesize_xyz == (2**27, 2**27, 2**25)
    assert dataset.voxelres_xyz == (4.0, 4.5, 1.0)


@pytest.mark.parametrize(("sent", "public"), [(0, False), (1, True), (False, False), (True, True)])
def test_flags_are_integers_or_booleans(sent, public):
    assert read_dataset(public=sent).public is public
    assert read_channel(readonly=sent, exceptions=sent, default=sent).default is public


def test_an_endtime_before_the_starttime_is_refused_but_zero_is_not():
    assert read_channel(starttime=5, endtime=0).times == (5, 6)
    with pytest.raises(ValidationError, match="endtime"):
        read_channel(starttime=5, endtime=4)


def test_annotation_channels_hold_labels():
    assert read_channel(channel_type="annotation", channel_datatype="uint32").is_annotation
    with pytest.raises(ValidationError, match="one of uint32, uint64"):
        read_channel(channel_type="annotation", channel_datatype="uint8")


def test_the_codec_follows_the_channel_type_unless_it_is_given():
    labels = {"channel_type": "annotation", "channel_datatype": "uint64"}
    assert read_channel().codec == IMAGE_CODEC
    assert read_channel(**labels).codec == LABEL_CODEC
    assert read_channel(**labels, codec={"cname": "lz4", "clevel": 3}).codec == CodecSpec("lz4", 3)
    assert read_channel(cuboids_per_axis=4).cuboids_per_axis == 4


@pytest.mark.parametrize("name", ["", "a-b", "a b", "a/b", "é", "a\n", "x" * 256, "a,b", "a#b"])
def test_a_name_that_no_url_could_hold_is_refused(name):
    with pytest.raises(InvalidNameError):
        fields.dataset_from_fields(DATASET, name=name)
    with pytest.raises(InvalidNameError):
        fields.channel_from_fields(CHANNEL, name=name, project="pr")


def test_a_project_is_not_named_like_the_folder_of_what_expires():
    """Else the expiry of large results would take the project's voxels along."""
    with pytest.raises(InvalidNameError):
        fields.project_from_fields({}, name=RESULTS_PREFIX.rstrip("/"), dataset="ds")
    with pytest.raises(InvalidNameError):
        fields.project_from_fields({}, name=transfers.PREFIX.rstrip("/"), dataset="ds")
    token = fields.token_from_fields({}, name="results", project="pr")
    assert token.name == "results"


@pytest.mark.parametrize("body", [[], "text", None, 3])
def test_a_body_that_is_no_object_is_malformed(body):
    with pytest.raises(MalformedBodyError):
        fields.token_from_fields(body, name="tk", project="pr")


def test_what_is_shown_may_be_sent_back_and_assigns_nothing():
    shown = {**fields.dataset_fields(read_dataset()), "user": 99}
    assert fields.dataset_from_fields(shown, name="ds", user_id=4).user_id == 4
    shown = {**fields.channel_fields(read_channel()), "id": 99}
    assert fields.channel_from_fields(shown, name="ch", project="pr").id == 0


def test_stored_documents_lose_nothing():
    dataset = Dataset("d", (1, 2, 3), "é", 5, True, (7, 8, 9), (0.5, 4.0, 30.0), Scaling(1), 6)
    given = {"public": True, "kvengine": "Redis", "s3backend": 0}
    project = fields.project_from_fields(given, name="p", dataset="d", user_id=2)
    token = fields.token_from_fields({"public": 1}, name="t", project="p", user_id=2)
    channel = Channel(
        "p", "c", ChannelType.PROBMAP, DataType.FLOAT32, id=12, uid="u", description="d",
        resolution=2, propagate=1, readonly=True, exceptions=True, starttime=3, endtime=9,
        startwindow=0.25, endwindow=7, default=True, header="h", codec=CodecSpec("lz4", 4, 2),
        cuboids_per_axis=4,
    )  # fmt: skip
    for thing, to_doc, from_doc in [
        (dataset, fields.dataset_fields, fields.dataset_from_doc),
        (project, fields.project_fields, fields.project_from_doc),
        (token, fields.token_fields, fields.token_from_doc),
        (channel, fields.channel_doc, fields.channel_from_doc),
    ]:
        assert from_doc(json.loads(json.dumps(to_doc(thing)))) == thing
