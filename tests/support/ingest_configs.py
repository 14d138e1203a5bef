"""Configurations of the ingest-client, with the classes and sizes that its examples have."""

from typing import Any

PLUGINS = "ingestclient.plugins"
EXTENT = {"x": [8, 308], "y": [4, 204], "z": [1, 41], "t": [0, 1]}
PLANES = {"x": 300, "y": 200, "z": 1, "t": 1}
SOURCES = {
    "z-index stack": (
        "stack.ZindexStackPathProcessor",
        {"root_dir": "", "extension": "png", "base_filename": "<o:3253>_my_stack_section<p:3>"},
        "stack.ZindexStackTileProcessor",
        {"filesystem": "local", "extension": "png"},
    ),
    "HDF5 time series": (
        "hdf5.Hdf5TimeSeriesPathProcessor",
        {"root_dir": "", "extension": "hdf5", "base_filename": "test_id_slice<o:1>"},
        "hdf5.Hdf5TimeSeriesTileProcessor",
        {"upload_format": "tiff", "channel_index": 0, "scale_factor": 0.0001, "bucket": ""},
    ),
    "CATMAID": (
        "catmaid.CatmaidURLPathProcessor",
        {"root_dir": "", "filetype": "jpg"},
        "catmaid.CatmainURLTileProcessor",
        {"url": "http://169.254.169.254/0/", "x_tile": 1024, "y_tile": 1024},
    ),
}


def client_config(
    version: str = "1", source: str = "z-index stack", words: str = "boss", **job: Any
) -> dict[str, Any]:
    """Return a configuration for the volume of ``tests.support.app``; ``job`` changes it."""
    path, path_params, tile, tile_params = SOURCES[source]
    collection, experiment = {"boss": ("collection", "experiment"), "nd": ("dataset", "project")}[
        words
    ]
    return {
        "schema": {"name": f"boss-v0.{version}-schema", "validator": f"BossValidatorV0{version}"},
        "client": {
            "backend": {
                "name": "boss",
                "class": "BossBackend",
                "host": "api.theboss.io",
                "protocol": "https",
            },
            "path_processor": {"class": f"{PLUGINS}.{path}", "params": path_params},
            "tile_processor": {"class": f"{PLUGINS}.{tile}", "params": tile_params},
        },
        "database": {collection: "brain", experiment: "pr", "channel": "em"},
        "ingest_job": {"resolution": 0, "extent": EXTENT, "tile_size": PLANES} | job,
    }


def volumetric_config(**job: Any) -> dict[str, Any]:
    """Return a configuration of version 0.2 as that of CloudVolume sources."""
    found = client_config(
        "2", ingest_type="volumetric", chunk_size={"x": 1024, "y": 1024, "z": 64}, **job
    )
    del found["ingest_job"]["tile_size"], found["client"]["tile_processor"]
    found["client"]["path_processor"] = {
        "class": f"{PLUGINS}.cloudvolume.CloudVolumePathProcessor",
        "params": {},
    }
    found["client"]["chunk_processor"] = {
        "class": f"{PLUGINS}.cloudvolume.CloudVolumeChunkProcessor",
        "params": {"cloudpath": "gs://neuroglancer/foo/bar"},
    }
    return found
