"""The proof of an ingest: whatever was changed since is found and named."""

import dataclasses
import json
import random
from contextlib import closing

import numpy as np
import pytest

from ingest_queue.build.verify import Link, Verifier
from ingest_queue.jobs.digests import digests_key
from ingest_queue.jobs.job import Mode, Policy, State
from ndlambda.client import connect
from ndlambda.client.volume import bodies
from ndlambda.errors import InvalidStateError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.volume.region import Region, layout_of, object_key
from ndlambda.space.box import Box
from ndlambda.space.grid import cover
from ndlambda.stores.ports import Overwrite
from tests.support import catalog_world
from tests.support.app import assert_problem, serving
from tests.support.fake_server import WsgiTransport
from tests.support.http_jobs import work
from tests.support.ingest_world import OFFSET, disk_ingest_world, png

SIZE_XYZ = (260, 160, 20)  # 3x2x2 supercuboids

AT = Box.at((130, 150, 18), (1, 1, 1))
VOXELS = np.random.default_rng(5).integers(1, 255, SIZE_XYZ[::-1], dtype=np.uint8)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A complete job of slices, which is not changed."""
    dataset = catalog_world.dataset(imagesize_xyz=SIZE_XYZ, offset_xyz=(0, 0, OFFSET))
    made = disk_ingest_world(tmp_path_factory.mktemp("complete"), dataset=dataset)
    made.populate()
    assert made.ingest(VOXELS[None]).state is State.COMPLETE
    yield made
    made.close()


@pytest.fixture
def world(complete, tmp_path):
    with closing(complete.copy(tmp_path / "world")) as made:
        yield made


def verifier(world, **options):
    process = world.process()
    ingest = process.ingest
    writer = ingest.verifier._writer
    return Verifier(ingest.ledger, ingest.stores.objects, process.catalog, writer, **options)


def differences(world, job=None, **options):
    return list(verifier(world, **options).check(job or world.job()))


def region(world, box):
    return Region(world.dataset.pyramid.level(0), box, (0, 1))


@pytest.fixture
def channel(world):
    return world.base.catalog.get_channel("pr", "em")


@pytest.fixture
def keys(world, channel):
    """The keys of the first two supercuboids, beside one another along x."""
    whole = region(world, world.job().box)
    return [object_key(channel, whole, 0, code) for code in (0, 1)]


def named(found):
    """Return the corners of the supercuboids that are named."""
    return [each.box.start_xyz for each in found if each.link is Link.SUPERCUBOID]


@pytest.mark.parametrize("max_strip_voxels", [1 << 25, 1])
def test_only_a_changed_voxel_is_named_by_supercuboid_and_slice(world, channel, max_strip_voxels):
    assert differences(world, max_strip_voxels=max_strip_voxels) == []
    volume, one = world.process().volume, region(world, AT)
    volume.write(channel, one, volume.read(world.dataset, channel, one) % 254 + 1)
    found = differences(world, max_strip_voxels=max_strip_voxels)
    box = world.job().box
    supercuboid_xyz = layout_of(channel, one.level).supercuboid_xyz
    (changed,) = [cell.part for cell in cover(box, supercuboid_xyz) if AT.within(cell.part)]
    shift = (0, 0, OFFSET)
    assert [(difference.link, difference.box) for difference in found] == [
        (Link.SUPERCUBOID, changed.shifted(shift)),
        (Link.SLICE, Box((0, 0, 18), (260, 160, 19)).shifted(shift)),
    ]
    assert found[1].reason == f"Slice {18 + OFFSET} is stored with other voxels than were received."
    assert all(each.expected and each.found and each.expected != each.found for each in found)


def test_a_supercuboid_that_is_gone_or_damaged_is_named(world, keys):
    world.base.objects.delete(keys[0])
    (gone, *slices) = differences(world)
    assert (gone.link, gone.box.start_xyz) == (Link.SUPERCUBOID, (0, 0, OFFSET))
    assert {each.link for each in slices} == {Link.SLICE}
    world.base.objects.put(keys[0], b"no supercuboid", Overwrite())
    (damaged, *_) = differences(world)
    assert (damaged.link, damaged.found) == (Link.SUPERCUBOID, "")
    assert "supercuboid" in damaged.reason.lower()


def test_two_supercuboids_in_each_others_place_are_both_named(world, keys):
    objects = world.base.objects
    for key, body in zip(keys[::-1], [bytes(objects.get(key).data) for key in keys], strict=True):
        objects.put(key, body, Overwrite())
    assert named(differences(world)) == [(0, 0, OFFSET), (128, 0, OFFSET)]


def test_every_bit_that_flips_in_a_stored_object_is_named_or_of_no_voxel(world, keys):
    """At its beginning and end, where the index of the shard is, and anywhere."""
    kept = bytes(world.base.objects.get(keys[0]).data)
    dice = random.Random(6)
    anywhere = [dice.randrange(len(kept)) for _ in range(12)]
    harmless = 0
    for at in [*range(0, 48, 6), *range(len(kept) - 60, len(kept), 6), *anywhere]:
        flipped = bytearray(kept)
        flipped[at] ^= 1 << dice.randrange(8)
        world.base.objects.put(keys[0], bytes(flipped), Overwrite())
        found = named(verifier(world).check_strip(world.job(), 0).differences)
        if not found:
            harmless += 1
            np.testing.assert_array_equal(world.stored(), VOXELS)
        else:
            assert found == [(0, 0, OFFSET)], at
    assert 0 < harmless < 20  # the id of the write, say
    world.base.objects.put(keys[0], kept, Overwrite())
    assert differences(world) == []


def test_digests_that_are_gone_or_others_are_named(world):
    job = world.job()
    digest = world.process().ingest.ledger.state(job, 0).digest
    objects, key = world.base.objects, digests_key(job.id, 0, digest)
    doc = json.loads(bytes(objects.get(key).data))
    doc["supercuboids"]["0"] = "00" * 20
    objects.put(key, json.dumps(doc, separators=(",", ":")).encode(), Overwrite())
    assert [each.link for each in differences(world)] == [Link.DIGESTS, Link.SUPERCUBOID]
    objects.put(key, b"{", Overwrite())
    (unreadable,) = differences(world)
    assert unreadable.reason == "The digests of a chunk cannot be read."
    objects.delete(key)
    (gone,) = differences(world)
    assert gone.reason == "The digests of the chunk are gone."


def test_rows_that_do_not_make_the_root_are_named(world):
    ledger, job = world.process().ingest.ledger, world.job()

    def found_with(**changes):
        ledger.put_state(job, 0, dataclasses.replace(ledger.state(job, 0), **changes))
        return [(each.link, each.chunk) for each in differences(world)]

    assert found_with(digest="11" * 20) == [(Link.ROOT, None), (Link.DIGESTS, 0)]
    assert found_with(built=False) == [(Link.ROOT, None), (Link.CHUNK, 0)]


def test_skipped_slices_are_no_difference(make_world):
    world = make_world({}, depth=18)
    job = world.create(on_bad=Policy.SKIP)
    grid = world.process().ingest.target(job).grid(job)
    for z, plane in enumerate(VOXELS[:17, :14, :20], OFFSET):  # the last one does not come
        name = f"{grid.of_slice(0, z).number:012x}/{z:06d}.png"
        world.drop(name, png(plane), job.folder)
    ledger = world.process().ingest.ledger
    world.process().ingest.registry.close(ledger.get(job.id))
    world.pump()
    job = ledger.get(job.id)
    assert job.state is State.COMPLETE_WITH_ERRORS
    assert differences(world, job) == []


def test_a_job_that_is_not_complete_is_not_verified(world):
    with pytest.raises(InvalidStateError, match="CREATED"):
        differences(world, world.create())


def test_zeros_of_a_coarser_resolution_are_not_taken_for_what_is_shown_there(make_world):
    """Without the job's own resolution in the reading, the finer level shone through."""
    made = make_world(dataset=catalog_world.dataset(scalinglevels=2))
    channel, fine = made.populate(), made.dataset.pyramid.level(0)
    ones = np.ones((1, *fine.box.shape_zyx), np.uint8)
    made.process().volume.write(channel, Region(fine, fine.box, (0, 1)), ones)
    job = made.create(mode=Mode.CHUNKS, resolution=1)
    for chunk in made.process().ingest.target(job).grid(job).chunks():
        body = bodies.encode_array(np.zeros(chunk.box.shape_zyx, np.uint8))
        made.drop(f"{chunk.number:012x}/data.blosc", body, job.folder)
    made.pump()
    job = made.process().ingest.ledger.get(job.id)
    assert job.state is State.COMPLETE
    assert differences(made, job) == []


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as made:
        made.add_volume(
            Dataset("small", imagesize_xyz=SIZE_XYZ, offset_xyz=(8, 4, 1)),
            Channel("small", "em", ChannelType.IMAGE, DataType.UINT8, cuboids_per_axis=1),
        )
        yield made


def part_of(x, y, z):
    return VOXELS[z[0] - 1 : z[1] - 1, y[0] - 4 : y[1] - 4, x[0] - 8 : x[1] - 8]


@pytest.fixture(scope="module")
def url(server):
    """The route that verifies a complete job of chunks."""
    client = connect("http://in.test", server.keys["alice"], transport=WsgiTransport(server.app))
    job = client.ingest.create("small", "em", mode="chunks")["id"]
    for chunk in server.get(f"/v1/ingest/{job}/missing", "alice").get_json()["chunks"]:
        body = bodies.encode_array(part_of(chunk["x"], chunk["y"], chunk["z"]))
        client.ingest.upload_part(job, chunk["chunk"], "data.blosc", body)
    work(server)
    assert client.ingest.get(job)["state"] == "COMPLETE"
    return f"/v1/ingest/{job}/verify"


def test_the_route_gives_stored_digests_and_differences_strip_by_strip(server, url):
    root = server.get(url, "alice").get_json()
    assert root["differences"] == []
    covered = 0
    for chunk in range(root["chunks"]):
        answer = server.get(f"{url}?chunk={chunk}&strip=0", "alice").get_json()
        assert answer["differences"] == []
        for each in answer["supercuboids"]:
            part = part_of(**{axis: each["box"][axis] for axis in "xyz"})
            assert each["blake2b"] == bodies.digest(part)
            covered += part.size
    assert covered == VOXELS.size


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("chunk=99999", "OutOfBoundsError"),
        ("chunk=0&strip=7", "OutOfBoundsError"),
        ("chunk=-1", "InvalidArgumentError"),
        ("chunk=" + "9" * 5000, "InvalidArgumentError"),
    ],
)
def test_the_route_refuses_what_is_not_there(server, url, query, error):
    assert_problem(server.get(f"{url}?{query}", "alice"), 400, error)


def test_the_supercuboids_of_a_strip_are_read_together(world, monkeypatch):
    """By the threads that all reads share. Seen to fail where one is read after another."""
    checking, job = verifier(world), world.job()
    read: list[Box] = []
    plain = checking._writer.read

    def noting(target, region):
        read.append(region.box)
        return plain(target, region)

    monkeypatch.setattr(checking._writer, "read", noting)
    assert list(checking.check(job)) == []
    target = checking._open(job)
    assert read == [chunk.box for chunk in target.grid(job).chunks()]


def test_what_is_more_than_one_cutout_is_read_in_pieces(world, monkeypatch):
    """Seen to fail where a strip is read as one box: a row of a wide volume would be refused."""
    checking, job = verifier(world), world.job()
    edge = checking._open(job).supercuboid_xyz[0]
    monkeypatch.setattr(checking._writer, "_max_voxels", 1)
    read: list[int] = []
    plain = checking._writer._volume.read
    monkeypatch.setattr(
        checking._writer._volume,
        "read",
        lambda dataset, channel, region: (
            read.append(region.box.shape_xyz[0]) or plain(dataset, channel, region)
        ),
    )
    assert list(checking.check(job)) == []
    assert max(read) <= edge
