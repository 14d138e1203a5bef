"""Creates the missing dataset, project, token and channel of a folder of slices.

Names are those of ``ndlambda put --create``: dataset and project have the token's name unless the
manifest has another. Fields that the manifest leaves out are inferred from the slices.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from ndlambda.model.dtypes import ChannelType
from ndlambda.model.fields import (
    channel_from_fields,
    dataset_from_fields,
    project_from_fields,
    token_from_fields,
)
from ndlambda.model.reserved import check_unreserved
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.catalog.service import Catalog
from ndlambda.space.pyramid import useful_levels
from ndlambda.stores.ports import ObjectStore, Range

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
                "scalinglevels": useful_levels(max(width, height)),
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
) -> ProjectView:
    """Create what is missing between a token and its channel, and return the token's view.

    Parameters
    ----------
    names
        Of the token and of the channel.
    found
        Fields that the manifest leaves out.
    owner_id
        The owner of what is created.

    Raises
    ------
    InvalidNameError, ValidationError
        A field is invalid or missing.
    InvalidArgumentError
        The token opens another dataset or project than the manifest names.
    """
    token, channel = names
    asked = dict(manifest.dataset), dict(manifest.project)
    asked[0].pop("dataset_name", None)
    asked[1].pop("project_name", None)
    dataset, project = destination_of(token, manifest)
    try:
        known = catalog.project_view(token, fresh=True)
    except TokenNotFoundError:
        fields = {**found.channel, **manifest.channel}  # validated before anything is created
        channel_from_fields(_plain(fields, manifest), name=channel, project=project)
        shown = {"public": asked[1].get("public", False)}
        made = token_from_fields(shown, name=token, project=project, user_id=owner_id)
        check_unreserved(token, "token")
        check_unreserved(channel, "channel")
        try:
            catalog.get_dataset(dataset)
        except DatasetNotFoundError:
            wanted = {**found.dataset, **asked[0]}
            catalog.create_dataset(dataset_from_fields(wanted, name=dataset, user_id=owner_id))
        try:
            catalog.get_project(project)
        except ProjectNotFoundError:
            catalog.create_project(
                project_from_fields(asked[1], name=project, dataset=dataset, user_id=owner_id)
            )
        catalog.create_token(made)
        known = catalog.project_view(token, fresh=True)
    check_destination(known, manifest)
    try:
        known.channel(channel)
    except ChannelNotFoundError:
        fields = _plain({**found.channel, **manifest.channel}, manifest)
        catalog.create_channel(
            channel_from_fields(fields, name=channel, project=known.project.name)
        )
        known = catalog.project_view(token, fresh=True)
    return known


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
