"""What a pyramid must be: whole arrays, halved without any grid; and the building of all of one."""

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any

import numpy as np

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.propagation.builder import Built, PyramidBuilder, PyramidNode
from ndlambda.services.volume.occupancy import stored_codes
from ndlambda.services.volume.region import Region
from ndlambda.space.ancestry import Ancestry, has_neariso
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.ports import ObjectStore
from ndlambda.voxels.downsample import Method


def halved(whole: np.ndarray, *, z: bool, method: Method, colours: bool = False) -> np.ndarray:
    """Return a whole level (z, y, x) from the one below it."""
    if method is Method.LABELS:
        return _voted(whole, z=z)
    if colours:
        quads = np.ascontiguousarray(whole).view("u1").reshape(*whole.shape, 4)
        planes = [quads[..., byte] for byte in range(4)]
        if method is Method.NEAREST:
            return _picked(whole, z=z, colours=True)
        means = np.stack([_mean(plane, z=z) for plane in planes], axis=-1)
        return np.ascontiguousarray(means).view("<u4")[..., 0]
    return _mean(whole, z=z) if method is Method.MEAN else _picked(whole, z=z)


def _windows(shape: tuple[int, ...], *, z: bool) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Give, for each place in the window, where it is taken and whether it is there."""
    factors = (2 if z else 1, 2, 2)
    for place in np.ndindex(*factors):
        axes = [
            np.arange(-(-length // factor)) * factor + at
            for length, factor, at in zip(shape, factors, place, strict=True)
        ]
        there = [axis < length for axis, length in zip(axes, shape, strict=True)]
        yield (
            [np.minimum(axis, length - 1) for axis, length in zip(axes, shape, strict=True)],
            np.logical_and.outer(np.logical_and.outer(there[0], there[1]), there[2]),
        )


def _mean(whole: np.ndarray, *, z: bool) -> np.ndarray:
    """Exact below 2^50, because the number of voxels is a power of two."""
    total: Any = 0
    count: Any = 0
    for axes, there in _windows(whole.shape, z=z):
        total = total + np.where(there, whole[np.ix_(*axes)].astype("f8"), 0)
        count = count + there
    mean = total / count
    return (mean if whole.dtype.kind == "f" else np.rint(mean)).astype(whole.dtype)


def _zeros_filled(whole: np.ndarray) -> np.ndarray:
    """Return slices in which a zero has the voxel of the other slice of its pair."""
    others = [min(z ^ 1, len(whole) - 1) for z in range(len(whole))]
    return np.where(whole == 0, whole[others], whole)


def _picked(whole: np.ndarray, *, z: bool, colours: bool = False) -> np.ndarray:
    rows, columns = (np.minimum(np.arange((n + 1) // 2) * 2 + 1, n - 1) for n in whole.shape[1:])
    planes = whole[:, rows][:, :, columns]
    return _merged(planes, colours=colours) if z else planes


def _merged(planes: np.ndarray, *, colours: bool) -> np.ndarray:
    merged = []
    for first in range(0, len(planes), 2):
        a, b = planes[first], planes[min(first + 1, len(planes) - 1)]
        if colours:
            four = [np.ascontiguousarray(each).view("u1").astype(int) for each in (a, b)]
            both = np.ascontiguousarray(((four[0] + four[1]) // 2).astype("u1")).view("<u4")
        elif a.dtype.kind == "f":
            both = (a + b) / 2
        else:
            wide = np.dtype("i8" if a.itemsize < 8 else "O")
            both = ((a.astype(wide) + b.astype(wide)) // 2).astype(a.dtype)
        merged.append(np.where(a == 0, b, np.where(b == 0, a, both)).astype(a.dtype))
    return np.stack(merged)


def vote(v00: int, v01: int, v10: int, v11: int) -> int:
    """Return the label of four as the contract words it, with its faulty case mended."""
    v = v00 or v01
    if v10 and (v == 0 or v10 in (v00, v01)):
        v = v10
    if v11 and (v == 0 or v11 in (v00, v01, v10)):
        v = v11
    return v


def _voted(whole: np.ndarray, *, z: bool) -> np.ndarray:
    padded = np.pad(whole, [(0, -n % by) for n, by in zip(whole.shape, (1 + z, 2, 2), strict=True)])
    labels, numbers = np.unique(padded, return_inverse=True)
    numbers = numbers.reshape(padded.shape)
    four = (numbers[:, y::2, x::2] for y in (0, 1) for x in (0, 1))
    blocks = reduce(lambda before, each: before * len(labels) + each, four)
    distinct, inverse = np.unique(blocks, return_inverse=True)
    votes = [
        vote(*labels[list(np.unravel_index(block, (len(labels),) * 4))].tolist())
        for block in distinct.tolist()
    ]
    planes = np.array(votes, whole.dtype)[inverse].reshape(blocks.shape)
    return np.where(planes[::2] != 0, planes[::2], planes[1::2]) if z else planes


def expected_levels(
    dataset: Dataset, channel: Channel, base: np.ndarray, method: Method
) -> Iterator[tuple[Region, np.ndarray]]:
    """Yield each level above the base (z, y, x), and its near-isotropic variant if any."""
    isotropic = dataset.scaling is Scaling.ISOTROPIC
    colours = channel.dtype == np.dtype("<u4") and not channel.is_annotation
    below = base
    for resolution in range(channel.resolution + 1, dataset.scalinglevels + 1):
        level = dataset.pyramid.level(resolution)
        if has_neariso(level):
            x, y, z = level.neariso_imagesize_xyz
            source = _zeros_filled(below[: 2 * z]) if method is Method.MEAN else below[: 2 * z]
            near = halved(source, z=True, method=method, colours=colours)
            yield region_of(dataset, resolution, neariso=True), near[:z, :y, :x]
        below = halved(below, z=isotropic, method=method, colours=colours)
        yield region_of(dataset, resolution), below


def region_of(
    dataset: Dataset, resolution: int, time_point: int = 0, *, neariso: bool = False
) -> Region:
    level = dataset.pyramid.level(resolution)
    whole = Region(level, level.box, (time_point, time_point + 1), neariso)
    return Region(level, whole.bounds, whole.times, neariso)


def build_all(
    builder: PyramidBuilder,
    objects: ObjectStore,
    dataset: Dataset,
    channel: Channel,
    method: Method,
    depth: int = 3,
) -> Built:
    """Build every level of time point 0, band by band, then the near-isotropic variants."""
    total = Built()
    for node, deep in plan(objects, dataset, channel, depth):
        built = builder.build(dataset, channel, node, deep, method)
        total = Built(
            total.objects_read + built.objects_read,
            total.objects_written + built.objects_written,
            total.voxels_read + built.voxels_read,
        )
    return total


def plan(
    objects: ObjectStore, dataset: Dataset, channel: Channel, depth: int
) -> Iterator[tuple[PyramidNode, int]]:
    """Yield the roots, and how deep each is built, from what is stored when their turn comes."""
    ancestry = Ancestry(dataset.pyramid, channel.cuboids_per_axis)
    source = channel.resolution
    while source < dataset.scalinglevels:
        deep = ancestry.band_depth(source, depth, 512)
        roots: set[int] = set()
        for below in range(deep + 1):
            resolution = source + deep - below
            region = region_of(dataset, resolution)
            codes = np.fromiter(stored_codes(objects, channel, region, 0), np.uint64)
            roots.update(ancestry.roots(resolution, codes, below).tolist())
        source += deep
        yield from ((PyramidNode(source, 0, code), deep) for code in sorted(roots))
    for resolution in range(channel.resolution + 1, dataset.scalinglevels + 1):
        yield from _neariso_nodes(objects, dataset, channel, resolution)


def _neariso_nodes(
    objects: ObjectStore, dataset: Dataset, channel: Channel, resolution: int
) -> Iterable[tuple[PyramidNode, int]]:
    ancestry = Ancestry(dataset.pyramid, channel.cuboids_per_axis)
    if not has_neariso(dataset.pyramid.level(resolution)):
        return []
    below = stored_codes(objects, channel, region_of(dataset, resolution - 1), 0)
    there = stored_codes(objects, channel, region_of(dataset, resolution, neariso=True), 0)
    parents = {ancestry.neariso_parent(resolution - 1, code) for code in below} | set(there)
    return [(PyramidNode(resolution, 0, code, True), 1) for code in sorted(parents - {None})]
