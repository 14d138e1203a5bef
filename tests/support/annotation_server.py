"""A server with annotation channels on a volume whose corner is not the origin."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from tests.support.app import Server, serving
from tests.support.ramon_files import ramon_file, read_file

OFFSET = (10, 20, 5)
VOLUME = Dataset(
    "anno",
    imagesize_xyz=(200, 150, 70),
    offset_xyz=OFFSET,
    voxelres_xyz=(4.0, 4.0, 40.0),
    scalinglevels=2,
)
CUBOID = (128, 128, 16)
"""Of VOLUME at resolution 0."""

SD = "/sd/anno"
LABELS = f"{SD}/labels"
"""uint32, keeps exceptions, and is what is meant where no channel is named."""
BIG = f"{SD}/big"
"""uint64."""
PLAIN = f"{SD}/plain"
"""uint32, keeps no exceptions."""
EM = f"{SD}/em"
"""An image, and the project's default channel."""

_LABELS = ChannelType.ANNOTATION
CHANNELS = (
    Channel("", "em", ChannelType.IMAGE, DataType.UINT8, default=True),
    Channel("", "labels", _LABELS, DataType.UINT32, exceptions=True, starttime=0, endtime=4),
    Channel("", "big", _LABELS, DataType.UINT64, exceptions=True),
    Channel("", "plain", _LABELS, DataType.UINT32),
)


_numbers = count(1)


@contextmanager
def annotating(folder: Path, **settings: Any) -> Iterator[Server]:
    """Return the server; ``anno`` is public and alice's."""
    with serving(folder, **settings) as server:
        server.add_volume(VOLUME, *CHANNELS)
        yield server


def new_channel(server: Server, **changes: Any) -> Channel:
    """Make another channel like ``labels``, which no other test uses."""
    values = {
        "channel_type": _LABELS, "datatype": DataType.UINT32, "exceptions": True, "endtime": 4,
    }  # fmt: skip
    channel = Channel(VOLUME.name, f"ch{next(_numbers)}", **{**values, **changes})
    return server.runtime.catalog.create_channel(channel)


def put(server: Server, path: str, name: str = "0", **values: Any) -> int:
    """Upload one object and return its id."""
    answer = server.post(f"{path}/", "alice", data=ramon_file({name: values}))
    assert answer.status_code == 200, answer.text
    return int(answer.text)


def one(server: Server, path: str) -> dict[str, Any]:
    """Read a file of one object and return its group, ``METADATA`` in it."""
    (group,) = read_file(server.read(path)).values()
    return group
