"""Long lists: every argument, parameter and JSON field of every route, made a list of 10^5 items.

All are refused by the length of the list or the amount of work, before the stores are read for it.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ndlambda.model.catalog import MAX_CHANNELS, Channel
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.web.problem import Dialect
from ndlambda.web.request.address import MAX_BYTES, MAX_PARAMETERS
from tests.support import bodies
from tests.support.app import BRAIN, assert_problem, server_fixture, serving
from tests.support.bodies import noise
from tests.support.route_examples import Example, RouteWorld, serving_routes

world = server_fixture(serving_routes)

ITEMS = 100_000
FEW_REQUESTS = 24
"""More than any route needs for key, catalogue, job and one object."""
NO_LISTS = {"metadata"}
"""Fields of JSON that are ignored, whatever they hold."""
TEXTS = {"author", "pair.KEY"}
"""Parameters that are any text."""
LISTS_NOTHING = {"/resource/public/dataset/<segment:ds>", "/resource/dataset/<segment:ds>/project"}
"""What ndstore answers for a dataset without projects: an empty list."""


def refused(world: RouteWorld, example: Example, **sent: Any) -> str:
    """Return what is wrong with the answer to a request with a long list, empty if nothing."""
    stores = world.server.stores
    writes, requests = stores.writes, stores.requests
    answer = world.ask(example, example.owner, **sent)
    writes, requests = stores.writes - writes, stores.requests - requests
    is_refused = 400 <= answer.status_code < 500
    is_refused |= example.route.rule in LISTS_NOTHING and answer.data == b"[]"
    if is_refused and requests <= FEW_REQUESTS and not writes:
        return ""
    done = f"{answer.status_code}, {requests} requests, {writes} writes, {answer.data[:80]!r}"
    return f"{example.path[:60]} {sent and sent['data'][:60]!r} {example.key}: {done}"


def listed(item: str, separator: str, others: int) -> str:
    """Return as many items as there are, or as fit into an address with other characters."""
    return separator.join([item] * min(ITEMS, (MAX_BYTES - 200 - others) // (len(item) + 1)))


def test_a_longer_address_is_refused_before_it_is_taken_apart(world: RouteWorld):
    for example in world.examples:
        name = next(iter(example.arguments), "")
        for sent in (
            example.asking(x=["1"] * (MAX_PARAMETERS + 1)),
            example.naming(**{name: "1" * MAX_BYTES})
            if name
            else example.asking(x="1" * MAX_BYTES),
        ):
            before = world.server.stores.requests
            assert_problem(world.ask(sent, sent.owner), 413, "PayloadTooLargeError")
            assert world.server.stores.requests == before


SEPARATORS = {"names": ",", "ids": ",", "segment": ",", "path": ",/", "words": "/"}
"""By converter; what the others match is no list."""


def test_arguments_of_paths(world: RouteWorld):
    """Of each view once; also as options of cutouts."""
    faults, seen = [], set[object]()
    for example in world.examples:
        for converter, name in re.findall(r"<(\w+):(\w+)>", example.route.rule):
            if (example.route.view, name) in seen:
                continue
            seen.add((example.route.view, name))
            value = example.arguments[name]
            for separator in SEPARATORS.get(converter, ""):
                longs = [listed(item, separator, 300) for item in {value.strip("/"), "1"}]
                if name == "args":
                    longs += [f"{value}filter/{listed('1', separator, 300)}/"]
                faults += [refused(world, example.naming(**{name: each})) for each in longs]
    assert "\n".join(filter(None, faults)) == ""


def test_parameters_of_queries(world: RouteWorld):
    """As one long value, and repeated as often as an address may have parameters."""
    faults = []
    for example in world.examples:
        known = {each.name.replace("NAME", "status") for each in example.route.query}
        for name in known - TEXTS:
            if "words" not in example.arguments or name != "format":  # which is for JSON alone
                value = ",".join("1" * (MAX_BYTES // 8))
                faults += [refused(world, example.asking(**{name: value}))]
        for name in known if example.route.dialect in {Dialect.V1, Dialect.INGEST} else ():
            repeated = {name: ["1"] * (MAX_PARAMETERS - 9)}
            faults += [refused(world, example.asking(**repeated))]
    assert "\n".join(filter(None, faults)) == ""


LONG = {
    '"@list"': f"[{','.join('1' * ITEMS)}]",
    '"@fields": 0': ",".join(f'"{number}":0' for number in range(ITEMS)),
}
"""What stands for a long list, and for many fields of an object, until the JSON is written."""


def grown(value: Any) -> Iterator[Any]:
    """Yield a JSON value with each of its values in turn made a long list, or a long object."""
    yield "@list"
    if isinstance(value, dict):
        yield value | {"@fields": 0}
        for name in value.keys() - NO_LISTS:
            yield from (value | {name: longer} for longer in grown(value[name]))
    elif isinstance(value, list) and value:
        yield [value[0]] * 12_000
        yield from ([longer, *value[1:]] for longer in grown(value[0]))


def test_fields_of_json(world: RouteWorld):
    faults = []
    by_body = {example.body: example for example in world.examples}  # those of twins are equal
    for body, example in by_body.items():
        for document in grown(json.loads(body)) if body[:1] in (b"{", b"[") else ():
            sent = json.dumps(document)
            for word, long in LONG.items():
                sent = sent.replace(word, long)
            faults += [refused(world, example, data=sent.encode())]
    assert "\n".join(filter(None, faults)) == ""


FILM = Channel("", "film", ChannelType.TIMESERIES, DataType.UINT8, endtime=1 << 20)
LABELS = Channel("", "labels", ChannelType.ANNOTATION, DataType.UINT32)
READ, POINT = 40, "x=8:9&y=4:5&z=1:2"
LINE = "0/8,264/4,5/1,2/"
"""A line through two supercuboids."""


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A server where a request touches few supercuboids, and objects in more than that."""
    with serving(tmp_path_factory.mktemp("narrow"), max_read_supercuboids=READ) as server:
        more = (
            Channel("", f"c{number}", FILM.channel_type, DataType.UINT8) for number in range(21)
        )
        server.add_volume(BRAIN.__class__("wide", (30_000, 64, 16), (8, 4, 1)), FILM, LABELS, *more)
        yield server


V1 = "/v1/projects/wide/channels"
NAMED = ",".join(f"c{number}" for number in range(21))


@pytest.mark.parametrize("path", [
    f"{V1}/film/cutout?{POINT}&t=0:{READ + 1}", f"{V1}/film/digest?{POINT}&t=0:{READ + 1}",
    f"{V1}/film/cutout?x=8:{8 + 256 * READ + 1}&y=4:5&z=1:2", f"/sd/wide/{NAMED}/npz/{LINE}",
    f"/sd/wide/film/npz/0/8,9/4,5/1,2/0,{READ + 1}/", f"{V1}/labels/ids?x=8:{8 + 256 * READ + 1}",
    f"/sd/wide/labels/ids/0/8,{8 + 256 * READ + 1}/4,5/1,2/",
    f"/sd/wide/labels/exceptions/0/8,{8 + 256 * READ + 1}/4,5/1,2/",
    f"{V1}/labels/annotations?x=8:{8 + 256 * READ + 1}&y=4:5", f"{V1}/labels/graph?x=8:20000",
])  # fmt: skip
def test_work_is_counted_in_supercuboids(narrow, path):
    """Of few voxels, before one is read. Seen to fail with a limit of voxels alone."""
    before = narrow.stores.calls["objects.get"]
    assert_problem(narrow.get(path, "alice"), 413, "PayloadTooLargeError")
    assert narrow.stores.calls["objects.get"] == before


@pytest.mark.parametrize("kind", ["voxels", "cutout", "boundingbox", "cuboids"])
def test_objects_of_one_request_are_in_a_limited_number_of_supercuboids(narrow, kind):
    """Each has two; all together are too many. Seen to fail where each object counts alone."""
    ids = []
    for number in range(READ // 2 + 1):
        ids += narrow.post(
            f"{V1}/labels/annotations", "alice", json={"type": "segment"}
        ).get_json()["ids"]
        for x in (8, 8 + 256):
            at = f"x={x}:{x + 1}&y={4 + number}:{5 + number}&z=1:2"
            mask = bodies.npy(np.ones((1, 1, 1), bool))
            sent = narrow.post(f"{V1}/labels/annotations/{ids[-1]}/cutout?{at}", "alice", data=mask)
            assert sent.status_code == 200, sent.text
    few, many = (",".join(map(str, some)) for some in (ids[: READ // 4], ids))
    assert narrow.get(f"/sd/wide/labels/{few}/{kind}/0/", "alice").status_code == 200
    before = narrow.stores.calls["objects.get"]
    assert_problem(
        narrow.get(f"/sd/wide/labels/{many}/{kind}/0/", "alice"), 413, "PayloadTooLargeError"
    )
    assert narrow.stores.calls["objects.get"] - before <= READ


def test_a_channel_that_is_named_often_is_read_once(narrow):
    """And fills as many places of the answer."""
    voxels = noise((1, 1, 1, 256))
    narrow.write(f"/sd/wide/film/npz/{LINE}", bodies.npz(voxels))
    before = narrow.stores.calls["objects.get"]
    read = narrow.read(f"/sd/wide/{','.join(['film'] * MAX_CHANNELS)}/raw/{LINE}")
    assert narrow.stores.calls["objects.get"] - before == 2
    assert read == voxels.tobytes() * MAX_CHANNELS
    sent = narrow.post(f"/sd/wide/film,film/npz/{LINE}", "alice", data=bodies.npz(voxels))
    assert_problem(sent, 404, "InvalidArgumentError")


@pytest.mark.parametrize("path", ["createChannel", "deleteChannel"])
def test_a_body_names_a_limited_number_of_channels(narrow, path):
    named = {f"x{number}": {} for number in range(MAX_CHANNELS + 1)}
    with narrow.unchanged():
        listed = list(named) if path == "deleteChannel" else named
        sent = narrow.post(f"/sd/wide/{path}/", "alice", json={"channels": listed})
    assert_problem(sent, 413, "PayloadTooLargeError")
