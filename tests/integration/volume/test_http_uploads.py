"""Bodies over 4 MiB where Lambda's limits hold: put ahead, then named by the request."""

import urllib.request
from contextlib import closing
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from ndlambda.client import RetryPolicy, connect
from ndlambda.client.transport.http import Answer, PooledTransport, Request
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.volume.transfers import PREFIX
from ndlambda.settings import LAMBDA_BODY_BYTES
from ndlambda.stores.aws import S3ObjectStore, create_bucket
from tests.support.app import QUERY, SHAPE, Server, assert_problem, serving, v1_cutout
from tests.support.bodies import from_npy, noise, npy, npz
from tests.support.fake_server import WsgiTransport
from tests.support.ramon_files import cutout, ramon_file

WIDE = Dataset("wide", (1024, 1024, 64))
UPLOADS = "/v1/projects/wide/channels/em/uploads"
LARGE = (5, 1024, 1024)
"""5 MiB of voxels."""
RAW = "application/octet-stream"
BODY_BYTES = 6 << 20


CHANNELS = (
    Channel("", "em", ChannelType.IMAGE, DataType.UINT8),
    Channel("", "em2", ChannelType.IMAGE, DataType.UINT8),
    Channel("", "labels", ChannelType.ANNOTATION, DataType.UINT32),
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """It takes bodies itself."""
    folder = tmp_path_factory.mktemp("uploads")
    with serving(folder, lambda_limits=True, max_body_bytes=BODY_BYTES) as server:
        server.add_volume(WIDE, *CHANNELS)
        yield server


def use(server: Server, name: str, query: str = QUERY, **sent: Any) -> TestResponse:
    return server.post(v1_cutout("wide", "em", f"{query}&upload={name}"), "alice", **sent)


def test_an_upload_is_used_once_and_only_where_it_was_taken(disk):
    name = upload(disk, noise(SHAPE).tobytes())
    assert_problem(use(disk, name, "x=0:3&y=0:3&z=0:1"), 400, "MalformedBodyError")
    assert_problem(use(disk, name, data=b"body"), 400, "InvalidArgumentError")
    assert use(disk, name).status_code == 200
    assert_problem(use(disk, name), 404, "UploadNotFoundError")


@pytest.fixture(scope="module")
def moto(aws_server):
    """Its store takes bodies."""
    aws_server.add_volume(WIDE, *CHANNELS)
    return aws_server


@pytest.fixture(params=["disk", "moto"])
def server(request):
    made: Server = request.getfixturevalue(request.param)
    return made


def announce(server: Server, size: int, media_type: str = RAW, path: str = UPLOADS) -> Any:
    answer = server.post(path, "alice", json={"media_type": media_type, "bytes": size})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.get_json()


def put(server: Server, made: dict[str, Any], body: bytes) -> None:
    """Put a body to the address that was given, with a key only where that is asked for."""
    assert made["method"] == "PUT"
    if made["with_key"]:
        answer = server.call("PUT", made["url"], "alice", data=body)
        assert answer.status_code == 204, answer.text
        return
    # A type of its own, for moto reads what urllib sends as a form.
    asked = urllib.request.Request(made["url"], body, {"Content-Type": RAW}, method="PUT")
    with urllib.request.urlopen(asked, timeout=10) as stored:
        assert stored.status == 200


def upload(server: Server, body: bytes, media_type: str = RAW, path: str = UPLOADS) -> str:
    made = announce(server, len(body), media_type, path)
    put(server, made, body)
    name: str = made["id"]
    return name


def kept(server: Server) -> list[str]:
    return [info.key for info in server.runtime.resources.objects.list(PREFIX)]


def test_a_body_over_the_limit_arrives_through_the_store(server):
    voxels = noise(LARGE)
    name = upload(server, voxels.tobytes())
    assert PREFIX + name in kept(server)
    server.write(v1_cutout("wide", "em", f"z=0:5&upload={name}"), b"")
    np.testing.assert_array_equal(read(server, "em", LARGE), voxels)
    assert PREFIX + name not in kept(server)


def read(server: Server, channel: str, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Read from the first voxel on, plane by plane: whole it would be a redirect."""
    planes = [
        from_npy(server.read(v1_cutout("wide", channel, f"z={z}:{z + 1}"))) for z in range(shape[0])
    ]
    return np.concatenate(planes)[:, : shape[1], : shape[2]]


def test_ndstores_route_takes_an_upload_too(disk):
    voxels = noise((1, *LARGE))
    body = npz(voxels)
    assert len(body) > LAMBDA_BODY_BYTES
    name = upload(disk, body, "product/npz", UPLOADS.replace("em", "em2"))
    disk.write(f"/sd/wide/em2/npz/0/0,1024/0,1024/0,5/?upload={name}", b"")
    np.testing.assert_array_equal(read(disk, "em2", LARGE), voxels[0])


def test_objects_and_masks_take_uploads_too(disk):
    path = UPLOADS.replace("em", "labels")
    file = ramon_file({"7": {"ANNOTATION_TYPE": 1, **cutout((0, 0, 0), np.ones(SHAPE))}})
    name = upload(disk, file, "product/hdf5", path)
    disk.write(f"/sd/wide/labels/?upload={name}", b"")
    mask = np.ones((1, 8, 8), bool)
    name = upload(disk, npy(mask), "application/x-npy", path)
    at = "/v1/projects/wide/channels/labels/annotations/7"
    disk.write(f"{at}/cutout?x=100:108&y=0:8&z=0:1&upload={name}", b"")
    points = np.array([[200, 1, 2]], np.uint32)
    name = upload(disk, npy(points), "application/x-npy", path)
    disk.write(f"{at}/voxels?upload={name}", b"")
    found = from_npy(disk.read(f"{at}/voxels"))
    assert len(found) == np.prod(SHAPE) + mask.size + 1
    assert PREFIX + name not in kept(disk)


def test_an_upload_is_for_one_user_and_one_channel(disk):
    """Seen to fail with the comparison in ``Uploads.find`` taken out."""
    name = upload(disk, noise(SHAPE).tobytes())
    for channel, user in (("em2", "alice"), ("em", "admin")):
        answer = disk.post(v1_cutout("wide", channel, f"{QUERY}&upload={name}"), user)
        assert_problem(answer, 404, "UploadNotFoundError")
        answer = disk.call("PUT", f"/v1/projects/wide/channels/{channel}/uploads/{name}", user)
        assert_problem(answer, 404, "UploadNotFoundError")
    answer = disk.post(f"/sd/wide/em2,em/npz/0/0,8/0,8/0,1/?upload={name}", "alice")
    assert_problem(answer, 404, "UploadNotFoundError")
    assert use(disk, name).status_code == 200


@pytest.mark.parametrize("name", ["x", "x" * 43, "../em", "", "0" * 2000])
def test_names_of_no_upload_are_not_found(disk, name):
    assert_problem(use(disk, name), 404, "UploadNotFoundError")


def test_what_was_announced_and_did_not_come_is_not_found(server):
    assert_problem(use(server, announce(server, 10)["id"]), 404, "UploadNotFoundError")


@pytest.mark.parametrize(("changes", "status", "error"), [
    *(
        (wrong, 422, "ValidationError")
        for wrong in (
            {"bytes": None}, {"bytes": 0}, {"bytes": True}, {"bytes": "9"}, {"media_type": 3},
            {"key": "other/object"},
        )
    ),
    ({"media_type": "text/html"}, 415, "UnsupportedMediaTypeError"),
    ({"bytes": BODY_BYTES + 1}, 413, "PayloadTooLargeError"),
])  # fmt: skip
def test_an_announcement_is_checked(disk, changes, status, error):
    with disk.unchanged():
        asked = {"media_type": RAW, "bytes": 9} | changes
        asked = {name: value for name, value in asked.items() if value is not None}
        assert_problem(disk.post(UPLOADS, "alice", json=asked), status, error)


def test_a_body_longer_than_its_box_could_need_is_refused_unread(disk):
    name = announce(disk, BODY_BYTES)["id"]  # never put: reading it would be a 404
    assert_problem(use(disk, name), 413, "PayloadTooLargeError")


@pytest.mark.parametrize("length", [9, 11])
def test_our_own_address_takes_the_length_that_was_announced(server, length):
    made = announce(server, 10)
    own = f"{UPLOADS}/{made['id']}"
    answer = server.call("PUT", own, "alice", data=b"x" * length)
    assert answer.status_code == (413 if length > 10 else 400), answer.text
    assert server.call("PUT", own, "alice", data=b"x" * 10).status_code == 204


def test_the_client_uploads_what_the_server_does_not_take(server):
    """A block of noise goes through the store in one piece; one that shrinks does not."""
    retry = RetryPolicy(sleep=lambda _: None)
    key = server.keys["alice"]
    voxels = noise((20, 512, 512))
    with closing(StoreTransport(server.app)) as transport:
        client = connect("http://nd.test", key, transport=transport, retry=retry)
        volume = client.volume("wide", "em")
        volume[30:50, :512, :512] = voxels
        assert transport.methods == ["GET", "GET", "POST", "PUT", "POST"]
        volume[30:50, 512:, 512:] = np.full((20, 512, 512), 7, np.uint8)
        assert transport.methods[5:] == ["POST"]
        assert np.array_equal(volume[30:50, :512, :512], voxels)


class StoreTransport(WsgiTransport):
    """The way to the application, and to what it gives the address of."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.methods: list[str] = []
        self._outside = PooledTransport()

    def send(self, request: Request) -> Answer:
        self.methods.append(request.method)
        inside = request.url.startswith("http://nd.test/")
        return super().send(request) if inside else self._outside.send(request)

    def close(self) -> None:
        self._outside.close()


def test_a_length_that_was_not_announced_is_refused_on_use(tmp_path):
    """A store may not look at the signed length (moto does not). The body is right for the box.
    Seen to fail without the look at its length in ``Uploads.read``."""
    with serving(tmp_path) as server:
        server.add_volume(WIDE, Channel("", "em", ChannelType.IMAGE, DataType.UINT8))
        body = noise(SHAPE).tobytes()
        made = announce(server, len(body) - 1)
        (tmp_path / "objects" / "uploads").mkdir()
        (tmp_path / "objects" / "uploads" / made["id"]).write_bytes(body)
        assert_problem(use(server, made["id"]), 400, "MalformedBodyError")


def test_a_real_s3_server_takes_the_signed_length_only(seaweed_config):
    create_bucket(seaweed_config, "uploads-signed")
    store = S3ObjectStore(seaweed_config, "uploads-signed")
    url = store.presign("put", "uploads/x", 60, 10)
    assert url is not None
    for wrong in (b"x" * 9, b"x" * 11):
        with pytest.raises(HTTPError) as refusal:
            urllib.request.urlopen(urllib.request.Request(url, wrong, method="PUT"), timeout=10)
        assert refusal.value.code == 403
        refusal.value.close()
    assert store.get("uploads/x") is None
    right = urllib.request.Request(url, b"x" * 10, method="PUT")
    with urllib.request.urlopen(right, timeout=10) as answer:
        assert answer.status == 200
