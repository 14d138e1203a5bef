"""Reads Neuroglancer precomputed volumes by tensorstore: every encoding, sharded or not."""

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ingest_queue.sources.tensors import check_chunks, open_tensor, read_json
from ndlambda.errors import InvalidArgumentError

SUFFIXES = ("folder of Neuroglancer precomputed",)

_LOSSY = frozenset({"jpeg"})
_CHUNK = r"-?\d+--?\d+_-?\d+--?\d+_-?\d+--?\d+|[0-9a-f]+\.shard"
"""Coordinates are negative where the volume's offset is."""


def matches(place: Place) -> bool:
    """Match by the ``info`` file of the folder."""
    folder = place.folder
    return folder is not None and (folder / "info").is_file()


def open_source(place: Place, options: Options) -> Source:
    """Read ``info``; see :func:`ingest_queue.sources.open_source`."""
    where, folder = place.text, place.folder
    assert folder is not None, "matched as a folder"
    with reading(where):
        scales = read_json(folder / "info")["scales"]
        if options.level >= len(scales):
            raise InvalidArgumentError(f"{where} has the levels 0 to {len(scales) - 1}.")
        scale = scales[options.level]
        sizes = dict(zip("xyz", map(float, scale["resolution"]), strict=True))
        encoding, key = scale["encoding"], folder / scale["key"]
    tensor = open_tensor(where, "neuroglancer_precomputed", folder, scale_index=options.level)
    check_chunks(where, key, (_CHUNK,), options.gaps)
    layout = plan_layout(where, "xyzc", tensor.shape, options.channel)
    voxelres = voxel_size(sizes, {}, "nm")
    return open_array(where, tensor, layout, voxelres, labels_allowed=encoding not in _LOSSY)
