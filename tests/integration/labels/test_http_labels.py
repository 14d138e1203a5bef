"""Uploads to annotation channels are painted, by whatever route they come."""

import numpy as np
import pytest

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.zoom import LabelView
from ndlambda.services.volume.region import Region
from ndlambda.space.pyramid import Scaling
from tests.support import bodies
from tests.support.app import Server, assert_problem, serving, v1_cutout
from tests.support.bodies import Array, from_npy
from tests.support.label_world import labels_in

BRAIN = Dataset("labelled", (200, 100, 70), offset_xyz=(10, 20, 5), scaling=Scaling.ISOTROPIC)
SHAPE = (3, 4, 5)
PATH = "x=70:75&y=80:84&z=66:69&format=npy"
LEGACY = "0/70,75/80,84/66,69/"


@pytest.fixture
def server(tmp_path):
    bodies_channel = Channel("", "bodies", ChannelType.ANNOTATION, DataType.UINT64)
    layered = Channel("", "layered", ChannelType.ANNOTATION, DataType.UINT32, exceptions=True)
    image = Channel("", "em", ChannelType.IMAGE, DataType.UINT64)
    with serving(tmp_path) as server:
        server.add_volume(BRAIN, bodies_channel, layered, image)
        yield server


def route(channel: str, discipline: str | None = None) -> str:
    word = "" if discipline is None else f"&discipline={discipline}"
    return v1_cutout("labelled", channel, PATH + word)


def filled(label: int, dtype: str = "uint64") -> Array:
    return np.full(SHAPE, label, dtype)


def stored(server: Server, channel: str) -> Array:
    return from_npy(server.read(route(channel)))


def whole(server: Server, name: str) -> tuple[Channel, Region]:
    channel = server.runtime.catalog.project_view("labelled").channel(name)
    level = BRAIN.pyramid.level(0)
    return channel, Region(level, level.box, (0, 1))


@pytest.mark.parametrize("way", ["v1", "npz", "hdf5"])
def test_an_upload_of_labels_enters_them_in_the_index(server, way):
    """Seen to fail when uploads went to the volume service, which knows no index."""
    big = 2**63 + 5
    if way == "v1":
        server.write(route("bodies"), bodies.npy(filled(big)))
    elif way == "npz":
        server.write(f"/sd/labelled/bodies/npz/{LEGACY}", bodies.npz(filled(big)[None]))
    else:
        server.write(f"/sd/labelled/bodies/hdf5/{LEGACY}", bodies.hdf5({"bodies": filled(big)}))
    channel, region = whole(server, "bodies")
    shown = LabelView(LabelVolume(channel, region.level, 0))
    found = server.runtime.annotation.labels.read.shapes.bounding_box(shown, [big])
    assert (found.start_xyz, found.stop_xyz) == ((60, 60, 61), (65, 64, 64))
    assert server.runtime.annotation.labels.ids.free_ids(channel).last == big


def test_exception_keeps_the_label_that_was_there_and_the_new_one_beside_it(server):
    server.write(route("layered"), bodies.npy(filled(3, "uint32")))
    server.write(route("layered", "exception"), bodies.npy(filled(9, "uint32")))
    assert (stored(server, "layered") == 3).all()
    channel, region = whole(server, "layered")
    assert labels_in(server.runtime.annotation.labels, channel, region) == [3, 9]


@pytest.mark.parametrize(("channel", "word", "status", "error"), [
    ("bodies", "scribble", 404, "UnknownNameError"), ("bodies", "update", 404, "UnknownNameError"),
    ("em", "overwrite", 400, "InvalidArgumentError"),
    ("bodies", "exception", 400, "InvalidArgumentError"),  # the channel keeps none
])  # fmt: skip
def test_disciplines_that_cannot_be_followed_are_refused(server, channel, word, status, error):
    with server.unchanged():
        answer = server.post(route(channel, word), "alice", data=bodies.npy(filled(9)))
        assert_problem(answer, status, error)
        assert_problem(server.get(route(channel, word), "alice"), 400, "InvalidArgumentError")


@pytest.mark.parametrize(("word", "label"), [("preserve", 9), ("reduce", 3)])
def test_an_upload_names_its_discipline(server, word, label):
    first = filled(3)
    first[0], first[1] = 0, 4
    server.write(route("bodies"), bodies.npy(first))
    server.write(route("bodies", word), bodies.npy(filled(label)))
    changed, new = {"preserve": (first == 0, 9), "reduce": (first == 3, 0)}[word]
    expected = np.where(changed, new, first)
    np.testing.assert_array_equal(stored(server, "bodies"), expected)
