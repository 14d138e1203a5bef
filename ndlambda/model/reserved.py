"""Words that no new token or channel may have as its name, because paths have them in that place.

Names that exist keep working: those of tokens except for paths of ndio without ``/sd/``, those of
channels in cutouts of ``/sd/`` and under ``/v1/``.
"""

from typing import Final

from ndlambda.errors import InvalidNameError

FIRST_WORDS: Final = frozenset({
    # ndstore's
    "sd", "nd", "ocp", "ca", "ocpca", "resource", "ramon", "propagate", "stats", "catmaid",
    "tilecache", "overlay", "synaptogram", "nduser", "accounts", "admin", "ndauth", "ndgraph",
    "viz", "ingest", "autoIngest", "public_tokens", "public_datasets",
    # ours
    "v1", "views", "latest", "viewer", "docs", "console", "healthz", "metrics", "map",
    # Alyx's
    "me", "sessions", "datasets", "files", "insertions", "subjects", "users", "labs", "projects",
    "revisions", "tags", "channels", "uploads", "data", "cache",
})  # fmt: skip
"""First words of paths; releases of ndio put a token there."""

CHANNEL_WORDS: Final = frozenset({
    # behind a token, in the place of a channel
    "info", "projinfo", "public_tokens", "public_datasets", "autoIngest", "createChannel",
    "deleteChannel", "json",
    # behind a channel, or in its place
    "hdf5", "npz", "blosc", "blaze", "raw", "zip", "jpeg", "tiff", "diff", "xy", "xz", "yz",
    "xyanno", "xzanno", "yzanno", "id", "ids", "exceptions", "nii", "swc", "query", "reserve",
    "merge", "csv", "mcfc", "minproj", "maxproj", "catmaid", "getField", "setField",
    "getPropagate", "setPropagate", "stats", "hist", "genhist",
})  # fmt: skip
"""Words of ndstore's routes behind a token, built here or not."""

_RESERVED: Final = {"token": FIRST_WORDS, "channel": CHANNEL_WORDS}


def check_unreserved(name: str, kind: str) -> None:
    """Refuse a reserved word as the name of a new token or channel.

    Raises
    ------
    InvalidNameError
    """
    if name in _RESERVED[kind]:
        raise InvalidNameError(
            f"{name!r} cannot name a {kind}: it is a word of paths. Choose another.",
            kind=kind,
            name=name,
        )
