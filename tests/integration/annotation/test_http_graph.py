"""Synapse graphs over HTTP, ndstore's way and ours, and through the Python client and command."""

import numpy as np
import pytest

from ndlambda.client import Client, RetryPolicy, connect
from ndlambda.errors import UnknownNameError
from ndlambda.model.ramon import Segment, Synapse
from ndlambda.services.annotation import graph as module
from ndlambda.wire.graph import formats
from tests.contract.annotations.words import edges_of
from tests.support import bodies
from tests.support.app import BOX, SHAPE, Server, assert_problem, run_command, serving
from tests.support.fake_server import URL, WsgiTransport
from tests.support.stored_objects import store

SYNAPSES = (
    Synapse(11, weight=0.5, confidence=0.25, segments=(101, 102)),
    Synapse(12, segments=(102, 101), presegments=(102,), postsegments=(101, 103)),
    Synapse(13, presegments=(103,), postsegments=(101,)),
    Synapse(14, segments=(101, 102, 103)),
    Synapse(15),
)
V1 = "/v1/projects/{}/channels/labels/graph"
LEGACY = "/ndgraph/{}/labels"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """``SYNAPSES``; 11 and 14 lie at x 10 to 42 of the box, 12 and a segment beside them."""
    with serving(tmp_path_factory.mktemp("graph")) as server:
        channel = server.runtime.catalog.get_channel("pr", "labels")
        segments = (Segment(number) for number in (101, 102, 103))
        store(server.runtime.annotation, channel, *SYNAPSES, *segments)
        labels = np.zeros(SHAPE, "<u4")
        labels[0, 0, :16], labels[1, 3, 16:32] = 11, 14
        labels[2, :, 32:], labels[3] = 12, 101
        server.write(f"/sd/closed/labels/npz/{BOX}", bodies.npz(labels[np.newaxis]))
        yield server


def client(server: Server) -> Client:
    transport = WsgiTransport(server.app)
    return connect(URL, server.keys["alice"], transport=transport, retry=RetryPolicy(attempts=1))


ALL = [(101, 102, 11), (101, 102, 12), (101, 103, 13)]


@pytest.mark.parametrize("path", ["/ndgraph/{}/labels/", "/nd/ndgraph/{}/labels", V1])
def test_all_synapses_between_two_segments_are_edges(server, path):
    answer = server.get(path.format("closed"), "alice")
    assert answer.status_code == 200
    assert edges_of(answer.data) == ALL
    assert answer.headers["Content-Disposition"] == "attachment; filename=output.graphml"
    assert answer.headers["X-NDLambda-Skipped"] == "14,15"
    assert answer.headers["X-NDLambda-Skipped-Count"] == "2"
    assert b"14,15" in answer.data


def test_a_path_may_name_a_box_behind_the_format(server):
    for path in ("10,42/20,52/5,8", "graphml/10,42/20,52/5,8"):
        answer = server.get(f"{LEGACY.format('open')}/{path}/")
        assert edges_of(answer.data) == [(101, 102, 11)]
        assert answer.headers["X-NDLambda-Skipped"] == "14"
    answer = server.get(f"{V1.format('open')}?direction=pre-post&x=10:42&y=20:52&z=5:8")
    assert answer.headers["X-NDLambda-Skipped"] == "11,14"


def test_edges_say_what_the_synapse_says(server):
    network = client(server).graph("closed", "labels").network()
    said = {"weight": 0.5, "confidence": 0.25, "synapse_type": 0, "status": 0}
    assert network.edges[101, 102, "11"] == {"synapse": 11, **said}
    assert network.graph == {"skipped": "14,15"}
    with pytest.raises(UnknownNameError, match="graphml"):
        client(server).graph("closed", "labels").text("dot")


BAD_LEGACY = {
    "UnknownNameError": ("gpickle/", "yaml/"),
    "PathSyntaxError": (
        "graphml/gml/", "graphml/1,2/", "1,2/3,4/", "a,b/3,4/5,6/", "10,74/20,52/5,9/0,1/",
        "10,99999999999999999999/20,52/5,9/",
    ),
    "EmptyBoxError": ("10,10/20,52/5,9/", "10,9/20,52/5,9/"),
    "OutOfBoundsError": ("10,9999/20,52/5,9/",),
}  # fmt: skip
BAD_V1 = {
    "UnknownNameError": ("format=gpickle", "format=", "direction=post-pre"),
    "InvalidArgumentError": ("x=1", "x=10:20&x=10:20", "resolution=1", "colour=red"),
    "EmptyBoxError": ("x=20:10",),
    "OutOfBoundsError": ("z=5:500",),
}


def test_bad_paths_and_queries_are_refused(server):
    for error, several in BAD_LEGACY.items():
        for wanted in several:
            assert_problem(server.get(f"{LEGACY.format('open')}/{wanted}"), 404, error)
    for error, several in BAD_V1.items():
        for query in several:
            status = 404 if error == "UnknownNameError" else 400
            assert_problem(server.get(f"{V1.format('open')}?{query}"), status, error)


def test_every_format_is_given_and_other_words_mean_graphml(server):
    for name, written in formats().items():
        ours = server.get(f"{V1.format('open')}?format={name}")
        assert (ours.status_code, ours.mimetype) == (200, written.content_type)
        legacy = server.get(f"{LEGACY.format('open')}/{name}/")
        assert (legacy.status_code, legacy.mimetype) == (200, "text/plain")
        disposition = f"attachment; filename=output.{name}"
        assert legacy.headers["Content-Disposition"] == disposition
        assert legacy.data[:20] == ours.data[:20]
    answer = server.get(f"{LEGACY.format('open')}/dot/")
    assert edges_of(answer.data) == ALL
    assert answer.headers["Content-Disposition"].endswith("output.graphml")


def test_more_connections_than_one_graph_has_are_refused(server, monkeypatch):
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 5)
    assert server.get(V1.format("open")).status_code == 200
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 4)
    assert_problem(server.get(V1.format("open")), 413, "PayloadTooLargeError")


def test_the_command_writes_a_graph_in_a_format(server, tmp_path):
    out = tmp_path / "graph.txt"
    words = "graph --token closed --channel labels --box 10:26,20:21,5:6 --format edgelist -o"
    result = run_command(server, *words.split(), out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert len(out.read_text().splitlines()) == 1
