"""RAMON objects on SQLite and on DynamoDB (moto)."""

import uuid
from dataclasses import replace

import pytest

from ndlambda.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PayloadTooLargeError,
    PreconditionFailedError,
    ValidationError,
)
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.ramon import (
    Annotation,
    Neuron,
    Node,
    Organelle,
    RamonType,
    RegionOfInterest,
    Segment,
    Skeleton,
    Synapse,
    parse_query,
)
from ndlambda.services.deletion.rows import delete_objects
from ndlambda.services.ramon.keys import index_rows
from ndlambda.services.ramon.service import Ramon
from ndlambda.stores.aws import DynamoTable, create_table
from ndlambda.stores.disk import DiskObjectStore
from ndlambda.testing.threads import run_together
from tests.support.ramon_world import CHANNEL, RamonWorld, disk_world

LONG = tuple(range(1000, 1250))
"""A list with more elements than a transaction takes rows."""


@pytest.fixture(params=["disk", "moto"])
def world(request, tmp_path):
    """On moto, voxels, of which these tests have none, were on files."""
    if request.param == "disk":
        return disk_world(tmp_path / "world")
    config, name = request.getfixturevalue("moto_config"), f"ramon-{uuid.uuid4().hex}"
    create_table(config, name)
    return RamonWorld(DynamoTable(config, name), DiskObjectStore(tmp_path, fsync=False))


def expected_index(ramon: Annotation) -> set[tuple[str, str]]:
    return {(row.pk, row.sk) for row in index_rows(CHANNEL.uid, ramon)}


@pytest.fixture
def disk(tmp_path):
    return disk_world(tmp_path / "world")


def ask(ramon: Ramon, words: str, **options: object) -> list[int]:
    return ramon.query(CHANNEL, parse_query(words.split("/") if words else []), **options)


def test_an_update_replaces_wholly(world):
    ramon = world.ramon()
    world.upload(Segment(1, status=2, neuron=5, kvpairs={"a": "1", "b": "2"}))
    stored = ramon.get(CHANNEL, 1)
    ramon.update(CHANNEL, Synapse(1, kvpairs={"b": "2"}), if_version=stored.version)
    assert ramon.get(CHANNEL, 1).ramon == Synapse(1, kvpairs={"b": "2"})
    assert ask(ramon, "seg_neuron/5") == []
    assert ask(ramon, "a/1") == []
    assert ask(ramon, "type/2/b/2") == [1]
    assert ramon.top_keys(CHANNEL, 10, RamonType.SYNAPSE) == [("b", 1)]
    with pytest.raises(PreconditionFailedError):
        ramon.update(CHANNEL, Annotation(1), if_version=stored.version)
    with pytest.raises(NotFoundError):
        ramon.update(CHANNEL, Annotation(2))
    assert world.index() == expected_index(ramon.get(CHANNEL, 1).ramon)


def test_derived_lists_are_found(disk):
    ramon = disk.ramon()
    synapse = Synapse(4, segments=(2, 3), presegments=(2,), postsegments=(3,))
    disk.upload(Neuron(1), Segment(2, neuron=1), Segment(3, neuron=1), synapse)
    disk.upload(Organelle(5, segment=2), Skeleton(6), Node(7, parent=-1, skeleton=6))
    disk.upload(Node(8, parent=7, skeleton=6))
    disk.upload(RegionOfInterest(9, parent=7), RegionOfInterest(10, parent=9))
    for number, name, found in (
        (1, "segments", "2,3"), (2, "synapses", "4"), (2, "presynapses", "4"),
        (2, "postsynapses", ""), (2, "organelles", "5"), (6, "nodes", "7,8"),
        (7, "children", "8,9"), (9, "children", "10"),
    ):  # fmt: skip
        assert ramon.get_field(CHANNEL, number, name) == found, name
    (lists,) = ramon.derived_lists(CHANNEL, [ramon.get(CHANNEL, 3).ramon])
    assert lists == {"synapses": [4], "presynapses": [], "postsynapses": [4], "organelles": []}


def test_keys_and_values_of_any_text_are_found(disk):
    ramon = disk.ramon()
    texts = ["a#b", "a", "a#", "#", "%23", "~", "é" * 255, "x" * 255, "a b", "\u2028"]
    texts.append("~" + "0" * 64)
    disk.upload(*(Annotation(n, kvpairs={text: text * 70}) for n, text in enumerate(texts, 1)))
    disk.upload(Annotation(99, kvpairs={"a": "a" * 70 + f"#{1:020d}"}))
    for number, text in enumerate(texts, start=1):
        assert ramon.query(CHANNEL, parse_query([text, text * 70])) == [number]
    assert {key for key, _ in ramon.top_keys(CHANNEL, 99)} == set(texts)


def test_a_deleted_object_is_nowhere_and_its_id_stays_used(world):
    ramon = world.ramon()
    world.upload(Segment(5, kvpairs={"k": "v"}))
    assert ramon.delete(CHANNEL, [5, 77]) == []
    assert world.eraser.erased == {5, 77}
    assert world.index() == set()
    assert ask(ramon, "") == []
    for attempt in (lambda: ramon.get(CHANNEL, 5), lambda: ramon.update(CHANNEL, Segment(5))):
        with pytest.raises(NotFoundError):
            attempt()
    assert ramon.delete(CHANNEL, [5]) == []
    with pytest.raises(AlreadyExistsError):
        world.upload(Annotation(5))
    assert world.upload(Annotation()) == [6]


def test_a_large_object_is_left_to_a_job(disk):
    ramon = disk.ramon()
    disk.upload(Segment(5))
    disk.eraser.large = {5}
    assert ramon.delete(CHANNEL, [5]) == [5]
    (row,) = disk.rows()
    assert row.doc["now"]["gone"] is True
    assert disk.jobs() == ["5"]


def test_many_are_deleted_and_replaced_together(world):
    """Also ids without an object, one whose rows exceed a transaction, and what died half-way."""
    ramon, numbers = world.ramon(), range(1, 71)
    world.upload(*(Segment(n, kvpairs={"k": f"{n}"}) for n in numbers), Synapse(71, segments=LONG))
    ramon.update_many(CHANNEL, [*(Segment(n, neuron=7) for n in numbers), Synapse(71)])
    assert ask(ramon, "seg_neuron/7") == [*numbers]
    assert ask(ramon, "k/5") == ask(ramon, f"syn_segments/{LONG[0]}") == []
    ramon.update_many(CHANNEL, [Synapse(71, segments=LONG)])
    with pytest.raises(NotFoundError):
        ramon.update_many(CHANNEL, [Annotation(1), Annotation(99)])
    assert ramon.delete(CHANNEL, [*numbers, 71, 99, 5]) == []
    assert ask(ramon, "") == []
    assert world.index() == set()
    assert world.eraser.erased == {*numbers, 71, 99}


def test_an_object_of_more_rows_than_a_transaction_changes_in_steps(disk):
    ramon = disk.ramon()
    disk.upload(Synapse(1, segments=LONG))
    assert ask(ramon, f"syn_segments/{LONG[-1]}") == [1]
    shorter = Synapse(1, segments=(LONG[0], 5))
    ramon.update(CHANNEL, shorter)
    assert ask(ramon, f"syn_segments/{LONG[-1]}") == []
    assert ask(ramon, "syn_segments/5") == [1]
    assert disk.index() == expected_index(shorter)
    ramon.update(CHANNEL, Synapse(1, segments=LONG))
    ramon.delete(CHANNEL, [1])
    assert disk.index() == set()


def test_objects_that_do_not_fit_in_a_row_are_refused(disk):
    ramon = disk.ramon()
    pairs = {f"key{number}": "x" * 20_000 for number in range(4)}
    with pytest.raises(PayloadTooLargeError, match="too many or too long values"):
        disk.upload(Annotation(1, kvpairs=pairs))
    longest = Synapse(1, segments=tuple(range(10**9, 10**9 + 10_000)))
    with pytest.raises(PayloadTooLargeError):
        disk.upload(longest)
    assert disk.rows() == []
    kept = Annotation(1, kvpairs=dict(list(pairs.items())[:3]))
    disk.upload(kept)
    for attempt in (
        lambda: ramon.set_field(CHANNEL, 1, "key3", pairs["key3"]),
        lambda: ramon.update(CHANNEL, longest),
    ):
        with pytest.raises(PayloadTooLargeError, match="Object 1 has too many or too long values"):
            attempt()
    assert ramon.get(CHANNEL, 1).ramon == kept
    assert disk.index() == expected_index(kept)


def test_many_objects_are_stored_at_once(disk):
    ramon = disk.ramon()
    nodes = [Node(number, parent=number - 1 or -1, skeleton=500) for number in range(1, 41)]
    ramon.create_reserved(CHANNEL, [*nodes, Synapse(41, segments=LONG), Node(42)])
    assert ramon.get_many(CHANNEL, list(range(1, 41))) == nodes
    assert ask(ramon, "node_skeleton/500/node_parent/7") == [8]
    assert ask(ramon, "type/7") == [*range(1, 41), 42]
    with pytest.raises(AlreadyExistsError):
        ramon.create_reserved(CHANNEL, [Node(43), Node(1)])
    assert ask(ramon, "type/7") == [*range(1, 41), 42]


def test_bad_ids_and_channels_are_refused(disk):
    ramon = disk.ramon()
    image = replace(CHANNEL, channel_type=ChannelType.IMAGE, datatype=DataType.UINT8)
    for attempt, error in (
        (lambda: disk.upload(Annotation(-1)), InvalidArgumentError),
        (lambda: ramon.create_reserved(CHANNEL, [Annotation(-1)]), ValidationError),
        (lambda: ramon.update(CHANNEL, Annotation(-1)), ValidationError),
        (lambda: disk.upload(Annotation(), channel=image), InvalidArgumentError),
        (lambda: ramon.get(image, 1), InvalidArgumentError),
        (lambda: ramon.delete(image, [1]), InvalidArgumentError),
        (lambda: ramon.query(image, parse_query([])), InvalidArgumentError),
        (lambda: disk.merges().merge(CHANNEL, 1, []), InvalidArgumentError),
        (lambda: disk.merges().merge(CHANNEL, 1, [1]), InvalidArgumentError),
    ):
        with pytest.raises(error):
            attempt()
    assert disk.rows() == []
    wide = replace(CHANNEL, datatype=DataType.UINT64)
    assert disk.upload(Annotation(2**40), channel=wide) == [2**40]


def test_a_channel_created_again_sees_nothing_and_the_old_rows_can_be_removed(disk):
    ramon = disk.ramon()
    disk.upload(*(Segment(number, kvpairs={"k": "v"}) for number in range(1, 30)))
    disk.merges().merge(CHANNEL, 1, [2])
    again = replace(CHANNEL, uid="uid-2")
    assert ramon.query(again, parse_query([])) == []
    disk.upload(Segment(1), channel=again)
    runs = 1
    while not delete_objects(disk.table, CHANNEL.uid, max_rows=50):
        runs += 1
    assert runs > 1
    assert disk.rows() == []
    assert len(disk.rows("uid-2")) > 0
    assert delete_objects(disk.table, CHANNEL.uid)


def test_of_many_creators_of_one_id_one_wins(world):
    """Seen to fail with "any" instead of "absent" in ``ObjectRows.add_many``."""

    def create(number: int) -> bool:
        try:
            world.upload(Segment(7, neuron=number + 100))
        except AlreadyExistsError:
            return False
        return True

    winners = [number for number, won in enumerate(run_together(8, create)) if won]
    assert len(winners) == 1
    stored = world.ramon().get(CHANNEL, 7).ramon
    assert stored == Segment(7, neuron=winners[0] + 100)
    assert world.index() == expected_index(stored)


def test_updaters_of_one_object_lose_nothing(world):
    """Seen to fail with "any" instead of the row's version in ``ObjectRows.change``."""
    world.upload(Segment(7))

    def update(number: int) -> None:
        ramon = world.ramon()
        for step in range(4):
            ramon.set_field(CHANNEL, 7, f"k{number}-{step}", "v")

    run_together(4, update)
    stored = world.ramon().get(CHANNEL, 7).ramon
    assert len(stored.kvpairs) == 16
    assert world.index() == expected_index(stored)
