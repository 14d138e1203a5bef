"""Reads and validates autoIngest requests (ndstore's contract, section 15).

=============  ===================================================================================
key            value
=============  ===================================================================================
``dataset``    ``dataset_name``, ``imagesize``, ``voxelres``; ``offset``, ``timerange``,
               ``scaling``, ``scalinglevels``
``project``    ``project_name``; ``token_name`` (the project's), ``public`` (of the token)
``channels``   by name: ``channel_name``, ``datatype``, ``channel_type``, ``data_url``,
               ``file_format``, ``file_type``; ``timerange``, ``exceptions``, ``resolution``,
               ``windowrange``, ``readonly`` (0), and ours ``propagate``, ``on_bad``
``metadata``   anything; ignored
=============  ===================================================================================
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

from ingest_queue.fetch.worker import FetchPlan, TileLayout
from ingest_queue.images import tiles
from ingest_queue.images.decoder import SUFFIXES
from ingest_queue.jobs.job import Policy
from ingest_queue.requests.reading import (
    LARGEST,
    REQUIRED,
    Keys,
    Problems,
    list_of,
    read_object,
)
from ndlambda.errors import MalformedBodyError, NDLambdaError
from ndlambda.model.catalog import MAX_CHANNELS, Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType
from ndlambda.model.fields import (
    LONGEST_NAME,
    MAX_LEVELS,
    channel_from_fields,
    dataset_from_fields,
    project_from_fields,
    token_from_fields,
)
from ndlambda.model.readers import (
    Reader,
    Refusal,
    choice,
    flag,
    integer,
    number,
    one_of,
    size,
    text,
)

PARTS: Final = ("dataset", "project", "channels", "metadata")
_MAX_URL_CHARS: Final = 2000
_MAX_WINDOW: Final = 1e15
_NAME: Final = text(LONGEST_NAME)
_LOSSY: Final = frozenset({"jpg", "jpeg"})

CheckUrl = Callable[[str], str]
"""Returns the normal form of a folder's URL, or raises what is wrong with it."""


def _upper(kind: Reader) -> Reader:
    return lambda value: kind(value.upper() if isinstance(value, str) else value)


def _file_type(value: object) -> str:
    known = [suffix.removeprefix(".") for suffix in SUFFIXES]
    if not isinstance(value, str) or value.lower().removeprefix(".") not in known:
        raise Refusal(f"must be one of {', '.join(known)}")
    return value.lower().removeprefix(".")


def _zero_flag(value: object) -> bool:
    if flag(value):
        raise Refusal("must be 0: a read-only channel cannot be filled")
    return False


_PAIR: Final = list_of(integer(0, LARGEST), 2)
_DATASET: Keys = {
    "dataset_name": (_NAME, REQUIRED),
    "imagesize": (list_of(integer(1, LARGEST), 3), REQUIRED),
    "voxelres": (list_of(size(1e-9, 1e12), 3), REQUIRED),
    "offset": (list_of(integer(0, LARGEST), 3), (0, 0, 0)),
    "timerange": (_PAIR, (0, 0)),
    "scaling": (one_of((0, 1)), 0),
    "scalinglevels": (integer(0, MAX_LEVELS), None),
}
_PROJECT: Keys = {
    "project_name": (_NAME, REQUIRED),
    "token_name": (_NAME, ""),
    "public": (flag, False),
}
_CHANNEL: Keys = {
    "channel_name": (_NAME, REQUIRED),
    "datatype": (_NAME, REQUIRED),
    "channel_type": (_NAME, REQUIRED),
    "data_url": (text(_MAX_URL_CHARS), REQUIRED),
    "file_format": (_upper(choice(TileLayout)), REQUIRED),
    "file_type": (_file_type, REQUIRED),
    "timerange": (_PAIR, None),
    "exceptions": (flag, False),
    "resolution": (integer(0, MAX_LEVELS), 0),
    "windowrange": (list_of(number(-_MAX_WINDOW, _MAX_WINDOW), 2), (0, 0)),
    "readonly": (_zero_flag, False),
    "propagate": (flag, False),
    "on_bad": (choice(Policy), Policy.FAIL),
}


@dataclass(frozen=True, slots=True)
class WantedChannel:
    """A channel to create and fill."""

    channel: Channel
    plan: FetchPlan
    on_bad: Policy
    propagate: bool


@dataclass(frozen=True, slots=True)
class AutoIngest:
    """What a request asks for, not yet compared with the catalogue."""

    dataset: Dataset
    project: Project
    token: Token
    channels: tuple[WantedChannel, ...]

    @classmethod
    def read(cls, doc: Mapping[str, Any], owner_id: int, check_url: CheckUrl) -> Self:
        """Read a request.

        Parameters
        ----------
        owner_id
            The owner of what is created.

        Raises
        ------
        MalformedBodyError
            One of the four parts is missing.
        ValidationError
            Lists every missing or unknown field and invalid value, by path.
        """
        if not doc.keys() >= set(PARTS):
            raise MalformedBodyError(
                f"Missing required fields of {', '.join(PARTS)}. Please check if one of them is "
                "not missing."
            )
        problems = Problems()
        for name in doc.keys() - set(PARTS):
            problems[str(name)[:80]] = f"is not one of {', '.join(PARTS)}"
        geometry = read_object(doc["dataset"], _DATASET, "dataset", problems)
        names = read_object(doc["project"], _PROJECT, "project", problems)
        listed = doc["channels"]
        if not isinstance(listed, Mapping) or not listed:
            problems["channels"] = "must be an object of channels by name"
            listed = {}
        elif len(listed) > MAX_CHANNELS:
            problems["channels"] = f"may be at most {MAX_CHANNELS}"
            listed = {}
        wanted = {
            f"channels.{str(name)[:80]}": read_object(
                fields, _CHANNEL, f"channels.{str(name)[:80]}", problems
            )
            for name, fields in listed.items()
        }
        problems.check()
        return cls._build(geometry, names, wanted, (owner_id, check_url), problems)

    @classmethod
    def _build(
        cls,
        geometry: Mapping[str, Any],
        names: Mapping[str, Any],
        wanted: Mapping[str, Mapping[str, Any]],
        given: tuple[int, CheckUrl],
        problems: Problems,
    ) -> Self:
        """Return the request whose fields were each read without a fault."""
        owner_id, check_url = given
        dataset = problems.collect("dataset", partial(_dataset, geometry, owner_id))
        project_name = names["project_name"]
        token_name = names["token_name"] or project_name
        project = problems.collect(
            "project.project_name",
            partial(
                project_from_fields,
                {},
                name=project_name,
                dataset=geometry["dataset_name"],
                user_id=owner_id,
            ),
        )
        token = problems.collect(
            "project.token_name",
            partial(
                token_from_fields,
                {"public": names["public"]},
                name=token_name,
                project=project_name,
                user_id=owner_id,
            ),
        )
        channels = [
            _wanted(fields, geometry, (project_name, token_name), check_url, (where, problems))
            for where, fields in wanted.items()
        ]
        found = [each.channel.name for each in channels if each is not None]
        if len(set(found)) < len(found):
            problems["channels"] = "must have different names"
        problems.check()
        assert dataset is not None, "else there is a problem"
        assert project is not None, "else there is a problem"
        assert token is not None, "else there is a problem"
        return cls(dataset, project, token, tuple(each for each in channels if each is not None))


def useful_levels(width: int, height: int) -> int:
    """Return ndstore's default number of coarser resolutions for a plane."""
    levels = 0
    while (width > 1000 or height > 1000) and width > 500 and height > 500:
        width, height, levels = width // 2, height // 2, levels + 1
    return min(levels, MAX_LEVELS)


def _dataset(geometry: Mapping[str, Any], owner_id: int) -> Dataset:
    levels = geometry["scalinglevels"]
    fields = {"scalingoption": geometry["scaling"]}
    for what in ("imagesize", "offset", "voxelres"):
        fields |= {
            f"{axis}{what}": value for axis, value in zip("xyz", geometry[what], strict=True)
        }
    width, height, _ = geometry["imagesize"]
    fields["scalinglevels"] = useful_levels(width, height) if levels is None else levels
    return dataset_from_fields(fields, name=geometry["dataset_name"], user_id=owner_id)


def _wanted(
    fields: Mapping[str, Any],
    geometry: Mapping[str, Any],
    names: tuple[str, str],
    check_url: CheckUrl,
    to: tuple[str, Problems],
) -> WantedChannel | None:
    """Return a channel with the source of its slices; add faults to the problems."""
    where, problems = to
    project_name, token_name = names
    refused = Problems()
    channel = refused.collect(where, partial(_channel, fields, geometry, project_name))
    # The request's ``datatype`` is the catalogue's ``channel_datatype``.
    problems |= {name.replace(".channel_datatype", ".datatype"): refused[name] for name in refused}
    try:
        url = check_url(fields["data_url"])
    except NDLambdaError as error:
        problems[f"{where}.data_url"] = error.message
        return None
    if channel is None:
        return None
    layout = fields["file_format"]
    kind = channel.channel_type
    if kind is ChannelType.TIMESERIES and channel.endtime <= channel.starttime:
        problems[f"{where}.timerange"] = "must be [start, stop] of a time series, not empty"
    if channel.is_annotation and fields["file_type"] in _LOSSY:
        problems[f"{where}.file_type"] = "must be lossless for labels"
    if layout is TileLayout.CATMAID and (
        kind is not ChannelType.IMAGE or channel.dtype not in tiles.DTYPES
    ):
        problems[f"{where}.file_format"] = "must be SLICE but for images of uint8, uint16, uint32"
    folder = f"{url}/{token_name}" if layout is TileLayout.SLICE else url
    plan = FetchPlan(
        url=f"{folder}/{channel.name}",
        layout=layout,
        suffix=fields["file_type"],
        timed=kind is ChannelType.TIMESERIES,
    )
    return WantedChannel(channel, plan, fields["on_bad"], fields["propagate"])


def _channel(fields: Mapping[str, Any], geometry: Mapping[str, Any], project: str) -> Channel:
    # ndio sends the time range of a channel with the dataset.
    start, end = fields["timerange"] or geometry["timerange"]
    is_timed = fields["channel_type"] == ChannelType.TIMESERIES
    asked = {
        "channel_type": fields["channel_type"],
        "channel_datatype": fields["datatype"],
        "exceptions": fields["exceptions"],
        "resolution": fields["resolution"],
        "startwindow": fields["windowrange"][0],
        "endwindow": fields["windowrange"][1],
    }
    if is_timed:
        asked |= {"starttime": start, "endtime": end}
    return channel_from_fields(asked, name=fields["channel_name"], project=project)
