"""Objects with voxels, boxes and questions as hypothesis draws them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ndlambda.model.ramon import Annotation, Neuron, Organelle, Seed, Segment, Synapse
from ndlambda.space.box import Box
from ndlambda.wire.ramon.contract import AnnotationVoxels, RamonItem
from tests.support.annotation_model import LEVELS

BEGUN = st.sampled_from([0, 0, *range(1, 8)])
"""An id that is chosen for an object, or 0."""


@st.composite
def ramons(draw: st.DrawFn) -> Annotation:
    number, other = draw(BEGUN), draw(st.integers(0, 9))
    common: dict[str, Any] = {
        "id": number,
        "status": draw(st.integers(0, 2)),
        "confidence": draw(st.sampled_from([0.0, 0.25, 0.5])),
        "kvpairs": draw(st.dictionaries(st.sampled_from("kl"), st.sampled_from("ab"))),
    }
    made: list[Callable[[], Annotation]] = [
        lambda: Annotation(**common), lambda: Segment(neuron=other, **common),
        lambda: Segment(neuron=other, **common),
        lambda: Synapse(segments=(other, 3), presegments=(3,), **common), lambda: Neuron(**common),
        lambda: Organelle(segment=other, **common), lambda: Seed(**common),
    ]  # fmt: skip
    return draw(st.sampled_from(made))()


@st.composite
def boxes(draw: st.DrawFn, resolution: int, longest: int = 24) -> Box:
    """Boxes that often meet at the corner of cuboids and supercuboids."""
    ends = []
    edges = ((0, 60, 120, 127, 128), (0, 40, 70, 127, 128), (0, 14, 15, 16, 30, 32))
    for size, starts in zip(LEVELS[resolution].imagesize_xyz, edges, strict=True):
        start = draw(st.sampled_from([n for n in starts if n < size]))
        ends.append((start, min(size, start + draw(st.integers(1, longest)))))
    return Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))


@st.composite
def items(draw: st.DrawFn) -> tuple[RamonItem, list[tuple[int, np.ndarray]]]:
    """Return an object with voxels, and what it paints, as masks of whole resolutions."""
    ramon = draw(ramons())
    kinds = draw(st.sampled_from(["", "list", "block", "list and block"]))
    if not kinds:
        return RamonItem(ramon), []
    resolution = draw(st.sampled_from([0, 0, 1]))
    level, box = LEVELS[resolution], draw(boxes(resolution))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    offset = np.array(level.offset_xyz)
    data, masks = AnnotationVoxels(resolution), []
    if "list" in kinds:
        voxels = random.integers(box.start_xyz, box.stop_xyz, (draw(st.integers(0, 80)), 3))
        masks.append((resolution, np.zeros(level.box.shape_zyx, np.bool_)))
        masks[-1][1][tuple(voxels.T[::-1])] = True
        data = replace(data, voxels_xyz=(voxels + offset).astype("<u4"))
    if "block" in kinds:
        block = random.random(box.shape_zyx) < draw(st.sampled_from([0.0, 0.1, 1.0]))
        masks.append((resolution, np.zeros(level.box.shape_zyx, np.bool_)))
        masks[-1][1][box.slices_zyx()] = block
        corner = tuple((np.array(box.start_xyz) + offset).tolist())
        sent = block.astype(draw(st.sampled_from(["u1", "<u4"]))) * 3
        data = replace(data, corner_xyz=corner, cutout_zyx=sent)
    return RamonItem(ramon, data), masks


def predicate(kind: str, value: int) -> tuple[list[str], Callable[[Any], bool]]:
    """Return the words of a predicate, and whether it holds for an object."""
    letter, share = "ab"[value % 2], value / 8
    predicates: dict[str, tuple[list[str], Callable[[Any], bool]]] = {
        "": ([], lambda ramon: True),
        "type": (["type", f"{value + 1}"], lambda ramon: ramon.ramon_type == value + 1),
        "status": (["status", f"{value}"], lambda ramon: ramon.status == value),
        "lt": (["confidence", "lt", f"{share}"], lambda ramon: ramon.confidence < share),
        "gt": (["confidence", "gt", f"{share}"], lambda ramon: ramon.confidence > share),
        "k": (["k", letter], lambda ramon: ramon.kvpairs.get("k") == letter),
        "seg_neuron": (
            ["seg_neuron", f"{value}"],
            lambda ramon: isinstance(ramon, Segment) and ramon.neuron == value,
        ),
        "syn_segments": (
            ["syn_segments", f"{value}"],
            lambda ramon: isinstance(ramon, Synapse) and value in ramon.segments,
        ),
    }
    return predicates[kind]
