"""What folders of dropped files begin, and what they wait for."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from functions import ingest_build, s3_drop
from ingest_queue.drop import watcher
from ingest_queue.jobs.job import State
from ndlambda import runtime
from ndlambda.errors import DatasetNotFoundError, QuotaExceededError
from ndlambda.local.moto import MotoServer
from ndlambda.local.pump import pump_once
from ndlambda.model.dtypes import ChannelType
from ndlambda.runtime import Runtime
from ndlambda.services.volume.region import Region
from ndlambda.settings import Settings
from ndlambda.stores.ports import Overwrite
from tests.support import catalog_world
from tests.support.counted import Counted
from tests.support.ingest_world import (
    FOLDER,
    OFFSET,
    OWNER,
    IngestWorld,
    MakeWorld,
    look_after_folders,
    png,
    stack,
)


@pytest.fixture
def world(make_world: MakeWorld) -> IngestWorld:
    """Stores without a dataset."""
    return make_world()


@pytest.fixture
def populated(make_world: MakeWorld) -> IngestWorld:
    """Stores with a channel of one chunk."""
    return make_world({}, depth=6)


def why(world: IngestWorld) -> str:
    """Return why the folder waits, which is the only one."""
    ((folder, reason),) = world.waiting().items()
    assert folder == FOLDER
    return reason


def test_slices_of_an_unknown_token_wait_for_done_and_say_so(world: IngestWorld):
    voxels = stack(1, z=20, dtype=np.uint16)
    world.drop_stack(voxels)
    assert "_DONE" in why(world)
    assert world.process().ingest.ledger.of_folder(FOLDER) is None
    world.drop("_DONE", b"")
    world.pump()
    job = world.job()
    assert (job.state, job.owner_id) == (State.COMPLETE, OWNER)
    view = world.process().catalog.project_view("tk")
    assert view.dataset.imagesize_xyz == (20, 14, 20)
    assert view.dataset.offset_xyz == (0, 0, OFFSET)
    assert (view.dataset.user_id, view.token.user_id) == (OWNER, OWNER)
    assert view.channel("em").datatype == "uint16"
    region = Region(view.dataset.pyramid.level(0), view.dataset.pyramid.level(0).box, (0, 1))
    found = world.process().volume.read(view.dataset, view.channel("em"), region)
    np.testing.assert_array_equal(found, voxels)
    assert not world.waiting()


@pytest.mark.parametrize("folder", ["drop/stats/em/", "drop/brain/xy/"])
def test_folders_named_by_words_of_paths_wait_and_create_nothing(world: IngestWorld, folder: str):
    (plane,) = stack(1, z=1)[0]
    world.drop("0001.png", png(plane), folder)
    world.drop("_DONE", b"", folder)
    assert "is a word of paths" in world.waiting()[folder]
    with pytest.raises(DatasetNotFoundError):
        world.process().catalog.get_dataset(folder.split("/")[1])


def test_time_folders_make_a_time_series(world: IngestWorld):
    voxels = stack(2, times=3, z=4)
    world.put_stack(voxels, times=True)
    world.drop("_DONE", b"")
    world.pump()
    assert world.state is State.COMPLETE
    channel = world.process().catalog.project_view("tk").channel("em")
    assert (channel.channel_type, channel.times) == (ChannelType.TIMESERIES, (0, 3))


def test_a_manifest_alone_says_what_is_made_before_the_first_slice(world: IngestWorld):
    manifest = {
        "dataset": {
            "dataset_name": "brain",
            "ximagesize": 20,
            "yimagesize": 14,
            "zimagesize": 43,
            "zoffset": OFFSET,
        },
        "project": {"project_name": "pr", "public": 1},
        "channel": {"channel_type": "annotation", "channel_datatype": "uint32"},
        "extent": {"z": [OFFSET + 3, OFFSET + 7], "x": [0, 20]},
        "on_bad": "skip",
    }
    world.drop("_ingest.json", json.dumps(manifest).encode())
    job = world.job()
    assert (job.state, job.on_bad) == (State.CREATED, "skip")
    assert (job.box.start_xyz, job.box.stop_xyz) == ((0, 0, 3), (20, 14, 7))
    view = world.process().catalog.project_view("tk")
    assert (view.dataset.name, view.project.name) == ("brain", "pr")
    assert (view.token.public, view.project.public) == (True, True)
    for z in range(3, 7):
        world.drop(f"{z + OFFSET}.png", png(stack(3)[0, z]))
    world.pump()
    assert world.state is State.COMPLETE


def test_done_fills_the_gaps_of_a_manifest(world: IngestWorld):
    world.put_stack(stack(4, z=6))
    world.drop("_ingest.json", b'{"dataset": {"zvoxelres": 30}}')
    assert "imagesize" in why(world) or "channel_type" in why(world)
    world.drop("_ingest.json", b'{"channel": {"channel_type": "image"}}')
    assert "_DONE" in why(world)
    world.drop("_ingest.json", b'{"dataset": {"zvoxelres": 30}}')
    world.drop("_DONE", b"")
    dataset = world.process().catalog.project_view("tk").dataset
    assert (dataset.voxelres_xyz, dataset.imagesize_xyz) == ((1, 1, 30), (20, 14, 6))
    world.pump()
    assert world.state is State.COMPLETE


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b'{"on_bad": "ignore", "dept": 1}', "on_bad"),
        (b'{"extent": {"q": [1, 2]}}', "axes"),
        (b'{"extent": {"z": [9, 9]}}', "empty"),
        (b'{"extent": {"z": [0, 9]}}', "leaves the volume"),
        (b'{"resolution": 7}', "Resolution 7"),
        (b'{"dataset": {"dataset_name": "other"}}', "leads to"),
    ],
)
def test_what_is_wrong_with_a_manifest_can_be_read_and_mended(
    populated: IngestWorld, body: bytes, reason: str
):
    world = populated
    world.drop("_ingest.json", body)
    assert reason in why(world)
    world.drop("_ingest.json", b"{}")
    assert not world.waiting()
    assert world.state is State.CREATED


@pytest.mark.parametrize(("wanted", "reason"), [
    ({"dataset": {"zvoxelres": 30}}, "dataset has zvoxelres 1.0, not 30"),
    ({"dataset": {"scalinglevels": 3, "public": 1}}, "levels 0, not 3; dataset has public 0"),
    ({"dataset": {"zimagesize": 5}}, "dataset has zimagesize 6, not 5"),
    ({"project": {"public": True}}, "project has public 0, not 1"),
    ({"channel": {"channel_type": "annotation", "channel_datatype": "uint32"}}, "channel em has"),
    ({"channel": {"endtime": 4}}, "channel em has endtime 1, not 4"),
])  # fmt: skip
@pytest.mark.parametrize("token", ["tk", "other"])
def test_a_manifest_that_disagrees_with_what_exists_makes_nothing(
    world: IngestWorld, wanted: dict[str, Any], reason: str, token: str
):
    """Seen to fail: what exists was kept, and the manifest's values were lost without a word."""
    world.put_stack(stack(5, z=6))
    world.drop("_DONE", b"")
    world.pump()
    folder = FOLDER.replace("/tk/", f"/{token}/")
    named = {"dataset_name": "tk"} if token == "other" else {}
    manifest = {**wanted, "dataset": {**named, **wanted.get("dataset", {})}}
    manifest["project"] = {**wanted.get("project", {})} | ({"project_name": "tk"} if named else {})
    fields = {"channel_type": "image", "channel_datatype": "uint8"} if named else {}
    manifest["channel"] = {**fields, **wanted.get("channel", {})}
    world.drop("_ingest.json", json.dumps(manifest).encode(), folder=folder)
    assert reason in world.waiting()[folder]
    catalog = world.process().catalog
    assert catalog.lists.tokens_of("tk") == ["tk"]


@pytest.mark.parametrize(("manifest", "size_xyz", "scaling", "levels", "notes"), [
    ({}, (20, 14, 6), 1, 0, ["is assumed", "scaling isotropic"]),
    ({"zvoxelres": 30}, (20, 14, 6), 0, 0, ["scaling zslices"]),
    ({"xvoxelres": 4, "yvoxelres": 4, "zvoxelres": 4}, (20, 14, 6), 1, 0, ["4 x 4 x 4 nm"]),
    ({"zimagesize": 1500}, (20, 14, 1500), 1, 2, ["is assumed", "coarser resolutions: 2"]),
    ({"scalinglevels": 2, "zvoxelres": 1}, (20, 14, 6), 0, 2, []),
    ({"scalingoption": 0, "zvoxelres": 1}, (20, 14, 6), 0, 0, []),
])  # fmt: skip
def test_scaling_and_levels_follow_voxel_and_size_and_are_noted(
    world: IngestWorld,
    manifest: dict[str, Any],
    size_xyz: Any,
    scaling: int,
    levels: int,
    notes: Any,
):
    world.put_stack(stack(6, z=6))
    if manifest:
        world.drop("_ingest.json", json.dumps({"dataset": manifest}).encode())
    world.drop("_DONE", b"")
    dataset = world.process().catalog.project_view("tk").dataset
    assert dataset.imagesize_xyz == size_xyz
    assert (dataset.scaling, dataset.scalinglevels) == (scaling, levels)
    said = world.job().notes
    assert len(said) == len(notes)
    assert all(note in text for note, text in zip(notes, said, strict=True))


def test_a_time_point_that_did_not_come_is_named(world: IngestWorld):
    """Seen to fail: the job said that slice 0 was missing, which had been dropped."""
    voxels = stack(7, z=4)
    channel = {"channel_type": "timeseries", "channel_datatype": "uint8", "endtime": 3}
    world.drop("_ingest.json", json.dumps({"channel": channel}).encode())
    world.put_stack(voxels, times=True)
    world.drop("_DONE", b"")
    world.pump()
    job = world.job()
    assert job.state is State.FAILED
    said = f"Slices {OFFSET}-{OFFSET + 3} of time point 1 are missing: 3 time points (0 to 2) are"
    assert said in job.reason


@pytest.mark.parametrize("announced", [0, 1])
def test_a_folder_whose_done_was_not_announced_is_found(world: IngestWorld, announced: int):
    """Seen to fail without the sweep of waiting folders; without any announcement, where only the
    folders are swept that are known to wait."""
    world.notice(world.put_stack(stack(5, z=6))[:announced])
    world.put("_DONE", b"")
    look_after_folders(world.process().drop)
    world.pump()
    assert world.state is State.COMPLETE


def test_done_that_overtakes_the_slices_finds_them(populated: IngestWorld):
    """Seen to fail where closing does not look at the folder first: the job fails."""
    populated.drop_slice(OFFSET, stack(6)[0, 0])
    populated.put_stack(stack(6, z=6))
    populated.drop("_DONE", b"")
    populated.pump()
    assert (populated.state, populated.table.ends) == (State.COMPLETE, 1)


def test_one_manifest_is_one_job_and_another_one_waits_for_its_end(populated: IngestWorld):
    world = populated
    world.drop("_ingest.json", b"{}")
    first = world.job()
    world.notice([f"{FOLDER}_ingest.json"])
    assert world.job() == first
    world.drop("_ingest.json", b'{"on_bad": "zero"}')
    assert first.id in why(world)
    assert world.ingest(stack(7, z=6)).state is State.COMPLETE
    look_after_folders(world.process().drop)
    assert world.job().id != first.id
    world.pump()
    assert world.state is State.COMPLETE  # made of what lay there


def test_a_folder_does_not_begin_again_with_a_channel_that_was_made_again(populated: IngestWorld):
    world = populated
    first = world.ingest(stack(8, z=6))
    world.base.catalog.delete_channel("pr", "em")
    world.base.catalog.create_channel(catalog_world.channel("em", cuboids_per_axis=1))
    world.notice([f"{FOLDER}{OFFSET:04d}.png"])
    world.drop("_ingest.json", b"{}")
    world.pump()
    assert world.job() == first
    assert not world.stored().any()
    assert "was deleted" in why(world)


@pytest.mark.parametrize(
    "name", [".0006.png", "0006.png.part", "0006.tmp", "0006.png~", "a/.b/0006.png", "Thumbs.db"]
)
def test_hidden_and_unfinished_files_mean_nothing(populated: IngestWorld, name: str):
    """Nor does the token ``j``."""
    before = populated.base.row_keys()
    populated.drop(name, b"")
    populated.drop(name, b"", "drop/j/em/")
    assert populated.base.row_keys() == before


def test_a_folder_over_the_quota_waits(make_world: MakeWorld):
    world = make_world({}, limits={"max_user_jobs": 1})
    other = world.create()
    with pytest.raises(QuotaExceededError):
        world.notice(world.put_stack(stack(1))[:1])
    assert "1 are allowed" in why(world)
    world.process().ingest.cancel(other)
    look_after_folders(world.process().drop)
    assert world.state is State.INGESTING


@pytest.fixture
def on_aws(moto_server: MotoServer, tmp_path: Path) -> Iterator[Runtime]:
    """A whole process on moto: bucket, table, queues and the notifications between them."""
    settings = Settings(
        store="aws",
        bucket="ingest-drop",
        table="ingest-drop",
        drop_queue="ingest-drop",
        ingest_queue="ingest-drop-build",
        aws_endpoint=moto_server.endpoint,
        secret="secret",
        cache_s=0,
    )
    runtime.create_aws_stores(settings)
    built = runtime.build(replace(settings, drop_owner="admin"))
    built.users.create_user("admin", superuser=True)
    runtime.install(built)
    yield built
    built.close()


def test_an_object_in_the_bucket_becomes_voxels(on_aws: Runtime):
    """By the notifications of the bucket, through both workers."""
    voxels = stack(11, z=2)
    store = on_aws.ingest.jobs.stores.drop
    on_aws.resources.objects.put("elsewhere/tk/em/0000.png", b"", Overwrite())
    for z, plane in enumerate(voxels[0], OFFSET):
        store.put(f"{FOLDER}{z:04d}.png", png(plane), Overwrite())
    store.put(f"{FOLDER}_DONE", b"", Overwrite())
    while pump_once(on_aws.resources.queues.drop, s3_drop.handler):
        pass
    while pump_once(on_aws.resources.queues.ingest, ingest_build.handler):
        pass
    job = on_aws.ingest.jobs.ledger.of_folder(FOLDER)
    assert job is not None
    assert job.state is State.COMPLETE
    view = on_aws.catalog.project_view("tk")
    level = view.dataset.pyramid.level(0)
    region = Region(level, level.box, (0, 1))
    np.testing.assert_array_equal(
        on_aws.volume.read(view.dataset, view.channel("em"), region), voxels
    )


def test_a_sweep_looks_at_some_of_very_many_folders_in_turn(world: IngestWorld, monkeypatch):
    """With a listing for each folder, however many slices it holds."""
    monkeypatch.setattr(watcher, "_FOLDERS_A_SWEEP", 16)
    names = [f"{token}{n:02d}" for n in range(20) for token in ("a", "a0", "a!")]
    for name in names:
        for z in range(2):
            world.put(f"{z:04d}.png", b"", f"drop/{name}/em/")
    for key in ("drop/a file", "drop/tk/file", "drop/.x/em/1.png", "drop/a00/.x/1.png"):
        world.drop_store.put(key, b"", Overwrite())
    world.put("0001.png", b"", f"drop/j/{'0' * 16}/{'0' * 12}/")
    counted: Any = Counted(world.drop_store)
    world.drop_store = counted
    for sweep in range(5):
        counted.clear()
        world.process().drop.sweep()
        assert counted.calls["list"] <= 22, sweep
    assert world.waiting().keys() == {f"drop/{name}/em/" for name in names} | {"drop/", "drop/tk/"}


def test_a_folder_that_waited_and_is_gone_waits_no_more(world: IngestWorld):
    for name in ("a", "b", "c"):
        world.drop("0001.png", b"", f"drop/{name}/em/")
    world.drop_store.delete("drop/b/em/0001.png")
    look_after_folders(world.process().drop)
    assert list(world.waiting()) == ["drop/a/em/", "drop/c/em/"]


@pytest.mark.parametrize("folder", ["drop/", "drop/tk/"])
def test_files_beside_the_folders_of_channels_are_reported(populated: IngestWorld, folder: str):
    populated.drop("0006.png", png(stack(1)[0, 0]), folder)
    waiting = populated.waiting()
    assert waiting.keys() == {folder}
    assert "drop/TOKEN/CHANNEL/" in waiting[folder]
    look_after_folders(populated.process().drop)
    assert populated.waiting() == waiting


def test_slices_that_lie_too_deep_are_strays_of_the_job(populated: IngestWorld):
    populated.drop("section/more/0006.png", png(stack(1)[0, 0]))
    (fault,) = populated.faults()
    assert fault.key == f"{FOLDER}section/more/0006.png"
    assert "section/more is not a folder of a time point" in fault.error
