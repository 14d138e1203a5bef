"""Deleting over HTTP takes all that lies under a thing, and the worker takes the voxels."""

import pytest

from functions import erase
from ndlambda import runtime
from ndlambda.local.pump import sqs_event
from tests.support.app import BOX, SHAPE, Server, server_fixture
from tests.support.bodies import noise, npz
from tests.support.twins import CHANNEL, RESOURCE, V1, Twin, make_all

DELETABLE = ("dataset", "project", "channel")


disk = server_fixture(erase_grace_s=0)
"""Its erasures end with their first pass."""


@pytest.fixture
def erasing(request, monkeypatch):
    """The server of the parameter, which ``functions`` know, too."""
    server: Server = request.getfixturevalue(getattr(request, "param", "disk"))
    monkeypatch.setattr(runtime, "_built", [server.runtime])
    return server


def work(server: Server) -> int:
    """Do what the erase queue asks for, as Lambda would, and give how many messages there were."""
    queue, done = server.runtime.resources.queues.erase, 0
    while messages := list(queue.receive()):
        answer = erase.handler(sqs_event(messages), None)
        assert answer == {"batchItemFailures": []}
        queue.ack([message.receipt for message in messages])
        done += len(messages)
    return done


def stored_keys(server: Server) -> set[str]:
    return {info.key for info in server.runtime.resources.objects.list("")}


DELETIONS = [("disk", twin, what) for twin in (RESOURCE, V1) for what in DELETABLE]


@pytest.mark.parametrize(
    ("erasing", "twin", "what"),
    [*DELETIONS, ("aws_server", RESOURCE, "dataset")],
    indirect=["erasing"],
    ids=lambda value: value.project if isinstance(value, Twin) else value,
)
def test_deleting_removes_all_under_it_and_the_voxels(erasing, twin, what):
    gone, kept = (f"{name}_{twin.project}_{what}" for name in ("gone", "kept"))
    paths, others = make_all(erasing, twin, gone), make_all(erasing, twin, kept)
    before = stored_keys(erasing)
    path = f"/sd/{gone}_t/ch/npz/{BOX}"
    for written in (path, path.replace(gone, kept)):
        erasing.write(written, npz(noise((1, *SHAPE))))
    assert len(stored_keys(erasing) - before) == 2
    victim = paths[DELETABLE.index(what)]
    assert erasing.call("DELETE", victim, "alice").status_code == 204
    assert erasing.get(path, "alice").status_code in {403, 404}
    for path_of_part in paths[1:] if what != "channel" else paths[2:3]:
        assert erasing.get(path_of_part, "alice").status_code in {400, 404}
    assert work(erasing) >= 1
    left = stored_keys(erasing)
    assert not any(key.startswith(f"{gone}_p/") for key in left)
    assert any(key.startswith(f"{kept}_p/") for key in left)
    assert all(erasing.get(each, "alice").status_code == 200 for each in others)


def test_a_channel_made_again_does_not_see_the_old_voxels(erasing):
    paths = make_all(erasing, RESOURCE, "again")
    read = f"/sd/again_t/ch/raw/{BOX}"
    erasing.write(f"/sd/again_t/ch/npz/{BOX}", npz(noise((1, *SHAPE))))
    assert erasing.call("DELETE", paths[2], "alice").status_code == 204
    assert erasing.post(paths[2], "alice", json=CHANNEL).status_code == 201
    assert not any(erasing.read(read))
    erasing.write(f"/sd/again_t/ch/npz/{BOX}", npz(noise((1, *SHAPE), seed=1)))
    work(erasing)
    assert erasing.read(read) == noise(SHAPE, seed=1).tobytes()
