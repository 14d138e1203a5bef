"""Creates what ``--create`` requests: whatever is missing between the token and the channel."""

from dataclasses import dataclass

import numpy as np

from ingest_queue.sources import Source
from ndlambda.cli.catalog.dataset import dataset_fields
from ndlambda.client import Client
from ndlambda.errors import DataTypeMismatchError, InvalidArgumentError
from ndlambda.model.dtypes import COMBINATIONS, ChannelType
from ndlambda.model.reserved import check_unreserved
from ndlambda.space.box import XYZ
from ndlambda.space.pyramid import Scaling, useful_levels


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
    scaling: Scaling = Scaling.ZSLICES
    levels: int | None = None
    public: bool = False
    annotation: bool = False
    cast: bool = False


def create_missing(client: Client, source: Source, target: StackTarget) -> bool:
    """Create the dataset, project, channel and token that are missing.

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
        The token belongs to another project than the one named, or a dataset would be created from
        data of a coarser resolution.
    """
    fields = _channel_fields(source, target)
    known = {token["token_name"]: token for token in client.list_tokens()}
    token = known.get(target.token)
    if token is None:
        check_unreserved(target.token, "token")
        check_unreserved(target.channel, "channel")
        dataset, project = target.dataset or target.token, target.project or target.token
        if client.datasets.find(dataset) is None:
            client.datasets.create(dataset, **_dataset_fields(source, target))
        if client.projects(dataset).find(project) is None:
            client.projects(dataset).create(project, public=int(target.public))
    else:
        dataset, project = token["dataset"], token["project"]
        if target.dataset not in {None, dataset} or target.project not in {None, project}:
            raise InvalidArgumentError(
                f"Token {target.token} leads to {dataset}/{project}; leave out --dataset and "
                "--project, or name another token."
            )
    channels = client.channels(dataset, project)
    is_new = channels.find(target.channel) is None
    if is_new:
        channels.create(target.channel, **fields)
    if token is None:
        client.tokens(dataset, project).create(target.token, public=int(target.public))
    return is_new


def refuse_lossy_labels(source: Source) -> None:
    """Refuse labels from a format that changes them.

    Raises
    ------
    DataTypeMismatchError
        The format is lossy, or samples of a few bits are shown as 0 to 255.
    """
    if not source.labels_allowed:
        raise DataTypeMismatchError(
            "The data is of a lossy format (JPEG) or has fewer than 8 bits a sample, which changes "
            "labels; save it as PNG or TIFF of 8 bits or more."
        )


def _dataset_fields(source: Source, target: StackTarget) -> dict[str, object]:
    if target.resolution != 0:
        raise InvalidArgumentError(
            "A dataset is created from data of resolution 0; use `ndlambda dataset create`."
        )
    _, z, y, x = source.shape_tzyx
    voxelres = target.voxelres_xyz or source.voxelres_xyz or (1.0, 1.0, 1.0)
    fields = dataset_fields((x, y, z), target.corner_xyz or (0, 0, 0), voxelres)
    return fields | {
        "scalingoption": target.scaling.value,
        "scalinglevels": useful_levels(max(x, y)) if target.levels is None else target.levels,
        "public": int(target.public),
    }


def _channel_fields(source: Source, target: StackTarget) -> dict[str, object]:
    times = source.shape_tzyx[0]
    kind = ChannelType.TIMESERIES if times > 1 else ChannelType.IMAGE
    dtype = source.dtype
    if target.annotation:
        refuse_lossy_labels(source)
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
