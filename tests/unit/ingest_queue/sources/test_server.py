import numpy as np
import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from ingest_queue.sources import Options, open_source
from ingest_queue.sources import server as source_module
from ndlambda.errors import (
    InvalidArgumentError,
    MalformedBodyError,
    UnknownNameError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.settings import Settings
from ndlambda.wire.codecs.npy_array import encode_npy
from tests.support.app import Server, v1_cutout
from tests.support.stacks import stack
from tests.support.stub_server import Answer, running, stub_server


class Quiet(WSGIRequestHandler):
    def log(self, *args, **kwargs):
        """Say nothing on stderr."""


def listening(app):
    return running(make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet))


@pytest.fixture
def server(tmp_path):
    """A server with the public dataset ``ds``: 90x50x20 voxels from (5, 6, 7) on."""
    server = Server(Settings(data=tmp_path))
    server.add_volume(
        Dataset(
            "ds",
            imagesize_xyz=(90, 50, 20),
            offset_xyz=(5, 6, 7),
            voxelres_xyz=(4.0, 4.0, 30.0),
            scalinglevels=1,
        ),
        Channel("", "em", ChannelType.IMAGE, DataType.UINT8),
        Channel("", "cells", ChannelType.ANNOTATION, DataType.UINT32),
        Channel("", "movie", ChannelType.TIMESERIES, DataType.UINT16, starttime=3, endtime=5),
    )
    yield server
    server.runtime.close()


def fill(server, channel, dtype, times=""):
    array = np.random.default_rng(3).integers(1, 250, (20, 50, 90)).astype(dtype)
    query = f"x=5:95&y=6:56&z=7:27{times}"
    body = encode_npy(array[None] if times else array)
    path = v1_cutout("ds", channel, query)
    server.write(path, body, headers={"Content-Type": "application/x-npy"})
    return array


@pytest.mark.parametrize(("channel", "dtype"), [("em", np.uint8), ("cells", np.uint32)])
def test_a_channel_of_another_server_is_read_by_cutouts(server, monkeypatch, channel, dtype):
    monkeypatch.setattr(source_module, "_PIECE_ZYX", (8, 32, 64))
    array = fill(server, channel, dtype)
    with listening(server.app) as url:
        source = open_source(f"{url}/sd/ds/{channel}/")
        assert source.voxelres_xyz == (4.0, 4.0, 30.0)
        assert np.array_equal(stack(source)[0], array)
        assert np.array_equal(source.read(0, 7, 8)[0], array[7])


def test_time_points_and_resolutions_are_read(server):
    array = fill(server, "movie", np.uint16, times="&t=4:5")
    with listening(server.app) as url:
        source = open_source(f"{url}/nd/ca/ds/movie")
        assert source.shape_tzyx == (2, 20, 50, 90)
        whole = stack(source)
        assert not whole[0].any()
        assert np.array_equal(whole[1], array)
        coarse = open_source(f"{url}/sd/ds/em/", Options(level=1))
        assert coarse.shape_tzyx == (1, 20, 25, 45)
        assert coarse.voxelres_xyz == (8.0, 8.0, 30.0)
        with pytest.raises(InvalidArgumentError, match="resolutions 0, 1, not 2"):
            open_source(f"{url}/sd/ds/em/", Options(level=2))


def test_unknown_tokens_and_channels_and_other_servers_are_refused(server):
    with listening(server.app) as url:
        with pytest.raises(UnknownNameError, match="cells, em, movie"):
            open_source(f"{url}/sd/ds/none/")
        with pytest.raises(InvalidArgumentError, match="name a public token"):
            open_source(f"{url}/sd/none/em/")
    with pytest.raises(UnknownNameError, match="http://host/sd/token/channel/"):
        open_source(f"{url}/index.html")


def test_an_info_document_of_something_else_is_refused():
    answer = Answer(body=b'{"channels": {"em": {}}}')
    with (
        stub_server([answer]) as stub,
        pytest.raises(MalformedBodyError, match="cannot be read"),
    ):
        open_source(f"{stub.endpoint}/sd/ds/em/")
