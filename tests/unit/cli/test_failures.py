"""Whatever a person types, the command ends in a sentence and an exit code, not in a traceback."""

import errno
import io
import os

import click
import numpy as np
import pytest

from ndlambda import errors
from ndlambda.cli import failures, main
from ndlambda.client import RetryPolicy, Volume
from ndlambda.client.transport import http
from ndlambda.client.transport.http import PooledTransport
from ndlambda.wire import export
from tests.support.fake_server import URL, drop, refuse


def leaves(command, path=()):
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from leaves(child, (*path, name))


LEAVES = {" ".join(path): command for path, command in leaves(main)}
HARMLESS = {"serve", "sample", "doctor", "user add"}
"""Commands that end well, or not at all, with these arguments."""
WORDS = (
    "nonsense",
    "''",
    "a/b",
    "a/b/c/d",
    "../..",
    "été/é",
    "\udce9",
    "-5",
    "x" * 5000,
    "[red]",
    "0",
)


@pytest.fixture
def fails(run, server, monkeypatch):
    """Run what must fail by a fault of the person or the world; give the outcome."""
    monkeypatch.setattr(RetryPolicy, "wait", lambda *_: None)

    def check(line, **options):
        done = run(line, **options)
        assert 1 <= done.code <= 5, (line, done)
        assert done.err.strip(), line
        assert "Traceback" not in done.err
        assert "fault of ndlambda" not in done.err, (line, done.err)
        return done

    return check


@pytest.mark.parametrize("name", sorted(LEAVES.keys() - HARMLESS))
def test_every_command_refuses_nonsense(fails, server, name):
    fails(f"{name} --nonsense")
    arguments = [p for p in LEAVES[name].params if isinstance(p, click.Argument)]
    required = [p for p in LEAVES[name].params if p.required and isinstance(p, click.Option)]
    if not arguments:
        return
    for word in WORDS:
        options = " ".join(f"{p.opts[-1]} {word}" for p in required)
        fails(f"{name} {options} -- {' '.join([word] * len(arguments))}")
    server.faults = [drop] * 99
    fails(f"{name} {options} -- {' '.join(['t/c'] * len(arguments))}")


@pytest.mark.parametrize("name", sorted(LEAVES.keys() - HARMLESS))
def test_every_option_refuses_a_value_that_is_none(fails, name):
    for option in LEAVES[name].params:
        if isinstance(option, click.Option) and not option.is_flag:
            for word in WORDS:
                fails(f"{name} {option.opts[-1]}={word}")


NAMES = ("npy", "tif", "nii", "nii.gz", "nrrd", "h5", "nwb", "zarr", "n5", "ims", "md", "png")
BODIES = {"garbage": b"garbage" * 99, "empty": b"", "zip": b"PK\x03\x04" + bytes(99)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["put", "ingest"])
def test_files_that_are_none_are_named_and_nothing_is_sent(fails, server, tmp_path, name, command):
    for kind, body in BODIES.items():
        (tmp_path / f"{kind}.{name}").write_bytes(body)
        done = fails(f"{command} {kind}.{name} t/c --create")
        assert done.code in {2, 3}
        assert kind in done.err
        assert "pickle" not in done.err
    (tmp_path / f"folder.{name}").mkdir()
    assert fails(f"{command} folder.{name} t/c --create").code in {2, 3}
    assert server.calls == []


def test_a_file_of_objects_or_of_a_name_that_is_no_text_is_refused(fails, tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    assert "objects.npy" in fails("put objects.npy t/c --create").err
    (tmp_path / os.fsdecode(b"caf\xe9.npy")).write_bytes(b"x")
    assert "caf" in fails("put caf\udce9.npy t/c --create").err


def test_a_name_that_is_no_text_can_be_written_to_and_read(run, server, tmp_path):
    server.add_volume((1, 2, 3, 4))[:] = 1
    assert "caf" in run.ok("get tok/ch -o caf\udce9.npy").out
    assert (tmp_path / os.fsdecode(b"caf\xe9.npy")).is_file()
    run.ok("put caf\udce9.npy tok/ch")


@pytest.mark.parametrize(("line", "code", "reason"), [
    ("put README.md t/c", 3, "no file or folder README.md"),
    ("ingest lst", 2, "list"),
    ("ingst x", 2, "ingest"),
    ("channel crate a/b/c", 2, "create"),
    ("get --token a/b --channel c -o a.npy", 2, "cannot name a token"),
    ("get t -o a.npy", 2, "TOKEN/CHANNEL"),
    ("get t/c --token t -o a.npy", 2, "TOKEN/CHANNEL only"),
    ("get -o a.npy", 2, "Say which channel"),
    ("get t/c -o missing/a.npy", 2, "There is no folder 'missing'"),
    ("get t/c -o .", 2, "is a folder"),
    ("get t/c -o a.doc", 2, "known are .h5"),
    ("graph t/c -o missing/a", 2, "There is no folder"),
    ("skeleton get t/c 0", 2, "is not an id"),
    ("skeleton get t/c -o missing/a", 2, "There is no folder"),
    ("annotation voxels t/c 1 -o missing/a.csv", 2, "There is no folder"),
    ("skeleton put missing.swc t/c", 2, "missing.swc: No such file"),
    ("skeleton put . t/c", 2, "Is a directory"),
    (f"--url {URL}/sd token list", 2, "Check --url"),
    ("--url 127.0.0.1:8080 token list", 2, "write it like http://"),
    ("--url http://[ token list", 2, "write it like http://"),
    ("--url http://h:port token list", 2, "write it like http://"),
    ("--key 'a b' token list", 4, "characters that no key has"),
    ("serve --port 99999999", 2, "0<=x<=65535"),
])  # fmt: skip
def test_the_person_is_told_what_was_wrong(fails, server, line, code, reason):
    done = fails(line)
    assert done.code == code
    assert reason in " ".join(done.err.split())


@pytest.mark.parametrize(("error", "code", "said"), [
    (KeyboardInterrupt(), 130, "Interrupted"),
    (OSError(errno.ENOSPC, "No space left on device", "a.npy"), 1, "a.npy: No space left"),
    (PermissionError(errno.EACCES, "Permission denied", "a.npy"), 2, "a.npy: Permission denied"),
    (MemoryError(), 1, "does not fit into memory"),
    (ZeroDivisionError("division\nby zero"), 1, "ZeroDivisionError: division by zero"),
    (BrokenPipeError(), 1, ""),
])  # fmt: skip
@pytest.mark.parametrize("debug", ["{}", "--debug {}", "{} --debug"])
def test_the_unexpected_is_a_sentence_and_debug_shows_where(
    run, monkeypatch, error, code, said, debug
):
    def fail(*_):
        raise error

    monkeypatch.setattr("ndlambda.cli.connection.ServerOptions.client", fail)
    done = run(debug.format("token list"))
    assert done.code == code
    assert said in done.err
    assert ("Traceback" in done.err) == ("--debug" in debug)
    assert ("--debug" in done.err) == isinstance(error, ZeroDivisionError) or "--debug" in debug


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "No space"), (errno.EPIPE, "")])
def test_output_that_is_lost_is_a_failure(monkeypatch, capfd, number, said):
    class Lost(io.StringIO):
        def flush(self):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("sys.stdout", Lost())
    with pytest.raises(SystemExit) as ended:
        failures.run(lambda: None, debug=False)
    assert ended.value.code == 1
    assert bool(capfd.readouterr().err) == bool(said)


def test_a_prompt_that_is_interrupted_is_130_and_a_no_is_1(run, server, monkeypatch):
    server.add_volume((1, 2, 3, 4))
    assert run("dataset delete ds", typed="n\n").code == 1

    def press(*_, **__):  # as click's own prompts do
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise click.Abort from None

    monkeypatch.setattr(click, "confirm", press)
    assert run("dataset delete ds").code == failures.INTERRUPTED
    assert server.things["datasets"]


def test_a_disk_that_is_full_leaves_no_file_and_is_named(fails, server, tmp_path, monkeypatch):
    server.add_volume((1, 2, 3, 4))

    def fill(file, array):
        file.write_bytes(b"some")
        raise OSError("24 requested and 4 written")  # as numpy says it

    monkeypatch.setattr(np, "save", fill)
    done = fails("get tok/ch -o a.npy")
    assert (done.code, done.err) == (1, "ndlambda: a.npy: 24 requested and 4 written.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_goes_in_the_middle_or_fails_is_told_of(fails, server, monkeypatch):
    server.add_volume((1, 2, 3, 4))
    read = Volume.read

    def then_gone(*arguments, **options):
        server.faults = [drop] * 99
        return read(*arguments, **options)

    monkeypatch.setattr(Volume, "read", then_gone)
    assert "check the URL" in fails("get tok/ch -o a.npy").err
    server.faults = [refuse(500)] * 9
    assert "answered 500" in fails("token list").err


@pytest.mark.parametrize("said", [b"HTTP/1.0 400 Bad Request\r\n\r\n", None])
def test_https_at_a_port_without_it_is_told_at_once(monkeypatch, said):
    """Over loopback: what answers is no TLS record, or nothing comes. Seen to fail: it was retried
    for a minute."""
    import socket
    import threading

    from ndlambda.client import connect

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            accepted, _ = listening.accept()
            with accepted:
                if said is None:
                    while accepted.recv(4096):
                        pass
                else:
                    accepted.recv(1)
                    accepted.sendall(said)

        monkeypatch.setattr(http, "CONNECT_TIMEOUT_S", 10.0 if said else 0.2)
        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(errors.UpstreamError, match="does not speak https; try http://"):
            connect(url, transport=PooledTransport()).list_tokens()
        thread.join()


@pytest.mark.parametrize("suffix", export.known_suffixes())
def test_no_file_is_written_where_none_can_be(fails, server, tmp_path, suffix):
    server.add_volume((1, 2, 3, 4))
    (tmp_path / f"a{suffix}").mkdir()
    assert fails(f"get tok/ch -o a{suffix}").code == 2
    assert server.calls == []


@pytest.mark.parametrize(("error", "said", "unsaid"), [
    (errors.ReadOnlyChannelError, "another channel", "key"),
    (errors.PermissionDeniedError, "ndlambda doctor", "another channel"),
])  # fmt: skip
def test_the_advice_is_that_of_the_refusal(fails, server, error, said, unsaid):
    """Seen to fail: a read-only channel was said to need another key."""

    def refused(_):
        raise error("No.")

    server.faults = [refused]
    done = fails("token list")
    assert (said in done.err, unsaid in done.err) == (True, False)
