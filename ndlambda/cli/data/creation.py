"""What ``put --create`` makes: whatever is missing between the token and the channel."""

from dataclasses import dataclass

import numpy as np

from ingest_queue.sources import Source
from ndlambda.cli.catalog.dataset import dataset_fields
from ndlambda.client import Client
from ndlambda.errors import DataTypeMismatchError, InvalidArgumentError
from ndlambda.model.dtypes import COMBINATIONS, ChannelType
from ndlambda.space.box import XYZ
from ndlambda.space.pyramid import Scaling, useful_levels


@dataclass(frozen=True, slots=True)
class Wanted:
    """Names and properties of what ``put`` writes to; None takes what the data or token says."""

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


def create_missing(client: Client, source: Source, wanted: Wanted) -> bool:
    """Make dataset, project, channel and token where missing.

    Returns
    -------
    fresh
        Whether the channel was made now, so that nothing can be stored in it yet.

    Raises
    ------
    DataTypeMismatchError
        No channel of the wanted type has the data's dtype.
    InvalidArgumentError
        The token leads to another project than the one named, or a dataset would have to be made
        from data of a coarser resolution.
    """
    fields = _channel_fields(source, wanted)
    known = {token["token_name"]: token for token in client.list_tokens()}
    token = known.get(wanted.token)
    if token is None:
        dataset, project = wanted.dataset or wanted.token, wanted.project or wanted.token
        if client.datasets.find(dataset) is None:
            client.datasets.create(dataset, **_dataset_fields(source, wanted))
        if client.projects(dataset).find(project) is None:
            client.projects(dataset).create(project, public=int(wanted.public))
    else:
        dataset, project = token["dataset"], token["project"]
        if wanted.dataset not in {None, dataset} or wanted.project not in {None, project}:
            raise InvalidArgumentError(
                f"Token {wanted.token} leads to {dataset}/{project}; leave out --dataset and "
                "--project, or name another token."
            )
    channels = client.channels(dataset, project)
    fresh = channels.find(wanted.channel) is None
    if fresh:
        channels.create(wanted.channel, **fields)
    if token is None:
        client.tokens(dataset, project).create(wanted.token, public=int(wanted.public))
    return fresh


def refuse_lossy_labels(source: Source) -> None:
    """See that labels come from a format that keeps them.

    Raises
    ------
    DataTypeMismatchError
        It is a lossy one, which makes other labels of labels.
    """
    if not source.labels_allowed:
        raise DataTypeMismatchError(
            "The data is of a lossy format (JPEG), which changes labels; save it as PNG or TIFF."
        )


def _dataset_fields(source: Source, wanted: Wanted) -> dict[str, object]:
    if wanted.resolution != 0:
        raise InvalidArgumentError(
            "A dataset is made from data of resolution 0; make it with `ndlambda dataset create`."
        )
    _, z, y, x = source.shape_tzyx
    voxelres = wanted.voxelres_xyz or source.voxelres_xyz or (1.0, 1.0, 1.0)
    fields = dataset_fields((x, y, z), wanted.corner_xyz or (0, 0, 0), voxelres)
    return fields | {
        "scalingoption": wanted.scaling.value,
        "scalinglevels": useful_levels(max(x, y)) if wanted.levels is None else wanted.levels,
        "public": int(wanted.public),
    }


def _channel_fields(source: Source, wanted: Wanted) -> dict[str, object]:
    times = source.shape_tzyx[0]
    kind = ChannelType.TIMESERIES if times > 1 else ChannelType.IMAGE
    dtype = source.dtype
    if wanted.annotation:
        refuse_lossy_labels(source)
        kind = ChannelType.ANNOTATION
        if np.can_cast(dtype, np.uint32, "safe"):
            dtype = np.dtype(np.uint32)
    known = sorted(str(datatype) for datatype in COMBINATIONS[kind])
    if dtype.name not in known:
        raise DataTypeMismatchError(
            f"The data is {dtype.name}, but channels of type {kind} are {', '.join(known)}; "
            "convert the data first.",
            dtype=dtype.name,
            known=known,
        )
    start = wanted.start_time or 0
    return {
        "channel_type": str(kind),
        "channel_datatype": dtype.name,
        "starttime": start,
        "endtime": start + times,
    }
