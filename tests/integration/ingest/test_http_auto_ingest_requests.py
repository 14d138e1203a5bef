"""autoIngest: what may be asked for, by whom, and where no request may lead."""

import re

import pytest

from ingest_queue.fetch.http_reader import HttpReader
from ingest_queue.fetch.remote import RemoteFiles
from ndlambda import errors
from tests.support import auto_ingest as auto
from tests.support.app import assert_problem, serving
from tests.support.http_jobs import work

URL = "http://brain.example"


@pytest.fixture(scope="module")
def unchanging(tmp_path_factory):
    """A server to which nothing is written."""
    with serving(tmp_path_factory.mktemp("server")) as made:
        yield made


def refused(server, doc):
    """Return the fields that are wrong with a request, which writes nothing."""
    with server.unchanged():
        answer = auto.post(server, doc, path="/v1/auto-ingest")
        problem = assert_problem(answer, 422, "ValidationError")
    return [each["field"] for each in problem["errors"]]


def assert_not_there(server, dataset, project):
    with pytest.raises(errors.DatasetNotFoundError):
        server.runtime.catalog.get_dataset(dataset)
    with pytest.raises(errors.ProjectNotFoundError):
        server.runtime.catalog.get_project(project)


def test_an_address_that_is_not_listed_is_a_fault_and_not_asked(tmp_path, web):
    web.slices()
    with serving(tmp_path / "data") as server:
        job = auto.begin(server, auto.request(web.url))
        work(server)
        assert auto.state(server, job) == "FAILED"
        assert "not on the internet" in auto.errors(server, job)[0]["error"]
    assert web.asked == []


NEVER_READ = """
    ftp://brain.example/ gopher://brain.example/ http://alice:secret@brain.example/
    http://brain.example/?x= brain.example file:///etc file://elsewhere/etc
    s3://lab.data.with.dots/x s3://evil.example#/x
"""


@pytest.mark.parametrize("url", NEVER_READ.split())
def test_an_address_that_is_never_read_is_refused_at_once(unchanging, url):
    assert refused(unchanging, auto.request(url)) == ["channels.em.data_url"]


def test_files_are_read_under_their_roots_only(tmp_path):
    """Neither by dots, nor by links, nor from pipes."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside, tmp_path / "root-of-another"):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"abc")
    (root / "link").symlink_to(outside)
    (root / "link.png").symlink_to(outside / "a.png")
    files = RemoteFiles(HttpReader(), [root])
    assert files.read((root / "a.png").as_uri(), 3) == b"abc"
    outside_of_it = "../outside/a.png", "../root-of-another/a.png", "%2e%2e/outside/a.png"
    for path in ("link/a.png", "link.png", *outside_of_it):
        with pytest.raises(errors.PermissionDeniedError):
            files.read(f"{root.as_uri()}/{path}", 10)
    with pytest.raises(errors.PermissionDeniedError):
        RemoteFiles(HttpReader()).read((root / "a.png").as_uri(), 10)


def test_all_that_is_wrong_is_said_at_once(unchanging):
    doc = auto.request(URL, datatype="uint13", file_type="gif", surprise=1)
    doc["dataset"] |= {"imagesize": [1, 2], "dataset_name": 3}
    del doc["project"]["project_name"]
    doc["channels"]["other"] = 7
    wrong = {"dataset.imagesize", "dataset.dataset_name", "project.project_name", "channels.other"}
    wrong |= {"channels.em.file_type", "channels.em.surprise"}
    assert set(refused(unchanging, doc)) == wrong
    assert auto.said(unchanging, doc).startswith("FAILED. There was an error in the information")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"datatype": "uint13"}, "channels.em.datatype"),
        ({"channel_name": "two words"}, "channels.em"),
        ({"channel_type": "timeseries"}, "channels.em.timerange"),
        ({"readonly": 1}, "channels.em.readonly"),
        ({"channel_type": "annotation", "datatype": "uint32", "file_type": "jpg"}, None),
        ({"file_format": "CATMAID", "datatype": "float32"}, "channels.em.file_format"),
        ({"dataset": {"dataset_name": "a-b"}}, "dataset"),
        ({"project": {"token_name": "a.b"}}, "project.token_name"),
    ],
)
def test_what_cannot_be_is_refused(unchanging, change, field):
    assert refused(unchanging, auto.request(URL, **change)) == [field or "channels.em.file_type"]


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b"{}", b'{"dataset": {}}'])
def test_bodies_that_are_no_request_are_400(unchanging, body):
    assert auto.text(unchanging.post("/sd/autoIngest/", "alice", data=body))
    answer = unchanging.post("/v1/auto-ingest", "alice", data=body)
    assert_problem(answer, 400, "MalformedBodyError")


def test_a_part_that_is_missing_is_told_in_ndstores_words(unchanging):
    doc = auto.request(URL)
    del doc["metadata"]
    assert auto.said(unchanging, doc) == (
        "Missing required fields of dataset, project, channels, metadata. Please check if one of "
        "them is not missing."
    )


@pytest.mark.parametrize(
    ("size", "levels"),
    [([2000, 2000, 2], 1), ([1000, 1000, 2], 0), ([9000, 9000, 2], 4), ([9000, 400, 2], 0)],
)
def test_levels_are_ndstores_where_none_are_asked_for(disk, size, levels):
    auto.assert_taken(disk, auto.request(URL, dataset={"imagesize": size}))
    assert disk.runtime.catalog.get_dataset("ds").scalinglevels == levels


def test_what_is_there_is_used_and_other_things_are_not_overwritten(disk):
    auto.assert_taken(disk, auto.request(URL))
    auto.assert_taken(disk, auto.request(URL, channel_name="second"))
    with disk.unchanged():
        assert auto.said(disk, auto.request(URL)) == (
            "Channel em already exists. Please choose a different channel name."
        )
        said = auto.said(disk, auto.request(URL, dataset={"imagesize": [9, 9, 9]}))
        assert said.startswith(
            "Dataset ds already exists and is different then the chosen dataset. Please choose a "
            "different dataset name ("
        )
        assert re.search(r"zimagesize is \d+, not 9", said)
    assert auto.said(disk, auto.request(URL, dataset={"dataset_name": "ds2"})) == (
        "Project pj already exists. Please choose a different project name"
    )
    assert auto.said(disk, auto.request(URL, project={"project_name": "pj3"})) == (
        "Token tk already exists. Please choose a different token name."
    )
    assert_not_there(disk, "ds2", "pj3")


def test_a_private_token_is_not_taken_for_a_public_one(disk):
    """Seen to fail: the request was accepted, and the token stayed private without a word."""
    auto.assert_taken(disk, auto.request(URL, project={"public": 0}))
    again = auto.request(URL, channel_name="second", project={"public": 1})
    with disk.unchanged():
        assert auto.said(disk, again) == "Token tk exists and is private, not public."


def test_other_peoples_things_are_not_filled(disk):
    auto.assert_taken(disk, auto.request(URL))
    doc = auto.request(URL, channel_name="theirs")
    with disk.unchanged():
        assert auto.said(disk, doc, "bob") == "This name is taken."
    auto.assert_taken(disk, doc, "admin")


def test_a_request_that_fails_half_way_leaves_nothing(tmp_path):
    """The second channel is a job too many. Seen to fail when nothing is taken back."""
    with serving(tmp_path / "data", max_ingest_user_jobs=1) as server:
        doc = auto.request(URL)
        doc["channels"]["more"] = auto.channel(URL, channel_name="more")
        assert_problem(auto.post(server, doc), 429, "QuotaExceededError")
        assert_not_there(server, "ds", "pj")
        with pytest.raises(errors.TokenNotFoundError):
            server.runtime.catalog.project_view("tk", fresh=True)
        states = {job["state"] for job in server.get("/v1/ingest", "alice").get_json()["jobs"]}
        assert states == {"CANCELLED"}
        del doc["channels"]["more"]
        auto.assert_taken(server, doc)


def test_anonymous_users_may_where_the_server_lets_them_write(tmp_path, unchanging):
    assert_problem(auto.post(unchanging, auto.request(URL), None), 403, "AuthenticationError")
    with serving(tmp_path / "open", anonymous_write=True) as server:
        auto.assert_taken(server, auto.request(URL), None)
        assert server.runtime.catalog.get_dataset("ds").user_id == 0
