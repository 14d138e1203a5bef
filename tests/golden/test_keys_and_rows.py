"""Object keys and catalogue rows, frozen: what an older version wrote must stay readable.

``rows.json`` was written once by this version's services; a change that makes these tests fail
needs a migration, not a new file.
"""

import json
from pathlib import Path

from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.catalog import keys
from ndlambda.services.volume.region import Region, object_key
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Pyramid, Scaling
from ndlambda.stores.ports import Row

FROZEN = json.loads(Path(__file__).with_name("rows.json").read_text())

DATASET = Dataset(
    "kasthuri11",
    (21504, 26624, 1850),
    description="cortex",
    user_id=3,
    public=True,
    offset_xyz=(0, 0, 1),
    voxelres_xyz=(3.0, 3.0, 30.0),
    scaling=Scaling.ZSLICES,
    scalinglevels=7,
)
PROJECT = Project("kasthuri11cc", "kasthuri11", description="images", user_id=3)
TOKEN = Token("kasthuri", "kasthuri11cc", user_id=3, public=True)
CHANNEL = Channel(
    "kasthuri11cc",
    "image",
    ChannelType.TIMESERIES,
    DataType.UINT16,
    id=12,
    uid="c0ffee",
    starttime=2,
    endtime=5,
    endwindow=4000,
    default=True,
)


def as_json(row: Row) -> dict:
    return {"pk": row.pk, "sk": row.sk, "doc": dict(row.doc)}


def written() -> dict[str, dict]:
    return {
        "dataset": as_json(keys.dataset_row(DATASET, "u1")),
        "project": as_json(keys.project_row(PROJECT, "u2", "u1")),
        "token": as_json(keys.token_row(TOKEN)),
        "channel": as_json(keys.channel_row(CHANNEL)),
    }


def frozen(kind: str) -> Row:
    return Row(**FROZEN[kind])


def test_rows_that_were_written_before_are_read() -> None:
    assert keys.to_dataset(frozen("dataset")) == DATASET
    assert keys.to_project(frozen("project")) == PROJECT
    assert keys.to_token(frozen("token")) == TOKEN
    assert keys.to_channel(frozen("channel")) == CHANNEL


def test_rows_are_written_as_before_and_name_the_dataset_of_a_project() -> None:
    rows = written()
    assert rows["project"]["doc"].pop("dataset_uid") == "u1"
    assert rows == FROZEN


def test_object_keys_are_those_of_old_data() -> None:
    level = Pyramid((10000, 10000, 1000), (0, 0, 0), (4, 4, 3), Scaling.ZSLICES, 5).level(3)
    region = Region(level, Box((0, 0, 0), (1, 1, 1)), (0, 1))
    near = Region(level, Box((0, 0, 0), (1, 1, 1)), (0, 1), neariso=True)
    assert object_key(CHANNEL, region, 4, 15835) == "kasthuri11cc/image/c0ffee/3/4/0000000000003ddb"
    assert object_key(CHANNEL, near, 0, 0) == "kasthuri11cc/image/c0ffee/3n/0/0000000000000000"
