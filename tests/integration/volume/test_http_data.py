"""ndstore's cutouts over HTTP, on files and on AWS's look-alike: what goes in comes out."""

import zlib
from itertools import count
from typing import Any

import numpy as np
import pytest

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import COMBINATIONS, ChannelType, DataType
from tests.support import bodies
from tests.support.app import BOX, SHAPE, Server, server_fixture, v1_cutout
from tests.support.bodies import Array, from_hdf5, from_npy, from_npz, noise, unpacked

NUMBERS = count()


files = server_fixture()


@pytest.fixture(params=["files", "aws_server"])
def server(request):
    made: Server = request.getfixturevalue(request.param)
    return made


def new_token(server: Server, *channels: Channel) -> str:
    """Return a token of channels that nobody wrote to."""
    name = f"volume{next(NUMBERS)}"
    server.add_volume(Dataset(name, (300, 200, 40), offset_xyz=(8, 4, 1)), *channels)
    return name


def channel(
    name: str = "em",
    datatype: DataType = DataType.UINT8,
    kind: ChannelType = ChannelType.IMAGE,
    **more: Any,
) -> Channel:
    return Channel("", name, kind, datatype, **more)


def assert_round_trips(server: Server, kind: ChannelType, datatype: DataType) -> None:
    """Upload by each format, download each by all."""
    token = new_token(server, *(channel(name, datatype, kind) for name in ("a", "b", "c")))
    voxels = noise(SHAPE, datatype)
    if kind is ChannelType.ANNOTATION:  # a row of the index each: few labels, over the whole range
        voxels = np.random.default_rng(1).choice(voxels[0, 0, :24], SHAPE)
    uploads = {
        f"/sd/{token}/a/npz/{BOX}": bodies.npz(voxels[np.newaxis]),
        f"/sd/{token}/b/blosc/{BOX}": bodies.packed(voxels[np.newaxis]),
        f"/sd/{token}/c/hdf5/{BOX}": bodies.hdf5({"c": voxels}),
    }
    for path, body in uploads.items():
        answer = server.post(path, "alice", data=body)
        assert (answer.status_code, answer.text) == (200, "Success")
        assert answer.content_type == "text/html"
    for name in "abc":
        path = f"/sd/{token}/{name}"
        read: dict[str, Array] = {
            "npz": from_npz(server.read(f"{path}/npz/{BOX}"))[0],
            "blosc": unpacked(server.read(f"{path}/blosc/{BOX}"))[0],
            "hdf5": from_hdf5(server.read(f"{path}/hdf5/{BOX}"), name),
        }
        for array in read.values():
            assert array.dtype == np.dtype(datatype)
            np.testing.assert_array_equal(array, voxels)
        assert server.read(f"{path}/raw/{BOX}") == voxels.tobytes()
        assert zlib.decompress(server.read(f"{path}/zip/{BOX}")) == voxels.tobytes()


COMBINED = [
    (kind, datatype)
    for kind in (ChannelType.IMAGE, ChannelType.TIMESERIES, ChannelType.ANNOTATION)
    for datatype in DataType
    if datatype in COMBINATIONS[kind]
]


@pytest.mark.parametrize(("kind", "datatype"), COMBINED, ids=map("-".join, COMBINED))
def test_every_format_gives_back_what_every_format_took(files, kind, datatype):
    assert_round_trips(files, kind, datatype)


def test_images_and_labels_round_trip_in_both_stores(server):
    assert_round_trips(server, ChannelType.IMAGE, DataType.UINT8)
    assert_round_trips(server, ChannelType.ANNOTATION, DataType.UINT64)


def test_several_channels_are_stacked_in_the_order_of_the_path(files):
    token = new_token(files, channel("a"), channel("b"))
    voxels = noise((2, *SHAPE))
    files.write(f"/sd/{token}/b,a/npz/{BOX}", bodies.npz(voxels))
    np.testing.assert_array_equal(
        unpacked(files.read(f"/sd/{token}/a,b/blosc/{BOX}")), voxels[::-1]
    )
    assert files.read(f"/sd/{token}/b,a/raw/{BOX}") == voxels.tobytes()
    body = files.read(f"/sd/{token}/a,b/hdf5/{BOX}")
    np.testing.assert_array_equal(from_hdf5(body, "a"), voxels[1])
    np.testing.assert_array_equal(from_hdf5(body, "b"), voxels[0])


def test_a_time_range_keeps_the_time_axis_and_none_drops_it(files):
    movie = channel("movie", DataType.UINT16, ChannelType.TIMESERIES, starttime=2, endtime=6)
    token = new_token(files, movie)
    path = f"/sd/{token}/movie"
    voxels = noise((1, 3, *SHAPE), "uint16")
    files.write(f"{path}/npz/{BOX}2,5/", bodies.npz(voxels))
    for service, decode in (("npz", from_npz), ("blosc", unpacked)):
        np.testing.assert_array_equal(decode(files.read(f"{path}/{service}/{BOX}2,5/")), voxels)
        one = decode(files.read(f"{path}/{service}/{BOX}3,4/"))
        np.testing.assert_array_equal(one, voxels[:, 1:2])
        first = decode(files.read(f"{path}/{service}/{BOX}"))
        np.testing.assert_array_equal(first, voxels[:, 0])
    np.testing.assert_array_equal(
        from_hdf5(files.read(f"{path}/hdf5/{BOX}4,5/"), "movie"), voxels[0, 2:3]
    )
    assert files.read(f"{path}/raw/{BOX}4,5/") == voxels[0, 2].tobytes()


def test_unaligned_boxes_join_across_supercuboids(server):
    """Two boxes over the eight cuboids at a corner where supercuboids of 256 x 256 x 32 meet."""
    token = new_token(server, channel())
    whole = np.zeros((40, 200, 300), "u1")
    for seed, (x, y, z) in enumerate(((240, 90, 20), (250, 100, 28))):
        voxels = noise((1, 12, 60, 40), seed=seed)
        server.write(
            f"/sd/{token}/em/npz/0/{x + 8},{x + 48}/{y + 4},{y + 64}/{z + 1},{z + 13}/",
            bodies.npz(voxels),
        )
        whole[z : z + 12, y : y + 60, x : x + 40] = voxels[0]
    read = from_npy(server.read(v1_cutout(token, "em", "")))
    np.testing.assert_array_equal(read, whole)


def test_names_too_long_to_exist_are_no_fault_of_the_store(server):
    """DynamoDB takes keys of 2048 and 1024 bytes, S3 one of 1024."""
    for length in (300, 1025, 2049, 8000):
        name = "n" * length
        for method, path in (
            ("GET", f"/sd/{name}/info/"),
            ("GET", f"/sd/{name}/em/npz/{BOX}"),
            ("GET", v1_cutout(name, "em")),
            ("GET", f"/v1/datasets/{name}"),
            ("GET", f"/v1/results/{name}"),
            ("GET", f"/resource/dataset/brain/project/pr/channel/{name}"),
            ("DELETE", f"/v1/users/{name}"),
            ("DELETE", f"/resource/dataset/brain/project/{name}"),
        ):
            answer = server.call(method, path, "admin")
            assert answer.status_code in {400, 403, 404}, (path, answer.text)
            assert answer.content_type == "application/problem+json"
