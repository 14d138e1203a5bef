"""The metadata by which a Zarr v3 reader reads stored objects in place."""

from typing import Any

from ndlambda.cuboids.codec import frame_codec
from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.space.box import XYZ


def array_metadata(layout: CuboidLayout, imagesize_xyz: XYZ) -> dict[str, Any]:
    """Return the ``zarr.json`` of one time point of a channel at one resolution.

    The array is (z, y, x). Its chunk ``c/{z}/{y}/{x}`` is the object of the supercuboid with that
    index, byte for byte, and its inner chunks are the cuboids. It is for reading only: a Zarr
    writer would omit the write-id.

    Parameters
    ----------
    layout
        The channel's layout at that resolution.
    imagesize_xyz
        Size of the resolution in voxels; cuboids at its far edges are stored as a whole.
    """
    z, y, x = layout.cuboid_shape_zyx
    n = layout.cuboids_per_axis
    width, height, depth = imagesize_xyz
    codec = frame_codec(layout.codec).zarr_codec(layout)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [depth, height, width],
        "data_type": layout.dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [z * n, y * n, x * n]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0 if layout.dtype.kind == "f" else 0,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [z, y, x],
                    "codecs": [_little_endian(), codec, {"name": "crc32c"}],
                    "index_codecs": [_little_endian(), {"name": "crc32c"}],
                    "index_location": "end",
                },
            }
        ],
        "dimension_names": ["z", "y", "x"],
        "attributes": {},
    }


def _little_endian() -> dict[str, Any]:
    return {"name": "bytes", "configuration": {"endian": "little"}}
