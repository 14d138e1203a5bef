import sys
from types import ModuleType

import click
import h5py
import nibabel
import numpy as np
import pytest
import tifffile

from ndlambda import errors
from ndlambda.cli import main
from ndlambda.cli.connection import ServerOptions
from ndlambda.cli.failures import exit_code
from ndlambda.client import RetryPolicy
from ndlambda.local.published import published
from tests.support.fake_server import KEY, URL, drop


def commands(command, path=()):
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))


ALL = list(commands(main))


@pytest.mark.parametrize(("path", "command"), ALL, ids=["-".join(path) for path, _ in ALL])
def test_every_command_and_option_explains_itself(run, path, command):
    shown = run.ok(" ".join([*path, "--help"]))
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.name} has no help"
            assert option.opts[-1] in shown.out
    assert "\b" not in shown.out
    assert "\\b" not in shown.out


# --- exit codes ---------------------------------------------------------------------------


def test_exit_codes_tell_kinds_of_failure():
    codes = {
        errors.OutOfBoundsError: 2, errors.NotFoundError: 3, errors.TokenNotFoundError: 3,
        errors.PermissionDeniedError: 4, errors.ReadOnlyChannelError: 4,
        errors.AuthenticationError: 4, errors.AlreadyExistsError: 5, errors.UpstreamError: 1,
        errors.NDLambdaError: 1,
    }  # fmt: skip
    assert {kind: exit_code(kind("x")) for kind in codes} == codes


@pytest.mark.parametrize(("line", "key", "code", "advice"), [
    ("dataset show nope", KEY, 3, "no dataset nope"),
    ("dataset create bad-name --size 1,1,1", KEY, 2, "A-Z a-z 0-9 _"),
    ("user revoke nobody --yes", KEY, 3, "No user nobody"),
    ("info nope", KEY, 3, "no token nope"),
    ("dataset list", "wrong", 4, "--key"),
])  # fmt: skip
def test_failures_are_told_on_standard_error_with_what_to_do(run, line, key, code, advice):
    done = run(line, key=key)
    assert (done.code, done.out) == (code, "")
    assert advice in done.err
    assert done.err.count("\n") == 1 or code != 3


def test_a_server_that_is_away_is_exit_code_1(run, server, monkeypatch):
    monkeypatch.setattr(RetryPolicy, "wait", lambda *_: None)
    server.faults = [drop] * 20
    done = run("dataset list")
    assert done.code == 1
    assert "check the URL" in done.err


def test_the_admin_key_of_a_data_folder_is_used_or_none(run, server, tmp_path):
    (tmp_path / "admin.key").write_text(f"{KEY}\n")
    with published(tmp_path, URL):
        assert run(f"--data {tmp_path} dataset list", key="").code == 0
    assert server.calls[-1].authorization == f"Token {KEY}"
    (tmp_path / "admin.key").unlink()
    done = run("dataset list", key="", NDLAMBDA_DATA=str(tmp_path))
    assert done.code == 4
    assert "admin.key" in done.err
    run("token list", key="")
    assert server.calls[-1].authorization is None


@pytest.mark.parametrize(("data", "url", "key", "found"), [
    (2, 1, 1, ("http://folder:1", None)), (2, 1, 2, ("http://folder:1", "said")),
    (2, 2, 1, ("http://said:1", None)), (1, 1, 1, ("http://said:1", "said")),
    (1, 0, 1, ("http://folder:1", "said")), (1, 2, 2, ("http://said:1", "said")),
])  # fmt: skip
def test_a_folder_wins_over_what_is_said_less_clearly(tmp_path, data, url, key, found):
    """Seen to fail: the key of the environment was sent to the server of the folder."""
    with published(tmp_path, "http://folder:1"):
        options = ServerOptions("http://said:1", "said", tmp_path)
        options = options.preferring({"data": data, "url": url, "key": key})
    assert (options.url, options.key) == found


@pytest.mark.parametrize("line", ["--data {} token list", "--data {} doctor"])
@pytest.mark.parametrize(("exists", "said"), [(True, "No server runs"), (False, "no data folder")])
def test_the_key_of_a_folder_without_a_server_is_sent_nowhere(
    run, server, tmp_path, line, exists, said
):
    """Seen to fail: the default URL, or that of the environment, was sent it."""
    folder = tmp_path / "other"
    if exists:
        folder.mkdir()
        (folder / "admin.key").write_text(KEY)
    done = run(line.format(folder), key="")
    assert said in done.out + done.err
    assert done.code == (1 if exists or "doctor" in line else 2)
    assert not server.calls


@pytest.mark.parametrize(("line", "path"), [
    ("get {} -o a.npy", "/v1/projects/tok"),
    ("put a.npy {}", "/v1/projects/tok"),
    ("graph {}", "/v1/projects/tok/channels/ch/graph"),
    ("skeleton get {} 17 18", "/v1/projects/tok/channels/ch/skeletons"),
    ("skeleton put a.swc {}", "/v1/projects/tok/channels/ch/skeletons"),
])  # fmt: skip
@pytest.mark.parametrize("form", ["tok/ch", "--token tok --channel ch"])
def test_a_channel_is_written_one_way_and_the_older_one_still_works(
    run, server, tmp_path, line, path, form
):
    np.save(tmp_path / "a.npy", np.ones((1, 1, 1), np.uint8))
    (tmp_path / "a.swc").write_text("1 1 0 0 0 1 -1\n")
    run(line.format(form))
    assert path in {call.path for call in server.calls}


@pytest.mark.parametrize("form", ["tok/ch", "tok ch"])
def test_propagate_takes_both_forms(run, server, form):
    run(f"propagate {form} --status")
    assert server.calls[-1].path == "/v1/projects/tok/channels/ch/propagation"


@pytest.mark.parametrize("size", ["nan,4,40", "4,inf,40", "0,4,40", "4,4,-1"])
@pytest.mark.parametrize("line", ["dataset create ds --size 4,4,4", "put a.npy t/c --create"])
def test_a_voxel_size_is_positive_and_finite(run, server, line, size):
    """Seen to fail: the server was asked first, and refused it under a field's name."""
    np.save("a.npy", np.ones((2, 3, 4), np.uint8))
    done = run(f"{line} --voxelres {size}")
    assert (done.code, "'--voxelres'" in done.err, server.calls) == (2, True, [])


@pytest.mark.parametrize(("options", "last"), [
    ("--levels 20", 10), ("--levels 10", None), ("--levels 12 --scaling isotropic", 11),
])  # fmt: skip
def test_levels_of_a_single_voxel_are_remarked_on(run, options, last):
    done = run.ok(f"dataset create ds --size 1000,1024,1025 --voxelres 4,4,4 {options}")
    assert (f"from resolution {last} on" in done.err) == (last is not None)


def test_where_nothing_is_coarser_nothing_is_built(run, server):
    np.save("a.npy", np.ones((2, 3, 4), np.uint8))
    run.ok("put a.npy t/c --create")
    assert "no coarser resolutions" in run.ok("propagate t/c --watch").out
    assert not [call for call in server.calls if call.path.endswith("propagation")]


# --- catalogue ----------------------------------------------------------------------------


def test_the_whole_tree_is_made_shown_listed_and_deleted(run, server):
    made = [
        (
            "dataset create kas --size 100,200,300 --offset 0,0,1 --voxelres 6,6,30 --levels 3"
            " --scaling isotropic --description 'mouse cortex'"
        ),
        "project create kas/em --public",
        "channel create kas/em/image --dtype uint8",
        "channel create kas/em/bold --type timeseries --dtype int16 --time 2:9",
        "token create kas/em/kas11 --public",
    ]
    for says in ("is created", "exists already"):
        assert all(says in run.ok(line).out for line in made)
    assert run("dataset create kas --size 2,1,1").code == 5, "the name is taken"
    dataset = server.things["datasets"]["kas",]
    assert [dataset[f"{axis}imagesize"] for axis in "xyz"] == [100, 200, 300]
    assert [dataset[f"{axis}offset"] for axis in "xyz"] == [0, 0, 1]
    assert [dataset[f"{axis}voxelres"] for axis in "xyz"] == [6, 6, 30]
    assert (dataset["scalingoption"], dataset["scalinglevels"]) == (1, 3)
    assert dataset["dataset_description"] == "mouse cortex"
    bold = server.things["channels"]["kas", "em", "bold"]
    assert (bold["starttime"], bold["endtime"]) == (2, 9)

    assert [thing["dataset_name"] for thing in run("dataset list --json").json] == ["kas"]
    assert run("project list kas --json").json[0]["public"] == 1
    assert len(run("channel list kas/em --json").json) == 2
    assert run("token list --json").json[0]["dataset"] == "kas"
    assert run("token list kas/em --json").json[0]["token_name"] == "kas11"
    for line in ("dataset show kas", "project show kas/em", "channel show kas/em/bold"):
        assert "kas" in run(line).out or "bold" in run(line).out
        assert isinstance(run(f"{line} --json").json, dict)
    assert run("token show kas/em/kas11 --json").json["public"] == 1
    assert "timeseries" in run("channel list kas/em").out

    for kind, path in [
        ("token", "kas/em/kas11"),
        ("channel", "kas/em/bold"),
        ("project", "kas/em"),
    ]:
        assert run(f"{kind} delete {path} --yes").code == 0
        assert run(f"{kind} show {path}").code == 3
    assert run("dataset delete kas -y").code == 0
    assert run("dataset list --json").json == []


def test_deleting_asks_and_a_no_keeps_everything(run, server):
    server.add_volume((1, 2, 3, 4))
    asked = run("dataset delete ds", typed="n\n")
    assert asked.code == 1
    assert "with all its projects, channels, tokens and voxels" in asked.out
    assert ("ds",) in server.things["datasets"]
    assert run("dataset delete ds", typed="y\n").code == 0
    assert server.things["datasets"] == {}


def test_wrong_usage_is_exit_code_2_and_sends_nothing(run, server):
    for line in (
        "dataset create d --size 1,1",
        "dataset create d --size 1,1,-1",
        "dataset create d",
        "project create onlyone",
        "project create a/b/c",
        "channel create d/p/c --dtype float64",
        "channel create d/p/c --dtype uint8 --time 3:3",
        "get --token t --channel c --box 1:2,3:4 -o a.npy",
        "get --token t --channel c --box 2:1,3:4,5:6 -o a.npy",
        "nonsense",
    ):
        assert run(line).code == 2, line
    assert server.calls == []


def test_users_get_a_key_once(run, server):
    done = run("user add alice --superuser")
    assert done.out == "key-of-alice\n", "standard output is the key alone, for scripts"
    assert "NDLAMBDA_KEY" in done.err
    assert run("user add bob --json").json["key"] == "key-of-bob"
    assert [person["name"] for person in run("user list --json").json] == ["alice", "bob"]
    assert "key" not in run("user list --json").json[0]
    assert run("user revoke alice", typed="n\n").code == 1
    assert run("user revoke alice --yes").code == 0
    assert run("user list --json").json[0]["revocations"] == 1
    assert run("user add alice").code == 5
    assert run("user key alice").out == "next-key-of-alice\n", "what revoking took is given again"
    assert run("user key nobody").code == 3


def test_a_password_is_asked_for_twice_not_shown_and_not_an_argument(run, server):
    done = run("user add carol --ask-password", typed="hunter2\nhunter2\n")
    again = run("user passwd carol", typed="hunter3\nhunter3\n")
    assert (done.code, again.code) == (0, 0)
    assert server.people["carol"]["password"] == "hunter3"
    assert "hunter" not in done.out + done.err + again.out
    assert run("user passwd dave", typed="x\nx\n").code == 3


def test_names_with_markup_are_printed_as_they_are(run, server):
    server.people["x"] = {"name": "[red]x[/red]", "id": 1, "superuser": False, "revocations": 0}
    assert "[red]x[/red]" in run("user list").out


# --- get, info ----------------------------------------------------------------------------


@pytest.fixture
def stored(server):
    array = server.add_volume((3, 6, 7, 8), "uint16", offset_xyz=(5, 3, 1))
    array[:] = np.arange(1, array.size + 1).reshape(array.shape)
    return array


READERS = {
    "a.npy": np.load,
    "a.npz": lambda path: np.load(path)["cutout"],
    "a.h5": lambda path: h5py.File(path)["ch/CUTOUT"][:],
    "a.tif": tifffile.imread,
    "a.nii": lambda path: np.asarray(nibabel.load(path).dataobj).T,
    "a.nii.gz": lambda path: np.asarray(nibabel.load(path).dataobj).T,
}


@pytest.mark.parametrize("name", READERS)
def test_get_writes_the_box_in_the_format_of_the_suffix(run, stored, tmp_path, name):
    done = run.ok(f"get --token tok --channel ch --box 6:10,4:9,2:5 -o {name}")
    assert np.array_equal(READERS[name](tmp_path / name), stored[0, 1:4, 1:6, 1:5])
    assert "uint16, shape 3 x 5 x 4" in done.out
    assert run(f"get --token tok --channel ch --time 1:3 -o {name}").code == 0
    assert np.array_equal(READERS[name](tmp_path / name), stored[1:3])


def test_get_without_a_box_is_the_whole_level(run, server, stored, tmp_path):
    server.array("tok", "ch", 1)[:] = 3
    assert run("get --token tok --channel ch --resolution 1 -o a.npy").code == 0
    assert np.load(tmp_path / "a.npy").shape == (6, 4, 4)
    done = run("get --token tok --channel ch -o no/such/a.npy")
    assert done.code == 2
    assert "There is no folder 'no/such'" in done.err


@pytest.mark.parametrize(("options", "code", "reason"), [
    ("--box 0:4,3:4,1:2 -o a.npy", 2, "leaves the volume"), ("-o a.docx", 2, ".nii.gz"),
])  # fmt: skip
def test_get_refuses_before_it_fetches(run, server, stored, tmp_path, options, code, reason):
    refused = run(f"get --token tok --channel ch {options}")
    assert refused.code == code
    assert reason in refused.err
    assert server.count("GET", "cutout") == 0
    assert list(tmp_path.iterdir()) == []


def test_info_shows_levels_and_channels(run, stored):
    shown = run("info tok").out
    assert all(text in shown for text in ("8 x 7 x 6", "4 x 4 x 6", "uint16"))
    assert run("info tok --json").json["dataset"]["offset"]["0"] == [5, 3, 1]
    assert list(run("info tok/ch --json").json["channels"]) == ["ch"]
    assert run("info tok/other").code == 3


def test_a_sample_can_be_put_at_once(run, server, tmp_path):
    made = run.ok("sample slices --size 20,16,9")
    assert "9 slices of 20 x 16" in made.out
    run.ok("put slices tok/ch --create")
    assert server.array("tok", "ch").shape == (1, 9, 16, 20)
    assert server.array("tok", "ch").all()
    assert run("sample slices").code == 5, "nothing is written over"
    assert run("sample new --size 0,1,1").code == 2


# --- doctor, serve ------------------------------------------------------------------------


def test_doctor_is_content_with_a_sound_installation(run, tmp_path, monkeypatch):
    (tmp_path / "admin.key").write_text(KEY)
    (tmp_path / "admin.key").chmod(0o600)
    done = run(f"--url {URL} --data {tmp_path} doctor --json", HOME=str(tmp_path))
    checks = {check["name"]: check for check in done.json}
    assert done.code == 0, done.out
    assert all(check["ok"] for check in checks.values())
    assert checks["data folder"]["found"] == f"{tmp_path}: admin.key"
    assert "9.9" in checks["server"]["found"]
    assert checks["key"]["found"] == "superuser admin"
    assert "ok" in run("doctor").out


def test_doctor_says_what_to_do_and_fails(run, server, tmp_path):
    (tmp_path / "admin.key").write_text(KEY)
    (tmp_path / "admin.key").chmod(0o644)
    exposed = run("doctor", NDLAMBDA_DATA=str(tmp_path))
    wrong = run("doctor", key="wrong")
    server.faults = [drop]
    away = run("doctor")
    assert (exposed.code, away.code) == (1, 1)
    assert "chmod 600" in exposed.out
    assert "ndlambda user add" in wrong.out
    assert "ndlambda serve" in away.out
    missing = run(f"--data {tmp_path / 'nope'} doctor --json")
    assert [check["name"] for check in missing.json if not check["ok"]] == ["data folder", "server"]


def test_doctor_names_where_aws_credentials_are_but_not_what_they_are(run, tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\naws_secret_access_key = hush\n")
    env = {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SHARED_CREDENTIALS_FILE": ""}
    done = run("doctor --json", **env)
    found = next(check["found"] for check in done.json if check["name"] == "AWS credentials")
    assert all(place in found for place in ("AWS_ACCESS_KEY_ID", ".aws"))
    assert not any(secret in done.out for secret in ("AKIAX", "hush"))


def test_serve_hands_its_options_to_the_local_host(run, tmp_path, monkeypatch):
    served = []
    stand_in = ModuleType("ndlambda.local.serve")
    stand_in.ServeOptions, stand_in.run = dict, served.append
    monkeypatch.setitem(sys.modules, "ndlambda.local.serve", stand_in)
    run.ok(f"serve --data {tmp_path} --port 0 --moto --threads 3")
    run.ok(f"--data {tmp_path} serve")
    first, second = served
    given = {"data": tmp_path, "port": 0, "host": "127.0.0.1", "moto": True, "threads": 3}
    assert first == given
    assert (second["data"], second["port"]) == (tmp_path, 8080)
