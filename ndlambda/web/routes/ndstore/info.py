"""Describes the project of a token: ``info``, ``projinfo``, ``volume.vikingxml``; public lists."""

import json
from typing import Any
from xml.etree import ElementTree as ET

from werkzeug.wrappers import Response

from ndlambda.errors import PayloadTooLargeError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.propagation import PropagateState
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.space.pyramid import Level, Scaling
from ndlambda.web.problem import Dialect
from ndlambda.web.request.params import parse_channels
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, Route
from ndlambda.wire.ramon.projinfo import encode_projinfo

_SUPERCUBE_FACTOR = 4
_TILE = 512
_MAX_SECTIONS = 1 << 16


def info_document(view: ProjectView) -> dict[str, Any]:
    """Return ndstore's info document; resolutions are keyed by text ("0")."""
    project = view.project
    return {
        "dataset": _dataset_document(view.dataset),
        "project": {
            "name": project.name,
            "description": project.description,
            "schema_version": project.schema_version,
            "ndstore_version": project.nd_version,
            "s3backend": project.s3backend,
        },
        "channels": {channel.name: _channel_document(channel) for channel in view.channels},
        "metadata": {},
    }


def _dataset_document(dataset: Dataset) -> dict[str, Any]:
    levels = dataset.pyramid.all_levels()

    def by_level(value: Any) -> dict[str, Any]:
        return {str(level.resolution): value(level) for level in levels}

    document = {
        "name": dataset.name,
        "description": dataset.name,
        "scalinglevels": dataset.scalinglevels,
        "scaling": "zslices" if dataset.scaling is Scaling.ZSLICES else "xyz",
        "resolutions": [level.resolution for level in levels],
        "imagesize": by_level(lambda level: list(level.imagesize_xyz)),
        "offset": by_level(lambda level: list(level.offset_xyz)),
        "voxelres": by_level(lambda level: list(level.voxelres_xyz)),
        "cube_dimension": by_level(lambda level: list(level.cuboid_xyz)),
        "supercube_dimension": by_level(
            lambda level: [edge * _SUPERCUBE_FACTOR for edge in level.cuboid_xyz]
        ),
    }
    if dataset.scaling is Scaling.ZSLICES:
        document |= {
            "neariso_scaledown": by_level(lambda level: level.neariso_scaledown),
            "neariso_offset": by_level(lambda level: list(level.neariso_offset_xyz)),
            "neariso_voxelres": by_level(lambda level: list(level.neariso_voxelres_xyz)),
            "neariso_imagesize": by_level(lambda level: list(level.neariso_imagesize_xyz)),
        }
    return document


def _channel_document(channel: Channel) -> dict[str, Any]:
    return {
        "channel_type": channel.channel_type.value,
        "datatype": channel.datatype.value,
        "exceptions": int(channel.exceptions),
        "readonly": int(channel.readonly),
        "resolution": channel.resolution,
        "propagate": channel.propagate,
        "windowrange": [channel.startwindow, channel.endwindow],
        "timerange": [channel.starttime, channel.endtime],
        "description": channel.description,
    }


def get_info(context: Context, token: str) -> Response:
    """Describe the dataset, project and channels of a token."""
    view = context.runtime.access.open(token, context.principal)
    text = json.dumps(info_document(view), indent=4, sort_keys=True)
    return Response(text, content_type="application/json")


def get_projinfo(context: Context, token: str) -> Response:
    """Describe a token's volume as an HDF5 file (for ndstore's LONI and MATLAB clients)."""
    view = context.runtime.access.open(token, context.principal)
    return Response(
        encode_projinfo(view.project, view.dataset, view.channels),
        content_type="product/hdf5",
        headers={"Content-Disposition": f"attachment; filename={token}-projinfo.h5"},
    )


def get_vikingxml(context: Context, token: str) -> Response:
    """Describe the volume for the Viking viewer, whose tests depend on the attribute order."""
    view = context.runtime.access.open(token, context.principal)
    level = view.dataset.pyramid.level(0)
    sections = level.imagesize_xyz[2]
    if sections > _MAX_SECTIONS:
        raise PayloadTooLargeError(
            f"The volume has {sections} sections; at most {_MAX_SECTIONS} are listed as XML.",
            limit=_MAX_SECTIONS,
        )
    body = ET.tostring(_viking(context, view, level), encoding="utf-8")
    return Response(body, content_type="application/xml")


def _viking(context: Context, view: ProjectView, level: Level) -> ET.Element:
    x, y, z = level.imagesize_xyz
    host = context.request.host_url.rstrip("/")
    token = view.token.name
    volume = ET.Element(
        "Volume",
        {
            "InputChecksum": "0",
            "host": host,
            "name": token,
            "num_sections": str(z),
            "num_stos": "0",
            "path": f"{host}/catmaid/viking/{token}",
        },
    )
    vx, vy, _ = level.voxelres_xyz
    ET.SubElement(volume, "Scale", {"UnitsOfMeasure": "nm", "UnitsPerPixel": str(vx / vy)})
    server = ET.SubElement(
        volume,
        "OCPTileServer",
        {
            "CoordSpaceName": "volume",
            "host": host,
            "FilePrefix": "",
            "FilePostfix": ".png",
            "TileXDim": str(_TILE),
            "TileYDim": str(_TILE),
            "GridXdim": str(x // _TILE),
            "GridYDim": str(y // _TILE),
            "MaxLevel": str(view.dataset.scalinglevels),
        },
    )
    for channel in view.channels:
        ET.SubElement(
            server,
            "Channel",
            {"Name": channel.name, "Path": channel.name, "Datatype": channel.datatype.value},
        )
    first = level.offset_xyz[2]
    for number in range(first, first + z):
        ET.SubElement(volume, "Section", {"Number": str(number)})
    return volume


def get_propagate(context: Context, token: str, channels: str) -> Response:
    """Return the propagation state of channels as comma-joined integers."""
    view = context.runtime.access.open(token, context.principal)
    chosen = view.channels_named(parse_channels(channels))
    for channel in dict.fromkeys(chosen):
        if channel.propagate == PropagateState.UNDER_PROPAGATION:
            context.runtime.propagation.ask_if_stale(channel)
    states = [str(channel.propagate) for channel in chosen]
    return Response(",".join(states), content_type="text/html")


def get_public_tokens(context: Context) -> Response:
    """List the names of public tokens."""
    return json_response(context.runtime.catalog.lists.public_tokens())


def get_public_datasets(context: Context) -> Response:
    """List the names of public datasets."""
    return json_response(context.runtime.catalog.lists.public_datasets())


ROUTES = (
    *(
        Route("GET", rule, get_info, "Describe a token's volume", dialect=Dialect.NDSTORE_INFO)
        for rule in ("/sd/<name:token>/info", "/<name:token>/info")
    ),
    Route("GET", "/v1/projects/<name:token>", get_info, "Describe a token's volume"),
    Route(
        "GET",
        "/sd/<name:token>/projinfo",
        get_projinfo,
        "Describe a token's volume as HDF5",
        dialect=Dialect.NDSTORE_INFO,
    ),
    Route(
        "GET",
        "/sd/<name:token>/volume.vikingxml",
        get_vikingxml,
        "Describe a volume for Viking",
        dialect=Dialect.NDSTORE,
    ),
    Route(
        "GET",
        "/sd/<name:token>/<names:channels>/getPropagate",
        get_propagate,
        "Propagation state of channels: 0 not propagated, 1 under way, 2 done",
        dialect=Dialect.NDSTORE,
    ),
    *(
        Route("GET", rule, get_public_tokens, "Names of public tokens", dialect=Dialect.NDSTORE)
        for rule in ("/sd/public_tokens", "/public_tokens")
    ),
    *(
        Route("GET", rule, get_public_datasets, "Names of public datasets", dialect=Dialect.NDSTORE)
        for rule in ("/sd/public_datasets", "/public_datasets")
    ),
)
