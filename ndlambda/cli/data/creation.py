"""Creates what ``--create`` requests: whatever is missing between the token and the channel."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import click
import numpy as np

from ingest_queue.sources import Source
from ndlambda.cli.catalog.dataset import dataset_fields
from ndlambda.cli.data.label_checks import refuse_grey_labels, refuse_lossy_labels
from ndlambda.client import Client, Volume
from ndlambda.errors import DataTypeMismatchError, InvalidArgumentError
from ndlambda.model.dtypes import COMBINATIONS, ChannelType
from ndlambda.model.reserved import check_unreserved
from ndlambda.space.box import XYZ
from ndlambda.space.pyramid import (
    Pyramid,
    Scaling,
    describe_scaling,
    natural_scaling,
    useful_levels,
)

_ASSUMED_VOXELRES: Final = (1.0, 1.0, 1.0)
_VOXELRES: Final = ("xvoxelres", "yvoxelres", "zvoxelres")


@dataclass(frozen=True, slots=True)
class StackTarget:
    """Names and properties of a stack's target; None takes the value of the data or the token."""

    token: str
    channel: str
    dataset: str | None = None
    project: str | None = None
    resolution: int = 0
    corner_xyz: XYZ | None = None
    start_time: int | None = None
    voxelres_xyz: tuple[float, float, float] | None = None
    scaling: Scaling | None = None
    levels: int | None = None
    public: bool = False
    annotation: bool = False
    cast: bool = False
    labels: bool = False


@contextmanager
def creating(
    client: Client, source: Source, target: StackTarget, *, create: bool
) -> Iterator[bool]:
    """Create what is missing, if that is asked for; yield whether the channel is new.

    If the data prove bad after that, what was made is named, and how it is deleted.
    """
    made: dict[str, str] = {}
    try:
        yield create and create_missing(client, source, target, made)
    except InvalidArgumentError:
        if made:
            names = ", ".join(f"{kind} {name}" for kind, name in made.items())
            parts = [("dataset",), ("project",), ("channel", "token")]
            tops = next(found for kinds in parts if (found := [k for k in kinds if k in made]))
            deletion = " and ".join(f"`ndlambda {kind} delete {made[kind]}`" for kind in tops)
            _tell(
                f"Made for this data, and kept: {names}. Mend the data and run the command again, "
                f"or remove what was made by {deletion}."
            )
        raise


def create_missing(
    client: Client, source: Source, target: StackTarget, made: dict[str, str]
) -> bool:
    """Create the dataset, project, channel and token that are missing.

    Options that would be given to what exists must agree with it; nothing is created otherwise.

    Parameters
    ----------
    made
        Is given the kind and path of what is created.

    Returns
    -------
    bool
        Whether the channel is new, so that nothing can be stored in it yet.

    Raises
    ------
    DataTypeMismatchError
        No channel type that suits the data has its dtype.
    InvalidNameError
        A new token or channel would be named by a reserved word; nothing is created.
    InvalidArgumentError
        What exists has other values than the options; the token belongs to another project than the
        one named; or a dataset would be created from data of a coarser resolution.
    """
    fields = _channel_fields(source, target)
    known = {token["token_name"]: token for token in client.list_tokens()}
    token = known.get(target.token)
    if token is None:
        check_unreserved(target.token, "token")
        check_unreserved(target.channel, "channel")
        dataset, project = target.dataset or target.token, target.project or target.token
    else:
        dataset, project = token["dataset"], token["project"]
        if target.dataset not in {None, dataset} or target.project not in {None, project}:
            raise InvalidArgumentError(
                f"Token {target.token} leads to {dataset}/{project}; leave out --dataset and "
                "--project, or name another token."
            )
    found = _Existing.find(client, (dataset, project, target.channel), token)
    found.check(target)
    if found.dataset is None:
        client.datasets.create(dataset, **_dataset_fields(source, target))
        made["dataset"] = dataset
    if found.project is None:
        client.projects(dataset).create(project, public=int(target.public))
        made["project"] = f"{dataset}/{project}"
    if found.channel is None:
        client.channels(dataset, project).create(target.channel, **fields)
        made["channel"] = f"{dataset}/{project}/{target.channel}"
    if token is None:
        client.tokens(dataset, project).create(target.token, public=int(target.public))
        made["token"] = f"{dataset}/{project}/{target.token}"
    return found.channel is None


@dataclass(frozen=True, slots=True)
class _Existing:
    """What exists of a target, under ndstore's field names; None is missing."""

    dataset: dict[str, Any] | None
    project: dict[str, Any] | None
    channel: dict[str, Any] | None
    token: dict[str, Any] | None

    @classmethod
    def find(
        cls, client: Client, names: tuple[str, str, str], token: dict[str, Any] | None
    ) -> "_Existing":
        dataset, project, channel = names
        found = client.datasets.find(dataset)
        below = None if found is None else client.projects(dataset).find(project)
        if below is None and token is not None:
            return cls._seen(client, channel, token)
        last = None if below is None else client.channels(dataset, project).find(channel)
        return cls(found, below, last, token)

    @classmethod
    def _seen(cls, client: Client, name: str, token: dict[str, Any]) -> "_Existing":
        """Return what a token shows of resources that belong to others."""
        document = client.info(token["token_name"])
        shown, channel = document["dataset"], document["channels"].get(name)
        dataset = dict(zip(_VOXELRES, shown["voxelres"]["0"], strict=True)) | {
            "scalinglevels": shown["scalinglevels"],
            "scalingoption": Scaling.ZSLICES if "neariso_offset" in shown else Scaling.ISOTROPIC,
        }
        return cls(dataset, {}, channel, token)

    @property
    def voxelres_xyz(self) -> tuple[float, ...]:
        return tuple(float((self.dataset or {})[name]) for name in _VOXELRES)

    def check(self, target: StackTarget) -> None:
        """Refuse options that disagree with what exists.

        Raises
        ------
        InvalidArgumentError
            Names both values of each.
        """
        different = list(self._differences(target))
        if different:
            raise InvalidArgumentError(
                f"What exists has other values: {'; '.join(different)}. Leave the options out to "
                "use what exists, or choose other names."
            )

    def _differences(self, target: StackTarget) -> Iterator[str]:
        if self.dataset is not None:
            what = f"dataset {target.dataset or target.token}" if self.token is None else "dataset"
            if target.voxelres_xyz not in {None, self.voxelres_xyz}:
                size, wanted = _text(self.voxelres_xyz), _text(target.voxelres_xyz)
                yield f"{what} has voxels of {size} nm, not {wanted} (--voxelres)"
            scaling = Scaling(self.dataset["scalingoption"])
            if target.scaling is not None and target.scaling is not scaling:
                wanted = target.scaling.name.lower()
                yield f"{what} has the scaling {scaling.name.lower()}, not {wanted} (--scaling)"
            levels = self.dataset["scalinglevels"]
            if target.levels not in {None, levels}:
                yield f"{what} has {levels} coarser resolutions, not {target.levels} (--levels)"
        shared = {"dataset": self.dataset, "project": self.project, "token": self.token}
        for kind, fields in shared.items():
            if target.public and fields is not None and fields.get("public") == 0:
                yield f"the {kind} is private, not public (--public)"
        kind = (self.channel or {}).get("channel_type", "annotation")
        if target.annotation and kind != "annotation":
            yield f"channel {target.channel} is of type {kind}, not annotation (--annotation)"


def tell_voxelres(source: Source, volume: Volume, target: StackTarget) -> None:
    """Say so if the data and the resolution that they go to have voxels of other sizes."""
    size, other = source.voxelres_xyz, volume.voxelres
    if size is not None and target.voxelres_xyz is None and not np.allclose(size, other, 1e-6, 0):
        _tell(
            f"The data says voxels of {_text(size)} nm; resolution {volume.resolution} of the "
            f"dataset has {_text(other)} nm."
        )


def pyramid_of(source: Source, target: StackTarget) -> Pyramid:
    """Return the geometry of the dataset that would be created."""
    _, z, y, x = source.shape_tzyx
    voxelres = target.voxelres_xyz or source.voxelres_xyz or _ASSUMED_VOXELRES
    scaling = natural_scaling(voxelres) if target.scaling is None else target.scaling
    levels = useful_levels((x, y, z), scaling) if target.levels is None else target.levels
    return Pyramid((x, y, z), target.corner_xyz or (0, 0, 0), voxelres, scaling, levels)


def _dataset_fields(source: Source, target: StackTarget) -> dict[str, object]:
    if target.resolution != 0:
        raise InvalidArgumentError(
            "A dataset is created from data of resolution 0; use `ndlambda dataset create`."
        )
    pyramid = pyramid_of(source, target)
    if target.voxelres_xyz is None and source.voxelres_xyz is None:
        _tell("The data says no voxel size; 1,1,1 nm is assumed. --voxelres X,Y,Z says another.")
    if target.scaling is None or target.levels is None:
        _tell(describe_scaling(pyramid.scaling, pyramid.levels, pyramid.voxelres_xyz))
    fields = dataset_fields(pyramid.imagesize_xyz, pyramid.offset_xyz, pyramid.voxelres_xyz)
    return fields | {
        "scalingoption": pyramid.scaling.value,
        "scalinglevels": pyramid.levels,
        "public": int(target.public),
    }


def _tell(note: str) -> None:
    click.echo(f"ndlambda: {note}", err=True)


def _text(values: tuple[float, ...] | None) -> str:
    return ",".join(f"{value:g}" for value in values or ())


def _channel_fields(source: Source, target: StackTarget) -> dict[str, object]:
    times = source.shape_tzyx[0]
    kind = ChannelType.TIMESERIES if times > 1 else ChannelType.IMAGE
    dtype = source.dtype
    if target.annotation:
        refuse_lossy_labels(source)
        if not target.labels:
            refuse_grey_labels(source)
        kind = ChannelType.ANNOTATION
        if dtype.kind in "bui":  # ids are converted as far as they fit
            dtype = np.dtype(np.uint32 if dtype.itemsize <= 4 else np.uint64)
    elif target.cast:
        dtype = np.dtype({"b": np.uint8, "f": np.float32}.get(dtype.kind, dtype))
    known = sorted(str(datatype) for datatype in COMBINATIONS[kind])
    if dtype.name not in known:
        raise DataTypeMismatchError(
            f"The data is {dtype.name}, but channels of type {kind} are {', '.join(known)}; "
            "convert the data first (--cast, where every value fits).",
            dtype=dtype.name,
            known=known,
        )
    start = target.start_time or 0
    return {
        "channel_type": str(kind),
        "channel_datatype": dtype.name,
        "starttime": start,
        "endtime": start + times,
    }
