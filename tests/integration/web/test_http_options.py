"""Options of ndstore's cutouts: window, filter, near-isotropic data, resolutions, odd URLs."""

import numpy as np
import pytest
from PIL import Image

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.space.pyramid import Scaling
from tests.support import bodies
from tests.support.app import BOX, SHAPE, Server, assert_problem, serving
from tests.support.bodies import Array, from_hdf5, from_npz, noise

ISO = Dataset(
    "iso", (256, 128, 64), offset_xyz=(8, 4, 16), scaling=Scaling.ISOTROPIC, scalinglevels=4
)
SLICED = Dataset("sliced", (256, 128, 64), offset_xyz=(8, 4, 16), scalinglevels=4)
BASE = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("options")) as server:
        for dataset in (ISO, SLICED):
            server.add_volume(
                dataset,
                Channel("", "em", ChannelType.IMAGE, DataType.UINT8, resolution=BASE),
                Channel("", "labels", ChannelType.ANNOTATION, DataType.UINT32, resolution=BASE),
                Channel(
                    "", "built", ChannelType.IMAGE, DataType.UINT8, resolution=BASE, propagate=2
                ),
            )
        yield server


@pytest.fixture(scope="module")
def labels(server):
    voxels = noise((1, *SHAPE), "uint32") % 7
    server.write(f"/sd/open/labels/npz/{BOX}", bodies.npz(voxels.astype("u4")))
    return voxels


@pytest.fixture(scope="module")
def movie(server):
    voxels = noise((1, *SHAPE), "uint16")
    server.write(f"/sd/open/movie/npz/{BOX}", bodies.npz(voxels))
    return voxels


def test_a_window_maps_a_range_of_values_to_bytes(server, movie):
    low, high = 1000, 31000
    body = server.read(f"/sd/open/movie/npz/{BOX}window/{low},{high}/")
    scaled = (np.clip(movie.astype("f8"), low, high) - low) * 255 / (high - low)
    read = from_npz(body)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, np.floor(scaled))
    raw = server.read(f"/sd/open/movie/raw/{BOX}window/{low},{high}/")
    assert raw == read.tobytes()
    wrapped = from_npz(server.read(f"/sd/open/movie/npz/{BOX}window/0,0/"))
    np.testing.assert_array_equal(wrapped, movie.astype("u1"))


def test_a_filter_keeps_the_labels_it_lists(server, labels):
    wanted = np.where(np.isin(labels, (2, 5)), labels, 0)
    body = server.read(f"/sd/open/labels/npz/{BOX}filter/2,5,4294967299/")
    np.testing.assert_array_equal(from_npz(body), wanted)
    body = server.read(f"/sd/open/labels/hdf5/{BOX}filter/5/")
    np.testing.assert_array_equal(from_hdf5(body, "labels"), np.where(labels[0] == 5, 5, 0))
    answer = server.get(f"/sd/open/em/npz/{BOX}filter/1/", "alice")
    assert_problem(answer, 404, "InvalidArgumentError")


def test_direct_and_aligned_change_nothing(server, movie):
    for option in ("direct/", "aligned/", "direct/aligned/"):
        body = server.read(f"/sd/open/movie/npz/{BOX}{option}")
        np.testing.assert_array_equal(from_npz(body), movie)


def test_near_isotropic_data_is_a_pyramid_of_its_own(server):
    """At resolution 1 of ``brain`` a voxel is 8 nm wide and 3 deep: three slices are one."""
    near, plain = noise((1, 12, 32, 64)), noise((1, 12, 32, 64), seed=1)
    path = "/sd/open/em2/npz/1/10,74/20,52/2,14/"
    server.write(f"{path}neariso/", bodies.npz(near))
    assert not from_npz(server.read(path)).any()
    server.write(path, bodies.npz(plain))
    np.testing.assert_array_equal(from_npz(server.read(f"{path}neariso/")), near)
    np.testing.assert_array_equal(from_npz(server.read(path)), plain)
    assert_problem(
        server.get("/sd/open/em2/npz/1/10,74/20,52/2,15/neariso/", "alice"), 404, "OutOfBoundsError"
    )


@pytest.mark.parametrize(
    "tail", ["3,5", "3,5neariso/", "neariso", "window/0,9", "0,0/", "filter/1"]
)
def test_options_without_their_slash_are_ignored(server, movie, tail):
    """ndio sends ``…/0,1`` and ``…/0,1neariso/`` and depends on a 3-D answer."""
    body = server.read(f"/nd//sd/open/movie/hdf5/{BOX}{tail}")
    np.testing.assert_array_equal(from_hdf5(body, "movie"), movie[0])


def test_an_upload_at_times_0_0_has_no_time(server):
    """ndio under Python 2 appended it to every blosc upload."""
    voxels = noise((1, *SHAPE), "uint16", seed=3)
    server.write(f"/sd/open/movie/blosc/{BOX}0,0/", bodies.packed(voxels))
    np.testing.assert_array_equal(from_npz(server.read(f"/sd/open/movie/npz/{BOX}")), voxels)
    server.write(f"/sd/open/movie/blosc/{BOX}", bodies.packed(noise((1, *SHAPE), "uint16")))


@pytest.mark.parametrize("start", ["/sd/", "/ca/", "/nd/sd/", "/ocp/ca/", "//nd/nd/sd//"])
def test_the_many_spellings_of_a_path_reach_one_view(server, movie, start):
    for end in ("", "/", "//"):
        body = server.read(f"{start}open/movie/npz/{BOX.rstrip('/')}{end}", None)
        np.testing.assert_array_equal(from_npz(body), movie)


def stored_at_base(server: Server, token: str, channel: str, dtype: str) -> Array:
    """Fill level 2, whose offset is 2 in x, 1 in y and 4 or 16 in z; give it (z, y, x)."""
    depth, z = (16, 4) if token == "iso" else (64, 16)
    voxels = noise((depth, 32, 64), dtype)
    if channel == "labels":  # a row of the index each
        voxels = np.random.default_rng(1).choice(voxels[0, 0, :24], voxels.shape)
    server.write(
        f"/sd/{token}/{channel}/npz/{BASE}/2,66/1,33/{z},{z + depth}/", bodies.npz(voxels[None])
    )
    return voxels


def whole(server: Server, token: str, channel: str, resolution: int) -> Array:
    level = {"iso": ISO, "sliced": SLICED}[token].pyramid.level(resolution)
    ranges = "/".join(
        f"{start},{start + size}"
        for start, size in zip(level.offset_xyz, level.imagesize_xyz, strict=True)
    )
    voxels: Array = from_npz(server.read(f"/sd/{token}/{channel}/npz/{resolution}/{ranges}/"))[0]
    return voxels


@pytest.mark.parametrize(("channel", "dtype"), [("em", "uint8"), ("labels", "uint32")])
def test_finer_levels_than_were_acquired_repeat_voxels(server, channel, dtype):
    voxels = stored_at_base(server, "sliced", channel, dtype)
    for resolution in (0, 1):
        factor = 1 << (BASE - resolution)
        wanted = voxels.repeat(factor, axis=1).repeat(factor, axis=2)
        np.testing.assert_array_equal(whole(server, "sliced", channel, resolution), wanted)
    voxels = stored_at_base(server, "iso", channel, dtype)
    wanted = voxels.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(whole(server, "iso", channel, 1), wanted)


def test_coarser_levels_of_an_image_are_pillows_nearest_until_propagated(server):
    voxels = stored_at_base(server, "sliced", "em", "uint8")
    for resolution, size in ((3, (32, 16)), (4, (16, 8))):
        wanted = [
            np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.NEAREST))
            for plane in voxels
        ]
        np.testing.assert_array_equal(whole(server, "sliced", "em", resolution), wanted)


def test_coarser_levels_of_labels_are_every_second_voxel(server):
    voxels = stored_at_base(server, "sliced", "labels", "uint32")
    np.testing.assert_array_equal(whole(server, "sliced", "labels", 3), voxels[:, ::2, ::2])


def test_levels_of_a_propagated_channel_are_read_as_they_are_stored(server):
    stored_at_base(server, "sliced", "built", "uint8")
    assert not whole(server, "sliced", "built", 3).any()
    level = noise((1, 64, 16, 32), seed=5)
    server.write("/sd/sliced/built/npz/3/1,33/0,16/16,80/", bodies.npz(level))
    np.testing.assert_array_equal(whole(server, "sliced", "built", 3), level[0])


def test_writing_a_level_writes_that_level_only(server):
    voxels = noise((1, *SHAPE), seed=6)
    server.write("/sd/open/em/npz/2/2,66/1,33/1,5/", bodies.npz(voxels))
    np.testing.assert_array_equal(from_npz(server.read("/sd/open/em/npz/2/2,66/1,33/1,5/")), voxels)
    assert not from_npz(server.read("/sd/open/em/npz/0/8,308/4,204/1,5/")).any()


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/sd/open/em/nii/"), ("POST", "/sd/open/em/nii/"), ("GET", "/sd/open/nii/"),
    ("GET", "/stats/open/em/hist/"), ("POST", "/stats/open/em/genhist/"),
    ("GET", "/sd/open/xy/0/10,50/20,50/6/"), ("GET", "/sd/open/em/xy/0/10,50/20,50/6/"),
    ("GET", "/nd/ca/open/jpeg/0/10,50/20,50/6,8/"), ("GET", "/sd/open/em/mcfc/xy/0/1,2/1,2/6/"),
    ("GET", "/synaptogram/open/em/"), ("DELETE", "/catmaid/open/7/"), ("GET", "/viz/open/em"),
    ("POST", "/views/open/em/"), ("POST", "/sd/open/labels/xyanno/"), ("GET", "/overlay/1/a/b/"),
])  # fmt: skip
def test_what_ndstore_has_and_this_server_has_not_does_not_exist(server, method, path):
    for user in ("alice", None):
        document = assert_problem(server.call(method, path, user), 404, "RouteNotFoundError")
        assert "No route has the path" in document["detail"]
