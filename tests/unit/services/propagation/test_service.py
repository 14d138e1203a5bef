"""Values of propagation: messages, rows, bands, roots, pace."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ndlambda.errors import MalformedBodyError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.propagation.builder import PyramidNode
from ndlambda.services.propagation.jobs import JobState, PropagationJob, Stage, TaskMessage
from ndlambda.services.propagation.ledger import layer_name, node_of
from ndlambda.services.propagation.marks import DirtyMark
from ndlambda.services.propagation.plan import Layer, Planner
from ndlambda.services.propagation.rows import mark_tail, partition
from ndlambda.services.propagation.status import pace_of, status_of
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.ports import MAX_MESSAGE_BYTES, ObjectInfo, Row

CHANNEL = Channel("p", "c", ChannelType.IMAGE, DataType.UINT8, uid="u")
JOB = PropagationJob("u", "p", "c", "d", 3, "mean", True, 3, 100.0, 100.0, 100.0)
SLICES = Dataset("d", (1 << 15, 1 << 15, 1000), voxelres_xyz=(4, 4, 30), scalinglevels=7)
CUBES = replace(SLICES, scaling=Scaling.ISOTROPIC)


class Listing:
    """A store of objects by their keys."""

    def __init__(self, *keys: str) -> None:
        self._keys = sorted(f"p/c/u/{key}" for key in keys)

    def list(self, prefix: str, after: str = "") -> Any:
        return (ObjectInfo(key, 1) for key in self._keys if key.startswith(prefix) and key > after)


def planner(dataset: Dataset = SLICES, depth: int = 3, **changes: Any) -> Planner:
    return Planner(dataset, replace(CHANNEL, **changes), depth)


# --- messages and rows -------------------------------------------------------------------------


@pytest.mark.parametrize("call", [
    TaskMessage("u"), TaskMessage("u", is_redelivery=True),
    TaskMessage("u", "a1", "03p", 7, 0x1FF), TaskMessage("u", "x", "10n", is_redelivery=True),
], ids=str)  # fmt: skip
def test_messages_say_what_was_meant(call):
    assert TaskMessage.from_body(call.body) == call
    assert len(call.body) < MAX_MESSAGE_BYTES / 10


@pytest.mark.parametrize("poison", [
    *("", "{", "[]", "null", "{}", '{"v": 2, "uid": "u"}', '{"v": 1}', '{"v": 1, "uid": ""}'),
    '{"v": 1, "uid": "u", "plan": "a"}',
    '{"v": 1, "uid": "u", "plan": "a", "layer": "03p", "time": 0, "root": "zz"}',
])  # fmt: skip
def test_what_is_no_message_of_ours_is_refused(poison):
    with pytest.raises(MalformedBodyError):
        TaskMessage.from_body(poison)


def test_a_message_may_say_more_and_was_sent_again_only_if_it_says_so():
    assert not TaskMessage.from_body('{"v": 1, "uid": "u", "again": 1}').is_redelivery
    assert TaskMessage.from_body('{"v": 1, "uid": "u", "note": "more"}') == TaskMessage("u")


def test_layers_have_names_that_messages_carry():
    name = layer_name(11, neariso=True)
    assert node_of(TaskMessage("u", "a", name, 2, 9)) == PyramidNode(11, 2, 9, neariso=True)
    assert layer_name(3, neariso=False) == "03p"


def test_jobs_are_kept_in_rows():
    job = replace(JOB, state=JobState.FAILED, stage=Stage.CLOSING, tasks=(3, 4), reason="x")
    assert PropagationJob.from_row(job.row) == job


def test_every_step_has_a_position_of_its_own():
    steps = [
        JOB, replace(JOB, run=4), replace(JOB, resumption=1),
        replace(JOB, state=JobState.CANCELLED), replace(JOB, stage=Stage.PLANNING),
        replace(JOB, round=1), replace(JOB, band=1), replace(JOB, notes="n"),
        replace(JOB, plan="p"),
    ]  # fmt: skip
    assert len({step.fencing_token for step in steps}) == len(steps)
    assert replace(JOB, called_at=7.0, seen=3).fencing_token == JOB.fencing_token


# --- bands -------------------------------------------------------------------------------------


def levels_of(bands: Any) -> list[list[tuple[int, ...]]]:
    return [[layer.resolutions for layer in band] for band in bands]


@pytest.mark.parametrize(("size_xyz", "levels"), [
    ((750, 500, 500), [[(1,)], [(2, 3, 4)]]), ((250, 250, 250), [[(1, 2, 3)], [(4,)]]),
])  # fmt: skip
def test_a_band_gives_up_levels_where_workers_would_have_nothing_to_do(size_xyz, levels):
    """Three levels of the first are below one root, so one worker would build all of them."""
    cubes = Dataset("ds", size_xyz, scaling=Scaling.ISOTROPIC, scalinglevels=4)
    assert levels_of(planner(cubes, cuboids_per_axis=2).bands(full=True)) == levels


def test_bands_have_three_levels_and_near_isotropic_variants_come_last():
    bands = planner().bands(full=True)
    assert levels_of(bands[:3]) == [[(1, 2, 3)], [(4, 5, 6)], [(7,)]]
    assert bands[3] == tuple(Layer(resolution, neariso=True) for resolution in range(4, 8))


def test_bands_begin_above_the_channels_own_level():
    assert planner(resolution=5).bands(full=True)[0] == (Layer(7, 2),)
    assert planner(resolution=7).bands(full=True) == planner(resolution=7).bands(full=False) == ()


def test_a_task_reads_at_most_512_supercuboids():
    bands = planner(CUBES, depth=9).bands(full=True)
    assert [band[0].depth for band in bands] == [3, 3, 1]
    assert [band[0].depth for band in planner(depth=9).bands(full=True)[:2]] == [4, 3]


def test_later_rounds_go_level_by_level_with_the_variant_of_each():
    bands = planner().bands(full=False)
    assert [band[0] for band in bands] == [Layer(resolution) for resolution in range(1, 8)]
    assert [len(band) for band in bands] == [1, 1, 1, 2, 2, 2, 2]


def test_roots_come_from_what_is_stored_at_any_level_of_the_band():
    (layer,) = planner().bands(full=True)[0]
    code = 0b11_010_001 << 6  # x, y and z interleaved; three levels halve x and y only
    objects = Listing(f"0/0/{code:016x}", f"0/5/{0:016x}", f"2/0/{1 << 30:016x}", f"4/0/{9:016x}")
    roots = set(planner().listed_roots(objects, (layer,)))
    ancestry = planner().ancestry
    assert roots == {
        PyramidNode(3, 0, ancestry.root(0, code, 3)),
        PyramidNode(3, 5, 0),
        PyramidNode(3, 0, ancestry.root(2, 1 << 30, 1)),
    }


def test_variants_come_from_the_plain_level_below_and_from_old_variants():
    layer = Layer(4, neariso=True)
    objects = Listing(f"3/0/{0:016x}", f"4n/0/{1 << 12:016x}", f"4/0/{8:016x}")
    roots = set(planner().listed_roots(objects, (layer,)))
    assert roots == {PyramidNode(4, 0, 0, neariso=True), PyramidNode(4, 0, 1 << 12, neariso=True)}


def test_marks_reach_up_to_every_level_and_stand_for_themselves():
    marks = [DirtyMark(0, 0, [0, 5]), DirtyMark(2, 1, [1 << 9])]
    bands = planner(CUBES).bands(full=False)
    assert [set(planner(CUBES).marked_roots(marks, band)) for band in bands[:3]] == [
        {PyramidNode(1, 0, 0)},
        {PyramidNode(2, 0, 0), PyramidNode(2, 1, 1 << 9)},
        {PyramidNode(3, 0, 0), PyramidNode(3, 1, 1 << 6)},
    ]


def test_marks_reach_variants_of_the_levels_above_them():
    band = planner().bands(full=False)[3]
    assert set(planner().marked_roots([DirtyMark(4, 0, [3])], band)) == {PyramidNode(4, 0, 3)}
    above = set(planner().marked_roots([DirtyMark(0, 0, [0])], band))
    assert PyramidNode(4, 0, 0, neariso=True) in above


# --- pace --------------------------------------------------------------------------------------


def progress_of(done: int, now: float = 110.0, **changes: Any) -> tuple[Any, list[str]]:
    job = replace(JOB, **{"stage": Stage.BUILDING, "tasks": (100,)} | changes)
    statuses = status_of(job, planner().bands(full=True), done=done)
    pace = pace_of(job, statuses, planner().weights(full=True), now=now)
    return pace, [status.state for status in statuses]


def test_the_pace_is_that_of_the_band_since_it_was_begun_or_resumed():
    pace, states = progress_of(40, base=20)
    assert pace.tasks_per_s == 2
    assert pace.eta_s > 30
    assert 0.3 < pace.progress < 0.4
    assert states == ["building", "waiting", "waiting", "waiting"]


def test_without_progress_there_is_no_pace_and_at_the_end_all_is_done():
    pace, _ = progress_of(0)
    assert (pace.progress, pace.tasks_per_s, pace.eta_s) == (0.0, None, None)
    pace, states = progress_of(0, 999.0, stage=Stage.CLOSING, band=4, tasks=(9, 3, 1, 0))
    assert (pace.progress, set(states)) == (1, {"done"})


# --- frozen ------------------------------------------------------------------------------------


def test_rows_and_messages_that_were_written_before_are_read():
    """A run that an older version began goes on after an update; its rows stay where they are."""
    doc = {
        "v": 1, "uid": "u", "project": "p", "channel": "c", "dataset": "d", "run": 3,
        "method": "mean", "full": True, "depth": 3, "started_at": 100.0, "since": 100.0,
        "called_at": 100.0, "resumption": 0, "state": "running", "stage": "building", "round": 0,
        "band": 1, "notes": "n1", "plan": "p1", "tasks": [4, 1], "base": 0, "seen": 0,
        "finished_at": 0, "reason": "",
    }  # fmt: skip
    job = replace(JOB, stage=Stage.BUILDING, band=1, notes="n1", plan="p1", tasks=(4, 1))
    assert PropagationJob.from_row(Row("propagation", "u", doc=doc)) == job
    row = job.row
    doc |= {"owner_id": None, "token": ""}  # newer versions say who started it
    assert (row.pk, row.sk, json.loads(json.dumps(row.doc))) == ("propagation", "u", doc)
    assert partition("u") == "propagation#u"
    assert mark_tail(3, 2, 1 << 20) == "03#00000002#00000000100000"
    body = '{"v": 1, "uid": "u", "plan": "p1", "layer": "04n", "time": 2, "root": "1ff"}'
    assert TaskMessage("u", "p1", "04n", 2, 0x1FF).body == body
