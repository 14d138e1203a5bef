"""Creates the missing dataset, project, token and channel of a folder of slices.

Names are those of ``ndlambda put --create``: dataset and project have the token's name unless the
manifest has another. Fields that the manifest leaves out are inferred from the slices.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from ingest_queue.images.decoder import image_header
from ingest_queue.jobs.keys import Dropped, DroppedKind, why_stray
from ingest_queue.requests.manifest import Manifest
from ndlambda.errors import (
    ChannelNotFoundError,
    DatasetNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    ProjectNotFoundError,
    TokenNotFoundError,
)
from ndlambda.model.catalog import Channel, Dataset, Project
from ndlambda.model.dtypes import ChannelType
from ndlambda.model.fields import (
    channel_fields,
    channel_from_fields,
    dataset_fields,
    dataset_from_fields,
    project_fields,
    project_from_fields,
    token_from_fields,
)
from ndlambda.model.reserved import check_unreserved
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.catalog.service import Catalog
from ndlambda.space.pyramid import describe_scaling, natural_scaling, useful_levels
from ndlambda.stores.ports import ObjectStore, Range

_NAMES = frozenset({"dataset_name", "project_name"})
_MAX_SLICE_BYTES = 1 << 32
"""Bound on a file that is read only to infer the fields of its folder."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """Fields inferred from the slices of a folder, under ndstore's names."""

    dataset: Mapping[str, Any]
    channel: Mapping[str, Any]

    @classmethod
    def nothing(cls) -> "Inferred":
        """Infer nothing, while slices are still being dropped."""
        return cls({}, {})

    @classmethod
    def of(cls, slices: Iterable[Dropped], drop: ObjectStore) -> "Inferred":
        """Infer fields from the numbers of all slices, and the header of the first.

        Raises
        ------
        InvalidArgumentError
            There is no slice, or the first cannot be read.
        """
        found = list(slices)
        ordered = sorted(
            (item.time_point or 0, item.z, item.key)
            for item in found
            if item.kind is DroppedKind.SLICE and item.z is not None
        )
        if not ordered:
            raise InvalidArgumentError(_without_slices(found))
        key = ordered[0][2]
        head = drop.get(key, Range(0, 1))
        if head is not None and head.size > _MAX_SLICE_BYTES:
            raise InvalidArgumentError(f"{key} has {head.size} bytes, too many for a slice.")
        stored = drop.get(key)
        if stored is None:
            raise NotFoundError(f"{key} does not exist any more.", key=key)
        first = image_header(stored.data, PurePosixPath(key).name)
        numbers = [z for _, z, _ in ordered]
        start, end = ordered[0][0], ordered[-1][0] + 1
        height, width = first.shape_yx
        kind = ChannelType.TIMESERIES if end - start > 1 else ChannelType.IMAGE
        return cls(
            dataset={
                "ximagesize": width,
                "yimagesize": height,
                "zimagesize": max(numbers) - min(numbers) + 1,
                "zoffset": min(numbers),
            },
            channel={
                "channel_type": kind.value,
                "channel_datatype": first.dtype.name,
                "starttime": start,
                "endtime": end,
            },
        )


def _without_slices(found: Sequence[Dropped]) -> str:
    """Return a message that there is no slice, and why the first file is not one."""
    strays = [item for item in found if item.kind is DroppedKind.STRAY]
    text = "There is no slice like 0001.png in the folder"
    if not strays:
        return f"{text}."
    name = strays[0].key.removeprefix(strays[0].folder)
    return f"{text}: {name} is none, since {why_stray(strays[0])}."


def create_missing(
    catalog: Catalog, names: tuple[str, str], manifest: Manifest, found: Inferred, owner_id: int
) -> tuple[ProjectView, tuple[str, ...]]:
    """Create what is missing between a token and its channel.

    Parameters
    ----------
    names
        Of the token and of the channel.
    found
        Fields that the manifest leaves out.
    owner_id
        The owner of what is created.

    Returns
    -------
    view
        Of the token.
    notes
        What was chosen for a new dataset.

    Raises
    ------
    InvalidNameError, ValidationError
        A field is invalid or missing.
    InvalidArgumentError
        The token opens another dataset or project than the manifest names, or what exists has other
        values than the manifest.
    """
    token, channel = names
    dataset, project = destination_of(token, manifest)
    notes: tuple[str, ...] = ()
    try:
        known = catalog.project_view(token, fresh=True)
    except TokenNotFoundError:
        fields = {**found.channel, **manifest.channel}  # validated before anything is created
        channel_from_fields(_plain(fields, manifest), name=channel, project=project)
        asked = _unnamed(manifest.project)
        shown = {"public": asked.get("public", False)}
        made = token_from_fields(shown, name=token, project=project, user_id=owner_id)
        check_unreserved(token, "token")
        check_unreserved(channel, "channel")
        wanted = project_from_fields(asked, name=project, dataset=dataset, user_id=owner_id)
        is_new = False
        try:
            _refuse(_project_differences(catalog.get_project(project), manifest))
            with suppress(ChannelNotFoundError):
                _refuse(_channel_differences(catalog.get_channel(project, channel), manifest))
        except ProjectNotFoundError:
            is_new = True
        notes = _find_or_create_dataset(catalog, dataset, manifest, found, owner_id)
        if is_new:
            catalog.create_project(wanted)
        catalog.create_token(made)
        known = catalog.project_view(token, fresh=True)
    check_destination(known, manifest)
    check_agreement(known, channel, manifest)
    try:
        known.channel(channel)
    except ChannelNotFoundError:
        fields = _plain({**found.channel, **manifest.channel}, manifest)
        catalog.create_channel(
            channel_from_fields(fields, name=channel, project=known.project.name)
        )
        known = catalog.project_view(token, fresh=True)
    return known, notes


def _find_or_create_dataset(
    catalog: Catalog, name: str, manifest: Manifest, found: Inferred, owner_id: int
) -> tuple[str, ...]:
    """Create a dataset, or check the one that exists; return notes about what was chosen."""
    try:
        _refuse(_dataset_differences(catalog.get_dataset(name), manifest))
    except DatasetNotFoundError:
        fields, notes = {**found.dataset, **_unnamed(manifest.dataset)}, []
        made = dataset_from_fields(fields, name=name, user_id=owner_id)
        if not fields.keys() & {f"{axis}voxelres" for axis in "xyz"}:
            notes.append("No voxel size was given: 1 x 1 x 1 nm is assumed.")
        if not fields.keys() & {"scalingoption", "scalinglevels"}:
            scaling = natural_scaling(made.voxelres_xyz)
            levels = useful_levels(made.imagesize_xyz, scaling)
            made = replace(made, scaling=scaling, scalinglevels=levels)
            notes.append(describe_scaling(scaling, levels, made.voxelres_xyz))
        catalog.create_dataset(made)
        return tuple(notes)
    return ()


def check_agreement(view: ProjectView, channel: str, manifest: Manifest) -> None:
    """Check that what exists of a token has the values that a manifest gives.

    Raises
    ------
    InvalidArgumentError
        It does not; the message has both values of each.
    """
    found = _dataset_differences(view.dataset, manifest)
    found += _project_differences(view.project, manifest)
    for known in view.channels:
        if known.name == channel:
            found += _channel_differences(known, manifest)
    _refuse(found)


def _refuse(differences: Sequence[str]) -> None:
    if differences:
        raise InvalidArgumentError(
            f"What exists has other values than the manifest: {'; '.join(differences)}. Leave "
            "these out of it, or name another dataset, project or token."
        )


def _dataset_differences(dataset: Dataset, manifest: Manifest) -> list[str]:
    def read(fields: Mapping[str, Any]) -> dict[str, Any]:
        return dataset_fields(dataset_from_fields(fields, name=dataset.name))

    return _differences("dataset", dataset_fields(dataset), read, _unnamed(manifest.dataset))


def _project_differences(project: Project, manifest: Manifest) -> list[str]:
    def read(fields: Mapping[str, Any]) -> dict[str, Any]:
        made = project_from_fields(fields, name=project.name, dataset=project.dataset)
        return project_fields(made)

    return _differences("project", project_fields(project), read, _unnamed(manifest.project))


def _channel_differences(channel: Channel, manifest: Manifest) -> list[str]:
    def read(fields: Mapping[str, Any]) -> dict[str, Any]:
        made = channel_from_fields(fields, name=channel.name, project=channel.project)
        return channel_fields(made)

    known = channel_fields(channel)
    del known["propagate"]  # the state of the channel, which changes
    asked = {name: value for name, value in manifest.channel.items() if name != "propagate"}
    return _differences(f"channel {channel.name}", known, read, asked)


def _differences(
    what: str,
    known: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], dict[str, Any]],
    asked: Mapping[str, Any],
) -> list[str]:
    wanted = read({**known, **asked})
    return [
        f"{what} has {name} {known[name]}, not {wanted[name]}"
        for name in asked
        if name in known and known[name] != wanted[name]
    ]


def _unnamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataset or project without its name."""
    return {key: value for key, value in fields.items() if key not in _NAMES}


def destination_of(token: str, manifest: Manifest) -> tuple[str, str]:
    """Return the names of the dataset and project of a token that does not exist yet."""
    dataset = str(manifest.dataset.get("dataset_name", token))
    return dataset, str(manifest.project.get("project_name", token))


def _plain(fields: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    return {"resolution": manifest.resolution, **fields}


def check_destination(view: ProjectView, manifest: Manifest) -> None:
    """Check that a token opens the dataset and project that a manifest names.

    Raises
    ------
    InvalidArgumentError
        It does not.
    """
    wanted = manifest.dataset.get("dataset_name"), manifest.project.get("project_name")
    for name, actual in zip(wanted, (view.dataset.name, view.project.name), strict=True):
        if name not in {None, actual}:
            raise InvalidArgumentError(
                f"Token {view.token.name} leads to {view.dataset.name}/{view.project.name}, "
                f"not to {name}."
            )
