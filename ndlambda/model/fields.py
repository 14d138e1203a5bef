"""The catalogue's resources as JSON objects: ndstore's names and rules (its contract, section 4).

``*_from_fields`` parses a client's object and reports every fault at once. ``*_fields`` returns
what clients see: all fields, owners and parents by key, flags as 0 and 1 where ndstore uses
integers. Rows hold ``*_doc``, which is lossless and which ``*_from_doc`` trusts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ndlambda.errors import InvalidNameError, MalformedBodyError, ValidationError
from ndlambda.model.catalog import (
    IMAGE_CODEC,
    LABEL_CODEC,
    ND_VERSION,
    SCHEMA_VERSION,
    Channel,
    CodecSpec,
    Dataset,
    Project,
    Token,
)
from ndlambda.model.dtypes import COMBINATIONS, ChannelType, DataType
from ndlambda.model.propagation import PropagateState
from ndlambda.model.readers import (
    Reader,
    Refusal,
    choice,
    flag,
    integer,
    number,
    one_of,
    record,
    size,
    text,
)
from ndlambda.space.morton import AXIS_LIMIT
from ndlambda.space.pyramid import Scaling

LONGEST_NAME = 255
MAX_LEVELS = 20
_NAME = re.compile(r"[A-Za-z0-9_]+")
# Object keys start with the project: results/ and uploads/ expire, drop/ and ingest/ hold ingest
# jobs.
_RESERVED = frozenset(("project", name) for name in ("results", "uploads", "drop", "ingest"))
_REQUIRED: Final = object()

_AXES = "xyz"
# Morton codes count cuboids; the thinnest cuboid is 16 voxels deep in z.
_LARGEST = {"x": AXIS_LIMIT * 64, "y": AXIS_LIMIT * 64, "z": AXIS_LIMIT * 16}
_MAX_TIME = 2**31 - 1

_Spec = Mapping[str, tuple[Reader, Any]]

_DESCRIPTION = (text(4096), "")
_WORD = text(LONGEST_NAME)

_DATASET: _Spec = {
    "dataset_description": _DESCRIPTION,
    "public": (flag, False),
    **{f"{axis}imagesize": (integer(1, _LARGEST[axis]), _REQUIRED) for axis in _AXES},
    **{f"{axis}offset": (integer(0, _LARGEST[axis]), 0) for axis in _AXES},
    **{f"{axis}voxelres": (size(1e-9, 1e12), 1.0) for axis in _AXES},
    "scalingoption": (one_of((0, 1)), 0),
    "scalinglevels": (integer(0, MAX_LEVELS), 0),
}

_PROJECT: _Spec = {
    "project_description": _DESCRIPTION,
    "public": (flag, False),
    "host": (_WORD, "localhost"),
    "kvengine": (_WORD, "MySQL"),
    "kvserver": (_WORD, "localhost"),
    "mdengine": (_WORD, "MySQL"),
    "s3backend": (flag, True),
    "nd_version": (_WORD, ND_VERSION),
    "schema_version": (_WORD, SCHEMA_VERSION),
}

_TOKEN: _Spec = {"token_description": _DESCRIPTION, "public": (flag, False)}

_CHANNEL: _Spec = {
    "channel_description": _DESCRIPTION,
    "channel_type": (choice(ChannelType), _REQUIRED),
    "channel_datatype": (choice(DataType), _REQUIRED),
    "resolution": (integer(0, MAX_LEVELS), 0),
    "propagate": (one_of(tuple(PropagateState)), 0),
    "readonly": (flag, False),
    "exceptions": (flag, False),
    "starttime": (integer(0, _MAX_TIME), 0),
    "endtime": (integer(0, _MAX_TIME), 1),
    "startwindow": (number(-1e15, 1e15), 0),
    "endwindow": (number(-1e15, 1e15), 0),
    "default": (flag, False),
    "header": (text(8192), ""),
    "codec": (
        record(
            {
                "cname": one_of(("blosclz", "lz4", "lz4hc", "zlib", "zstd")),
                "clevel": integer(0, 9),
            }
        ),
        None,
    ),
    "cuboids_per_axis": (one_of((1, 2, 4)), 2),
}

_ASSIGNED = frozenset({"id", "user"})
"""Fields that the server assigns; a client may send them back, without effect."""


def is_name(word: str) -> bool:
    """Return whether a word has the length and the characters of a name."""
    return len(word) <= LONGEST_NAME and _NAME.fullmatch(word) is not None


def check_name(name: str, kind: str) -> str:
    """Return the name if it is valid for a ``kind`` (dataset, project, channel, token, user).

    Raises
    ------
    InvalidNameError
        It is empty, over 255 characters, reserved, or has characters outside ``A-Z a-z 0-9 _``
        (ndstore's resource routes also accepted ``-``, but its data routes never found the name).
    """
    if not is_name(name) or (kind, name) in _RESERVED:
        raise InvalidNameError(
            f"{name[:80]!r} cannot name a {kind}; use 1 to {LONGEST_NAME} of A-Z a-z 0-9 _, "
            "and no word that is reserved.",
            kind=kind,
            name=name[:LONGEST_NAME],
        )
    return name


@dataclass(slots=True)
class _Reading:
    """The values of one object, and its faults."""

    values: dict[str, Any]
    problems: dict[str, str]

    @classmethod
    def of(cls, fields: object, spec: _Spec, given: Mapping[str, str]) -> "_Reading":
        """Parse an object; ``given`` fields come from the URL and may only be repeated."""
        if not isinstance(fields, Mapping):
            raise MalformedBodyError("The body must be a JSON object.")
        reading = cls({}, {})
        for name, value in fields.items():
            if name in given:
                if value != given[name]:
                    reading.problems[name] = f"must be {given[name]!r} as in the path"
            elif name in spec:
                reading._read(name, value, spec[name][0])
            elif name not in _ASSIGNED:
                reading.problems[str(name)[:80]] = "is not a field"
        for name, (_, default) in spec.items():
            if name not in fields:
                if default is _REQUIRED:
                    reading.problems[name] = "is missing"
                else:
                    reading.values[name] = default
        return reading

    def _read(self, name: str, value: object, read: Reader) -> None:
        try:
            self.values[name] = read(value)
        except Refusal as refusal:
            self.problems[name] = str(refusal)

    def require(self, name: str, holds: bool, reason: str) -> None:
        """Record a fault of a field that is valid by itself."""
        if not holds:
            self.problems.setdefault(name, reason)

    def has(self, *names: str) -> bool:
        """Return whether the fields were parsed, so that they can be compared."""
        return all(name in self.values for name in names)

    def checked(self) -> dict[str, Any]:
        """Return the values, or raise ValidationError with every fault."""
        if self.problems:
            raise ValidationError(self.problems)
        return self.values


def dataset_from_fields(fields: object, *, name: str, user_id: int = 0) -> Dataset:
    """Parse a client's dataset.

    Raises
    ------
    InvalidNameError
        The name in the URL is invalid.
    MalformedBodyError
        ``fields`` is not a JSON object.
    ValidationError
        Fields are unknown, missing, of a wrong type or out of range; all are listed.
    """
    check_name(name, "dataset")
    values = _Reading.of(fields, _DATASET, {"dataset_name": name}).checked()
    return _dataset(values, name, user_id)


def project_from_fields(fields: object, *, name: str, dataset: str, user_id: int = 0) -> Project:
    """Parse a client's project. Raises as ``dataset_from_fields``."""
    check_name(name, "project")
    given = {"project_name": name, "dataset": dataset}
    return _project(_Reading.of(fields, _PROJECT, given).checked(), name, dataset, user_id)


def token_from_fields(fields: object, *, name: str, project: str, user_id: int = 0) -> Token:
    """Parse a client's token. Raises as ``dataset_from_fields``."""
    check_name(name, "token")
    given = {"token_name": name, "project": project}
    return _token(_Reading.of(fields, _TOKEN, given).checked(), name, project, user_id)


def channel_from_fields(fields: object, *, name: str, project: str) -> Channel:
    """Parse a client's channel; ``codec`` and ``cuboids_per_axis`` are additions to ndstore.

    Raises as ``dataset_from_fields``. ``id`` and ``uid`` stay empty until the channel is stored.
    A channel that is sent as under propagation is not propagated: nothing propagates it yet.
    """
    check_name(name, "channel")
    reading = _Reading.of(fields, _CHANNEL, {"channel_name": name, "project": project})
    values = reading.values
    if reading.has("channel_type", "channel_datatype"):
        kind = values["channel_type"]
        allowed = COMBINATIONS[kind]
        reading.require(
            "channel_datatype",
            values["channel_datatype"] in allowed,
            f"must be one of {', '.join(sorted(allowed))} in channels of type {kind}",
        )
    if reading.has("starttime", "endtime"):
        # ndio sends 0, which means one time point.
        holds = values["endtime"] == 0 or values["endtime"] >= values["starttime"]
        reading.require("endtime", holds, "must be 0 or not before starttime")
    if reading.has("startwindow", "endwindow"):
        holds = values["endwindow"] >= values["startwindow"]
        reading.require("endwindow", holds, "must not be below startwindow")
    values = reading.checked()
    if values["propagate"] == PropagateState.UNDER_PROPAGATION:
        values["propagate"] = PropagateState.NOT_PROPAGATED
    is_labels = values["channel_type"] is ChannelType.ANNOTATION
    codec = values.pop("codec")
    chosen = CodecSpec(**codec) if codec else (LABEL_CODEC if is_labels else IMAGE_CODEC)
    return _channel(values, name, project, chosen)


def dataset_fields(dataset: Dataset) -> dict[str, Any]:
    """Return all fields of a dataset under ndstore's names."""
    return {
        "dataset_name": dataset.name,
        "dataset_description": dataset.description,
        "user": dataset.user_id,
        "public": int(dataset.public),
        **_per_axis("imagesize", dataset.imagesize_xyz),
        **_per_axis("offset", dataset.offset_xyz),
        **_per_axis("voxelres", dataset.voxelres_xyz),
        "scalingoption": int(dataset.scaling),
        "scalinglevels": dataset.scalinglevels,
    }


def project_fields(project: Project) -> dict[str, Any]:
    """Return all fields of a project under ndstore's names."""
    return {
        "project_name": project.name,
        "project_description": project.description,
        "user": project.user_id,
        "public": int(project.public),
        "dataset": project.dataset,
        "host": project.host,
        "kvengine": project.kvengine,
        "kvserver": project.kvserver,
        "mdengine": project.mdengine,
        "s3backend": project.s3backend,
        "nd_version": project.nd_version,
        "schema_version": project.schema_version,
    }


def token_fields(token: Token) -> dict[str, Any]:
    """Return all fields of a token under ndstore's names."""
    return {
        "token_name": token.name,
        "token_description": token.description,
        "user": token.user_id,
        "project": token.project,
        "public": int(token.public),
    }


def channel_fields(channel: Channel) -> dict[str, Any]:
    """Return all fields of a channel under ndstore's names; ``default`` is a boolean there."""
    return {
        "id": channel.id,
        "project": channel.project,
        "channel_name": channel.name,
        "channel_description": channel.description,
        "channel_type": channel.channel_type.value,
        "channel_datatype": channel.datatype.value,
        "resolution": channel.resolution,
        "propagate": int(channel.propagate),
        "readonly": int(channel.readonly),
        "exceptions": int(channel.exceptions),
        "starttime": channel.starttime,
        "endtime": channel.endtime,
        "startwindow": channel.startwindow,
        "endwindow": channel.endwindow,
        "default": channel.default,
        "header": channel.header,
    }


def channel_doc(channel: Channel) -> dict[str, Any]:
    """Return a channel as stored: its fields, and those that clients do not see."""
    codec = channel.codec
    return {
        **channel_fields(channel),
        "uid": channel.uid,
        "codec": {"cname": codec.cname, "clevel": codec.clevel, "shuffle": codec.shuffle},
        "cuboids_per_axis": channel.cuboids_per_axis,
    }


def dataset_from_doc(doc: Mapping[str, Any]) -> Dataset:
    """Return the dataset of ``dataset_fields``."""
    return _dataset(doc, doc["dataset_name"], doc["user"])


def project_from_doc(doc: Mapping[str, Any]) -> Project:
    """Return the project of ``project_fields``."""
    return _project(doc, doc["project_name"], doc["dataset"], doc["user"])


def token_from_doc(doc: Mapping[str, Any]) -> Token:
    """Return the token of ``token_fields``."""
    return _token(doc, doc["token_name"], doc["project"], doc["user"])


def channel_from_doc(doc: Mapping[str, Any]) -> Channel:
    """Return the channel of ``channel_doc``."""
    return _channel(doc, doc["channel_name"], doc["project"], CodecSpec(**doc["codec"]))


def _per_axis(
    suffix: str, xyz: tuple[int, int, int] | tuple[float, float, float]
) -> dict[str, float]:
    return {f"{axis}{suffix}": value for axis, value in zip(_AXES, xyz, strict=True)}


def _dataset(values: Mapping[str, Any], name: str, user_id: int) -> Dataset:
    return Dataset(
        name=name,
        imagesize_xyz=(values["ximagesize"], values["yimagesize"], values["zimagesize"]),
        description=values["dataset_description"],
        user_id=user_id,
        public=bool(values["public"]),
        offset_xyz=(values["xoffset"], values["yoffset"], values["zoffset"]),
        voxelres_xyz=(values["xvoxelres"], values["yvoxelres"], values["zvoxelres"]),
        scaling=Scaling(values["scalingoption"]),
        scalinglevels=values["scalinglevels"],
    )


def _project(values: Mapping[str, Any], name: str, dataset: str, user_id: int) -> Project:
    echoed = ("host", "kvengine", "kvserver", "mdengine", "nd_version", "schema_version")
    return Project(
        name=name,
        dataset=dataset,
        description=values["project_description"],
        user_id=user_id,
        public=bool(values["public"]),
        s3backend=int(values["s3backend"]),
        **{field: values[field] for field in echoed},
    )


def _token(values: Mapping[str, Any], name: str, project: str, user_id: int) -> Token:
    return Token(name, project, values["token_description"], user_id, bool(values["public"]))


def _channel(values: Mapping[str, Any], name: str, project: str, codec: CodecSpec) -> Channel:
    plain = ("resolution", "starttime", "endtime", "startwindow", "endwindow")
    return Channel(
        project=project,
        name=name,
        channel_type=ChannelType(values["channel_type"]),
        datatype=DataType(values["channel_datatype"]),
        id=values.get("id", 0),
        uid=values.get("uid", ""),
        description=values["channel_description"],
        propagate=PropagateState(values["propagate"]),
        readonly=bool(values["readonly"]),
        exceptions=bool(values["exceptions"]),
        default=values["default"],
        header=values["header"],
        codec=codec,
        cuboids_per_axis=values["cuboids_per_axis"],
        **{field: values[field] for field in plain},
    )
