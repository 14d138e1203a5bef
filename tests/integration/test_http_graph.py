"""Synapse graphs over HTTP, ndstore's way and ours, and through the Python client and command."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from click.testing import CliRunner

from ndlambda.cli import main
from ndlambda.client import Client, RetryPolicy, connect
from ndlambda.errors import OutOfBoundsError, UnknownNameError
from ndlambda.model.ramon import Segment, Synapse
from ndlambda.services.annotation import graph as module
from ndlambda.space.box import Box
from ndlambda.wire.graph import formats
from tests.support import bodies
from tests.support.app import BOX, SHAPE, Server, assert_problem, serving
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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
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


def edges(body: bytes) -> list[tuple[int, int, int]]:
    """Return source, target and synapse of each edge of GraphML, sorted by synapse."""
    network = nx.read_graphml(BytesIO(body), node_type=int, force_multigraph=True)
    found = [(u, v, d["synapse"]) for u, v, d in network.edges(data=True)]
    if not network.is_directed():
        found = [(min(u, v), max(u, v), synapse) for u, v, synapse in found]
    return sorted(found, key=lambda edge: (edge[2], edge))


ALL = [(101, 102, 11), (101, 102, 12), (101, 103, 13)]


@pytest.mark.parametrize("path", ["/ndgraph/{}/labels/", "/nd/ndgraph/{}/labels", V1])
def test_all_synapses_between_two_segments_are_edges(server: Server, path: str) -> None:
    answer = server.get(path.format("closed"), "alice")
    assert answer.status_code == 200
    assert edges(answer.data) == ALL
    assert answer.headers["Content-Disposition"] == "attachment; filename=output.graphml"
    assert answer.headers["X-NDLambda-Skipped"] == "14,15"
    assert answer.headers["X-NDLambda-Skipped-Count"] == "2"
    assert b"14,15" in answer.data


def test_edges_say_what_the_synapse_says(server: Server) -> None:
    network = client(server).graph("closed", "labels").network()
    assert network.edges[101, 102, "11"] == {
        "synapse": 11,
        "weight": 0.5,
        "confidence": 0.25,
        "synapse_type": 0,
        "status": 0,
    }
    assert network.graph == {"skipped": "14,15"}


@pytest.mark.parametrize(
    ("ranges", "found", "skipped"),
    [
        ((10, 74, 20, 52, 5, 9), [(101, 102, 11), (101, 102, 12)], "14"),
        ((10, 42, 20, 52, 5, 8), [(101, 102, 11)], "14"),
        ((10, 26, 20, 21, 5, 6), [(101, 102, 11)], None),
        ((10, 74, 20, 52, 8, 9), [], None),
        ((8, 9, 4, 5, 1, 2), [], None),
    ],
)
def test_a_box_keeps_the_synapses_with_voxels_in_it(
    server: Server, ranges: tuple[int, ...], found: list[object], skipped: str | None
) -> None:
    """The last two have no synapse, and no label at all: ndstore failed."""
    x0, x1, y0, y1, z0, z1 = ranges
    legacy = f"{LEGACY.format('open')}/{x0},{x1}/{y0},{y1}/{z0},{z1}/"
    ours = f"{V1.format('open')}?x={x0}:{x1}&y={y0}:{y1}&z={z0}:{z1}"
    named = legacy.replace("/labels/", "/labels/graphml/")
    for path in (legacy, ours, named):
        answer = server.get(path)
        assert answer.status_code == 200, answer.text
        assert edges(answer.data) == found
        assert answer.headers.get("X-NDLambda-Skipped") == skipped


def test_directed_edges_lead_from_the_presynaptic_segment_to_each_behind_it(
    server: Server,
) -> None:
    answer = server.get(f"{V1.format('open')}?direction=pre-post")
    assert edges(answer.data) == [(102, 101, 12), (102, 103, 12), (103, 101, 13)]
    assert answer.headers["X-NDLambda-Skipped"] == "11,14,15"


@pytest.mark.parametrize("name", sorted(formats()))
def test_every_format_is_given(server: Server, name: str) -> None:
    ours = server.get(f"{V1.format('open')}?format={name}")
    assert (ours.status_code, ours.mimetype) == (200, formats()[name].content_type)
    legacy = server.get(f"{LEGACY.format('open')}/{name}/")
    assert (legacy.status_code, legacy.mimetype) == (200, "text/plain")
    disposition = f"attachment; filename=output.{name}"
    assert legacy.headers["Content-Disposition"] == disposition
    assert legacy.data[:20] == ours.data[:20]


def test_words_that_ndstore_does_not_know_mean_graphml(server: Server) -> None:
    answer = server.get(f"{LEGACY.format('open')}/dot/")
    assert edges(answer.data) == ALL
    assert answer.headers["Content-Disposition"].endswith("output.graphml")


BAD_LEGACY = {
    "gpickle/": "UnknownNameError",
    "yaml/": "UnknownNameError",
    "graphml/gml/": "PathSyntaxError",
    "graphml/1,2/": "PathSyntaxError",
    "1,2/3,4/": "PathSyntaxError",
    "a,b/3,4/5,6/": "PathSyntaxError",
    "10,74/20,52/5,9/0,1/": "PathSyntaxError",
    "10,10/20,52/5,9/": "EmptyBoxError",
    "10,9/20,52/5,9/": "EmptyBoxError",
    "0,74/20,52/5,9/": "OutOfBoundsError",
    "10,9999/20,52/5,9/": "OutOfBoundsError",
    "10,99999999999999999999/20,52/5,9/": "PathSyntaxError",
}
BAD_V1 = {
    "format=gpickle": "UnknownNameError",
    "format=": "UnknownNameError",
    "direction=post-pre": "UnknownNameError",
    "x=1": "InvalidArgumentError",
    "x=20:10": "EmptyBoxError",
    "x=0:10": "OutOfBoundsError",
    "z=5:500": "OutOfBoundsError",
    "x=10:20&x=10:20": "InvalidArgumentError",
    "resolution=1": "InvalidArgumentError",
    "colour=red": "InvalidArgumentError",
}


@pytest.mark.parametrize("wanted", BAD_LEGACY)
def test_bad_paths_are_refused(server: Server, wanted: str) -> None:
    assert_problem(server.get(f"{LEGACY.format('open')}/{wanted}"), 404, BAD_LEGACY[wanted])


@pytest.mark.parametrize("query", BAD_V1)
def test_bad_queries_are_refused(server: Server, query: str) -> None:
    status = 404 if BAD_V1[query] == "UnknownNameError" else 400
    assert_problem(server.get(f"{V1.format('open')}?{query}"), status, BAD_V1[query])


def test_an_image_has_no_synapses(server: Server) -> None:
    assert_problem(server.get("/ndgraph/open/em/"), 404, "InvalidArgumentError")
    answer = server.get("/v1/projects/open/channels/em/graph")
    assert_problem(answer, 400, "InvalidArgumentError")


def test_a_private_graph_is_not_shown(server: Server) -> None:
    for path, nobody in ((LEGACY, 403), (V1, 401)):
        assert server.get(path.format("closed")).status_code == nobody
        assert server.get(path.format("closed"), "bob").status_code == 403


def test_more_connections_than_one_graph_has_are_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 5)
    assert server.get(V1.format("open")).status_code == 200
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 4)
    assert_problem(server.get(V1.format("open")), 413, "PayloadTooLargeError")


def test_the_client_gives_a_network_of_a_box(server: Server) -> None:
    graph = client(server).graph("closed", "labels")
    network = graph.network(Box((10, 20, 5), (74, 52, 9)), directed=True)
    assert isinstance(network, nx.MultiDiGraph)
    assert sorted(network.edges()) == [(102, 101), (102, 103)]
    with pytest.raises(OutOfBoundsError):
        graph.network(Box((0, 0, 0), (9, 9, 9)))
    with pytest.raises(UnknownNameError, match="graphml"):
        graph.text("dot")


def test_the_command_writes_a_graph(server: Server, tmp_path: Path) -> None:
    where = ["--url", URL, "--key", server.keys["alice"], "graph", "--token", "closed"]
    where += ["--channel", "labels"]

    def run(*words: str) -> tuple[int, bytes]:
        result = CliRunner().invoke(main, [*where, *words], obj=WsgiTransport(server.app))
        return result.exit_code, result.stdout_bytes

    code, body = run()
    assert (code, edges(body)) == (0, ALL)
    out = tmp_path / "graph.txt"
    words = ("--box", "10:26,20:21,5:6", "--format", "edgelist", "-o", str(out))
    assert run(*words) == (0, b"")
    assert len(out.read_text().splitlines()) == 1
    assert edges(run("--directed")[1])[0] == (102, 101, 12)
