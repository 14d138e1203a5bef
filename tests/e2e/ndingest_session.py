"""What a user of ndio's NDIngest does: ``python ndingest_session.py HOST:PORT URL SIZE…``.

URL is where the slices are and, since GitHub is not asked in a test, the JSON schemas that NDIngest
checks its input by. SIZE is that of the volume (x, y, z). Prints what the server said.
"""

import sys

import ndio
from ndio.remote import ndingest
from ndio.remote.neurodata import neurodata


def main(hostname: str, url: str, size: list[int]) -> None:
    ndingest.SCHEMA_BASE = url
    ingest = ndingest.NDIngest(hostname)
    if ndio.version != "1.1.5":  # 1.1.6 takes the host for a key
        ingest.oo = neurodata("placeholder", hostname, protocol="http")
    ingest.add_dataset("kasthuri", size, [6.0, 6.0, 30.0], scaling=0)
    ingest.add_project("kasthuri", "kasthuri11", 1)
    ingest.add_channel("em", "uint8", "image", url, "SLICE", "png", windowrange=[0, 255])
    ingest.add_channel("cells", "uint32", "annotation", url, "SLICE", "png", exceptions=0)
    ingest.add_metadata("of a test")
    ingest.post_data()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]])
