"""Users and catalogue by the command, and what it exits with."""

import json
import socket

import pytest

pytestmark = pytest.mark.e2e


def names(out, field):
    return [item[field] for item in json.loads(out)]


def test_a_user_from_first_key_to_revocation(run):
    key = json.loads(run("user add alice --json"))["key"]
    assert sorted(names(run("user list --json"), "name")) == ["admin", "alice"]
    alice = {"NDLAMBDA_KEY": key, "NDLAMBDA_DATA": ""}
    run("dataset create mine --size 64,64,16", **alice)
    assert "mine" in run("dataset list", **alice)
    run("user list", code=4, **alice)
    run("user add alice", code=5)
    run("user revoke nobody --yes", code=3)
    run("user revoke alice --yes")
    run("dataset list", code=4, **alice)
    assert names(run("user list --json"), "revocations") == [0, 1]


def test_a_catalogue_from_dataset_to_deletion(run):
    run("dataset create ds --size 512,256,32 --voxelres 4,4,40 --levels 2 --offset 0,0,1")
    run("project create ds/pr")
    run("channel create ds/pr/em --type image --dtype uint8")
    run("token create ds/pr/tok --public")
    assert json.loads(run("dataset show ds --json"))["ximagesize"] == 512
    assert names(run("project list ds --json"), "project_name") == ["pr"]
    assert names(run("channel list ds/pr --json"), "channel_name") == ["em"]
    assert names(run("token list ds/pr --json"), "token_name") == ["tok"]
    info = json.loads(run("info tok --json", NDLAMBDA_DATA=""))
    assert info["dataset"]["offset"]["0"] == [0, 0, 1]
    assert list(info["channels"]) == ["em"]

    run("dataset create ds --size 512,256,32 --voxelres 4,4,40 --levels 2 --offset 0,0,1")
    run("dataset create ds --size 9,9,9", code=5)
    run("channel create ds/pr/bad --type annotation --dtype float32", code=2)
    run("project show ds/nobody", code=3)
    run("project create nobody/pr", code=3)
    run("dataset create nosize", code=2)
    run("channel delete ds/pr/em", code=1)  # nobody answers the question

    run("channel delete ds/pr/em --yes")
    assert names(run("channel list ds/pr --json"), "channel_name") == []
    run("dataset delete ds --yes")
    run("info tok", code=3)
    run("project list ds", code=3)


def test_doctor_tells_what_is_missing(server, run):
    checks = json.loads(run("doctor --json"))
    assert {check["name"] for check in checks} >= {"python", "libblosc2", "data folder", "server"}
    assert all(check["ok"] for check in checks)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    sick = server.command("--url", url, "doctor", "--json")
    assert sick.code == 1
    assert [check["name"] for check in json.loads(sick.out) if not check["ok"]] == ["server"]
