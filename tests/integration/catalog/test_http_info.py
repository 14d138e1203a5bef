"""What a token opens, and the channels that released clients make and delete through it."""

import io
from typing import Any
from xml.etree import ElementTree as ET

import h5py
import pytest

from ndlambda.model.catalog import Dataset
from tests.support.app import BOX, SHAPE, assert_problem, server_fixture
from tests.support.bodies import from_npz, noise, npz

IMAGE = {"channel_name": "new", "channel_type": "image", "datatype": "uint8", "readonly": 0}


server = server_fixture()


def created(name: str, **fields: Any) -> dict[str, Any]:
    """Return the fields of a channel for createChannel."""
    return {name: {**IMAGE, "channel_name": name, **fields}}


def test_info_has_what_ndio_reads(server):
    answer = server.get("/sd/open/info/")
    assert answer.content_type == "application/json"
    assert answer.text.startswith('{\n    "channels"')
    info = answer.get_json()
    dataset = info["dataset"]
    assert (dataset["name"], dataset["description"]) == ("brain", "brain")
    assert (dataset["scaling"], dataset["scalinglevels"]) == ("zslices", 3)
    assert dataset["resolutions"] == [0, 1, 2, 3]
    assert dataset["imagesize"]["3"] == [38, 25, 40]
    assert dataset["offset"]["0"] == [8, 4, 1]
    assert dataset["voxelres"]["1"] == [8, 8, 3]
    assert dataset["cube_dimension"] == {"0": [128, 128, 16]} | {n: [64, 64, 64] for n in "123"}
    assert dataset["supercube_dimension"]["0"] == [512, 512, 64]
    assert dataset["neariso_scaledown"] == {"0": 1, "1": 3, "2": 5, "3": 11}
    assert dataset["neariso_imagesize"]["1"] == [150, 100, 13]
    assert info["project"]["name"] == "pr"
    assert info["metadata"] == {}
    assert list(info["channels"]) == ["em", "em2", "frozen", "labels", "movie"]
    assert info["channels"]["movie"] == {
        "channel_type": "timeseries",
        "datatype": "uint16",
        "description": "",
        "exceptions": 0,
        "propagate": 0,
        "readonly": 0,
        "resolution": 0,
        "timerange": [2, 6],
        "windowrange": [0, 0],
    }


@pytest.mark.parametrize("path", [
    "/nd//sd/open/info/", "/ocp/ca/open/info/", "/open/info/", "/nd/open/info", "/v1/projects/open",
])  # fmt: skip
def test_info_has_the_aliases_that_clients_use(server, path):
    assert server.get(path).get_json() == server.get("/sd/open/info/").get_json()


def test_projinfo_is_an_hdf5_file(server):
    answer = server.get("/sd/open/projinfo/")
    assert answer.content_type == "product/hdf5"
    with h5py.File(io.BytesIO(answer.data)) as file:
        assert file["PROJECT/NAME"][0] == b"pr"
        assert file["DATASET/NAME"][0] == b"brain"
        assert file["DATASET/RESOLUTIONS"][...].tolist() == [0, 1, 2, 3]
        assert file["DATASET/IMAGE_SIZE/1"][...].tolist() == [150, 100, 40]
        assert file["DATASET/OFFSET/0"][...].tolist() == [8, 4, 1]
        assert file["CHANNELS/movie/TYPE"][0] == b"timeseries"
        assert file["CHANNELS/movie/TIMERANGE"][...].tolist() == [2, 6]


def test_vikingxml_has_its_attributes_in_the_order_that_is_counted_on(server):
    answer = server.get("/sd/open/volume.vikingxml")
    assert answer.content_type == "application/xml"
    root = ET.fromstring(answer.data)
    assert root.tag == "Volume"
    assert list(root.attrib) == [
        "InputChecksum", "host", "name", "num_sections", "num_stos", "path"
    ]  # fmt: skip
    assert (root.attrib["name"], root.attrib["num_sections"]) == ("open", "40")
    assert [section.attrib["Number"] for section in root.iter("Section")] == [
        str(z) for z in range(1, 41)
    ]
    assert [channel.attrib["Name"] for channel in root.iter("Channel")][:2] == ["em", "em2"]


def test_vikingxml_of_a_volume_too_deep_to_list_is_refused(disk):
    disk.add_volume(Dataset("deep", (1000, 1000, 1 << 25)))
    assert_problem(disk.get("/sd/deep/volume.vikingxml", "alice"), 413, "PayloadTooLargeError")


def test_get_propagate_tells_the_state_of_each_channel(disk):
    disk.runtime.catalog.update_channel("pr", "em", propagate=1)
    disk.runtime.catalog.update_channel("pr", "labels", propagate=2)
    for channels, text in (("em", "1"), ("em,em2,labels", "1,0,2"), ("default", "1")):
        answer = disk.get(f"/nd/sd/open/{channels}/getPropagate/")
        assert (answer.status_code, answer.text) == (200, text)
    assert disk.get("/nd/sd/open/em2/getPropagate").text == "0"


def test_public_tokens_and_datasets_are_listed_to_everybody(server):
    for start in ("/sd/", "/nd/sd//", "/nd//", "/"):
        assert server.get(f"{start}public_tokens/").get_json() == ["open"]
        assert server.get(f"{start}public_datasets").get_json() == []


def test_create_channel_makes_channels_that_can_be_used_at_once(disk):
    labels = {"channel_name": "new2", "channel_type": "annotation", "datatype": "uint32"}
    answer = disk.post(
        "/nd/sd/open/createChannel/", "alice", json={"channels": created("new") | {"new2": labels}}
    )
    assert (answer.status_code, answer.text) == (200, "Success. The channels were created.")
    voxels = noise((1, *SHAPE))
    disk.write(f"/sd/open/new/npz/{BOX}", npz(voxels))
    assert (from_npz(disk.read(f"/sd/open/new/npz/{BOX}")) == voxels).all()
    channels = disk.get("/sd/open/info/").get_json()["channels"]
    assert channels["new2"]["datatype"] == "uint32"


BAD_CHANNELS: dict[str, Any] = {
    "no channels": {},
    "a list of channels": ["new"],
    "fields no object": {"new": 5},
    "another name inside": created("new", channel_name="other"),
    "a name with a slash": created("a/b"),
    "time range no pair": created("new", timerange=[1, 2, 3]),
    "existing": created("new") | created("em"),
    "second bad": created("new") | created("x", default=5),
    "second beyond the levels": created("new") | created("x", resolution=4),
}


@pytest.mark.parametrize("channels", BAD_CHANNELS.values(), ids=BAD_CHANNELS)
def test_create_channel_makes_all_or_none(server, channels):
    """Seen to fail with a bad resolution in the second channel before levels were looked at."""
    with server.unchanged():
        answer = server.post("/sd/open/createChannel/", "alice", json={"channels": channels})
        assert answer.status_code == 400
        assert answer.content_type == "application/problem+json"


def test_delete_channel_keeps_read_only_ones(disk):
    body = {"channels": ["em2", "frozen", "em2"]}
    answer = disk.post("/sd/open/deleteChannel/", "alice", json=body)
    assert (answer.status_code, answer.text) == (200, "Success. Channels deleted.")
    assert sorted(disk.get("/sd/open/info/").get_json()["channels"]) == [
        "em", "frozen", "labels", "movie"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [{}, {"channels": {}}, {"channels": "em"}, {"channels": [5]}, {"channels": ["em", "nope"]}, []],
)
def test_delete_channel_deletes_all_or_none(server, body):
    with server.unchanged():
        assert server.post("/sd/open/deleteChannel/", "alice", json=body).status_code == 400
