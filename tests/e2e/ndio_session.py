"""What a user of ndio does, run by a Python that has it: ``python ndio_session.py ...``.

Arguments: HOST:PORT, an API key, a public token, a .npy of voxels (x, y, z), and a folder for what
was read. Prints a JSON object of what the server said.
"""

import json
import sys
from pathlib import Path

import ndio
import numpy as np
from ndio import ramon
from ndio.remote.errors import RemoteDataNotFoundError
from ndio.remote.neurodata import neurodata

if not hasattr(np, "float"):  # which ndio uses, and numpy had until 1.24
    np.float = float  # noqa: NPY001 -- as a user of ndio does

CORNER = (5, 7, 3)
"""Where the voxels go: x, y, z, on no boundary of any block."""


def remote(hostname: str, key: str, **options: object) -> neurodata:
    if ndio.version == "1.1.5":  # which knows no keys
        return neurodata(hostname, protocol="http", **options)
    made = neurodata(key, hostname, protocol="http", **options)
    # Most methods of 1.1.6 call their sister method as if it were a function of the module.
    sys.modules["ndio.remote.neurodata"].getURL = made.getURL
    return made


def ramon_session(remote: neurodata, token: str, block: np.ndarray) -> dict[str, object]:
    """Store objects, find and read them, delete one; return what was said."""
    ids = remote.reserve_ids(token, "cells", 6)
    soma, synapse, neuron, mitochondrion, spot, doomed = ids
    given = {"author": "ada", "status": 2, "confidence": 0.5, "kvpairs": {"cell": "L2/3"}}
    objects = [
        ramon.RAMONSegment(id=soma, segmentclass=3, neuron=neuron, **given),
        ramon.RAMONSynapse(id=synapse, synapse_type=1, weight=0.25, segments=[soma]),
        ramon.RAMONNeuron(id=neuron, segments=[]),
        ramon.RAMONOrganelle(id=mitochondrion, organelle_class=4),
        ramon.RAMONGeneric(id=spot),
        ramon.RAMONSegment(id=doomed),
    ]
    posted = (
        remote.post_ramon(token, "cells", objects[:-1]),
        remote.post_ramon(token, "cells", objects[-1]),
    )
    remote.post_cutout(token, "cells", 200, 100, 41, (block * soma).astype(np.uint32), resolution=0)
    said = {
        "ids": ids,
        "posted": posted,
        "box": remote.get_ramon_bounding_box(token, "cells", soma),
        "found": sorted(remote.get_ramon_ids(token, "cells")),
        "segments": remote.get_ramon_ids(token, "cells", 4),
        "metadata": remote.get_ramon_metadata(token, "cells", soma),
        "cutout": remote.get_ramon(token, "cells", soma, include_cutout=True).cutout,
        "deleted": remote.delete_ramon(token, "cells", [str(doomed)]),
    }
    read = remote.get_ramon(token, "cells", ids[:-1])
    said["objects"] = [{"class": type(each).__name__, **vars(each)} for each in read]
    try:
        remote.get_ramon(token, "cells", doomed)
    except RemoteDataNotFoundError as error:
        said["gone"] = str(error)
    said["propagated"] = remote.propagate(token, "cells")
    while remote.get_propagate_status(token, "cells") == "1":
        pass
    said["propagated_status"] = remote.get_propagate_status(token, "cells")
    said["coarse_box"] = remote.get_ramon_bounding_box(token, "cells", soma, 1)
    return said


def plain(value: object) -> object:
    """Return numpy's numbers and arrays as JSON has them."""
    return value.tolist()


def main(hostname: str, key: str, token: str, source: str, target: str) -> None:
    data = np.load(source)
    stop = [start + size for start, size in zip(CORNER, data.shape, strict=True)]
    bounds = [bound for pair in zip(CORNER, stop, strict=True) for bound in pair]
    x0, x1, y0, y1, z0, _ = bounds
    whole = remote(hostname, key, check_tokens=True)
    in_chunks = remote(hostname, key, chunk_threshold=10_000)

    said = {
        "version": ndio.version,
        "ping": whole.ping(),
        "public_tokens": whole.get_public_tokens(),
        "public_datasets": whole.get_public_datasets(),
        "info": whole.get_proj_info(token),
        "is_metadata_info": whole.get_metadata(token) == whole.get_proj_info(token),
        "image_size": whole.get_image_size(token),
        "image_offset": whole.get_image_offset(token),
        "block_size": whole.get_block_size(token),
        "channels_before": sorted(whole.get_channels(token)),
        "created": whole.create_channel(token, "em", "image", "uint8", False),
        "created_labels": whole.create_channel(token, "cells", "annotation", "uint32", False),
    }
    whole.post_cutout(token, "em", *CORNER, data, resolution=0)
    in_chunks.post_cutout(token, "cells", *CORNER, data.astype(np.uint32) * 1000, resolution=0)
    block = tuple(said["block_size"])
    volume = in_chunks.get_volume(token, "em", *bounds, resolution=0, block_size=block)
    read = {
        "cutout": whole.get_cutout(token, "em", *bounds, resolution=0),
        "cutout_in_chunks": in_chunks.get_cutout(token, "em", *bounds, resolution=0),
        "volume_in_chunks": volume.cutout,
        "cells": whole.get_cutout(token, "cells", *bounds, resolution=0),
        "xy_slice": whole.get_xy_slice(token, "em", x0, x1, y0, y1, z0),
        "coarse": whole.get_cutout(token, "em", 0, 32, 0, 16, 1, 17, resolution=1),
    }
    said |= {
        "volume_offset": volume.xyz_offset,
        "propagate_status": whole.get_propagate_status(token, "em"),
        "channels_between": sorted(whole.get_channels(token)),
    }
    whole.delete_channel(token, "em")
    said["channels_after"] = sorted(whole.get_channels(token))
    said["ramon"] = ramon_session(whole, token, np.ones((4, 3, 2)))
    for name, array in read.items():
        np.save(Path(target) / f"{name}.npy", array)
    json.dump(said, sys.stdout, default=plain)


if __name__ == "__main__":
    main(*sys.argv[1:])
