"""``ndlambda ingest --raw-slices``: files as they are, decoded by the server."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from ndlambda import settings
from ndlambda.client.ingest import Ingests
from tests.support.app import serving
from tests.support.ingest_command import Command, Way

CREATE = "--token demo --channel em --create --raw-slices"
GO_ON = "--token demo --channel em --raw-slices"
FIRST = 30
DEPTH = 42
"""Slices 30 to 71: slabs of 32 begin at 30 (the dataset's offset) and 62."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path / "nd") as server:
        yield Command(server)


@pytest.fixture
def voxels(tmp_path: Path) -> np.ndarray:
    """A folder ``s`` of PNG slices."""
    planes = np.random.default_rng(8).integers(1, 255, (DEPTH, 60, 70), dtype=np.uint8)
    (tmp_path / "s").mkdir()
    for z, plane in enumerate(planes):
        Image.fromarray(plane).save(tmp_path / "s" / f"em_{z + FIRST}.png")
    return planes


def test_files_are_sent_as_they_are_stored_and_verified(run, voxels, tmp_path):
    plan = run.ok(f"s {CREATE} --plan")
    assert f"{DEPTH} objects sent" in plan.out
    way = Way(run.server)
    done = run.ok(f"s {CREATE} --offset 5,7,{FIRST} --verify", way)
    assert np.array_equal(run.stored(), voxels)
    assert (way.puts(), f"{DEPTH} slices sent" in done.out) == (DEPTH, True)
    assert "verified, digest " in done.out
    sizes = sum(file.stat().st_size for file in (tmp_path / "s").iterdir())
    assert f"as {sizes / 1e6:.1f} MB" in plan.out
    assert f"as {sizes / 1e6:.1f} MB" in done.out
    assert run(f"verify {done.job}").code == 0


def test_what_was_sent_before_it_was_killed_is_not_sent_again(run, voxels):
    first, second = Way(run.server, left=40), Way(run.server)
    killed = run(f"s {CREATE}", first)
    done = run.ok(f"s {CREATE}", second)
    assert done.job == killed.job
    assert first.puts() + second.puts() == DEPTH
    assert np.array_equal(run.stored(), voxels)


def damage(path: Path) -> bytes:
    """Cut a file short; return what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    return whole


def test_a_slice_that_the_server_cannot_decode_ends_the_job_until_it_is_mended(
    run, voxels, tmp_path
):
    bad = tmp_path / "s" / "em_33.png"
    whole = damage(bad)
    stopped = run(f"s {CREATE}")
    assert stopped.code == 1
    assert "FAILED" in stopped.out
    assert f"with --job {stopped.job}" in stopped.err
    bad.write_bytes(whole)
    run.ok(f"s {GO_ON} --job {stopped.job} --verify")
    assert np.array_equal(run.stored(), voxels)


def test_slices_that_cannot_be_sent_or_decoded_are_left_out_and_mended(run, voxels, tmp_path):
    bad, gone = tmp_path / "s" / "em_33.png", tmp_path / "s" / "em_34.png"
    kept = {gone: gone.read_bytes(), bad: damage(bad)}
    gone.unlink()
    gone.symlink_to("nowhere")
    done = run.ok(f"s {CREATE} --on-bad skip")
    assert "COMPLETE_WITH_ERRORS" in done.out
    faults = json.loads(run(f"errors {done.job} --json").out)
    assert [fault["part"] for fault in faults] == [3, 4], "z 0 is the first slice"
    assert "cannot be sent" in faults[1]["error"]
    expected = voxels.copy()
    expected[[3, 4]] = 0
    assert np.array_equal(run.stored(), expected)

    gone.unlink()
    for file, body in kept.items():
        file.write_bytes(body)
    way = Way(run.server)
    assert " COMPLETE, " in run.ok(f"s {GO_ON} --job {done.job} --verify", way).out
    assert way.puts() == 2, "what was wrong, and nothing else"
    assert np.array_equal(run.stored(), voxels)


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """A server that takes bodies of 1000 bytes, and others by the addresses that it gives."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "LAMBDA_BODY_BYTES", 1000)
    with serving(tmp_path / "narrow", lambda_limits=True) as server:
        yield Command(server)


@pytest.mark.parametrize("policy", ["fail", "zero"])
def test_a_mended_file_that_is_longer_than_bodies_may_be_is_sent(narrow, voxels, tmp_path, policy):
    """Seen to fail where no address is given for what came and is no use: nothing is sent."""
    bad = tmp_path / "s" / "em_33.png"
    whole = damage(bad)
    stopped = narrow(f"s {CREATE} --on-bad {policy}")
    bad.write_bytes(whole)
    way = Way(narrow.server)
    narrow.ok(f"s {GO_ON} --job {stopped.job} --verify", way)
    assert np.array_equal(narrow.stored(), voxels)
    assert policy != "zero" or way.puts() == 1


def test_slices_that_somebody_else_sends_meanwhile_are_told(narrow, voxels, monkeypatch):
    """Seen to fail where what is not sent is passed over in silence."""
    theirs = narrow(f"s {CREATE}", Way(narrow.server, left=40))
    monkeypatch.setattr(Ingests, "missing", lambda *_: iter([0, 1]))
    ours = narrow.ok(f"s {GO_ON} --job {theirs.job} --no-wait")
    assert "0 slices sent, 2 by others meanwhile, " in ours.out


def test_missing_slices_that_count_as_zeros_are_sent_as_such(run, voxels, tmp_path):
    (tmp_path / "s" / "em_35.png").unlink()
    done = run.ok(f"s {CREATE} --gaps zero --verify")
    assert " COMPLETE, " in done.out
    voxels[5] = 0
    assert np.array_equal(run.stored(), voxels)


def test_labels_of_one_byte_are_widened_by_the_server(run, tmp_path):
    labels = np.zeros((3, 20, 30), np.uint8)
    labels[1, 5:9, 5:9] = 7
    (tmp_path / "l").mkdir()
    for z, plane in enumerate(labels):
        tifffile.imwrite(tmp_path / "l" / f"{z}.tiff", plane)
    run.ok(f"l {CREATE} --annotation --verify")
    assert np.array_equal(run.stored(), labels)


def test_only_folders_of_slices_are_sent_as_files(run, voxels, tmp_path):
    np.save(tmp_path / "a.npy", voxels)
    refused = run(f"a.npy {CREATE}")
    assert (refused.code, "Only a folder of slices" in refused.err) == (2, True)
