"""A label that others paint while it is erased or merged."""

import numpy as np
import pytest

from ndlambda.errors import WriteContentionError
from ndlambda.model.discipline import Discipline
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.service import LabelService
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.space.box import Box
from tests.support.label_world import (
    DATASET,
    LabelWorld,
    channel,
    disk_stores,
    filled,
    own_labels,
    region,
)

CHANNEL = channel()
LEVEL = DATASET.pyramid.level(0)
FIRST, SECOND = Box((0, 0, 0), (20, 20, 10)), Box((140, 140, 20), (160, 149, 30))
"""In two supercuboids."""
LABEL, SURVIVOR = 5, 9


@pytest.fixture
def world(tmp_path, pools):
    made = LabelWorld(*disk_stores(tmp_path), *pools)
    paint(made.service(), FIRST)
    return made


@pytest.fixture
def others(tmp_path, world, pools):
    """The service of another process, with threads of its own."""
    del world
    return LabelWorld(*disk_stores(tmp_path), *reversed(pools)).service()


def paint(labels: LabelService, box: Box) -> None:
    labels.paint(CHANNEL, region(DATASET, box), filled(box, LABEL), Discipline.OVERWRITE)


def erase(labels: LabelService) -> None:
    labels.erase_labels(DATASET, CHANNEL, [LABEL])


def merge(labels: LabelService) -> None:
    labels.merge_labels(DATASET, CHANNEL, SURVIVOR, [LABEL])


@pytest.mark.parametrize(("take_out", "left"), [(erase, [0]), (merge, [0, SURVIVOR])])
def test_what_is_painted_behind_the_first_round_goes_too(world, others, take_out, left):
    """Seen to fail where ``LabelRewrite.until_removed`` makes one round."""
    painted: list[Box] = []

    def paint_once(_: object) -> None:
        if not painted:
            painted.append(SECOND)
            paint(others, SECOND)

    take_out(world.service(options=VolumeOptions(on_change=paint_once)))
    assert painted
    place = region(DATASET, LEVEL.box)
    own = own_labels(world.objects, world.executor, DATASET, CHANNEL, place)
    assert np.unique(own).tolist() == left
    assert others.read.cuboids_of(LabelVolume(CHANNEL, LEVEL, 0), LABEL).size == 0


@pytest.mark.parametrize("take_out", [erase, merge])
def test_a_label_that_others_never_stop_painting_is_contention(world, others, take_out):
    """Seen to fail where the last round ends without an error."""
    options = VolumeOptions(on_change=lambda _: paint(others, FIRST), pause=lambda s: None)
    with pytest.raises(WriteContentionError) as caught:
        take_out(world.service(options=options))
    assert caught.value.details["label"] == LABEL
    paint(others, SECOND)
    take_out(world.service())
    assert others.read.cuboids_of(LabelVolume(CHANNEL, LEVEL, 0), LABEL).size == 0
