"""``make demo``: stores, serves and compares real brain data and an EM stack in every format.

It works as a user would: a server in a process of its own, slices copied into its drop folder (or
``ndlambda put`` for a single file), and HTTP for the cutouts. Any difference in any voxel ends it
with exit code 1.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ingest_queue.sources import open_source
from ingest_queue.sources.slices import SliceSource
from ndlambda.cli import failures
from ndlambda.client import Client, connect
from ndlambda.errors import NDLambdaError
from ndlambda.local.png_slices import write_png_slices
from ndlambda.local.synthetic import em_stack
from ndlambda.model.propagation import PropagateState
from ndlambda.space.pyramid import natural_scaling, useful_levels
from ndlambda.voxels.downsample import Method, downsample
from ndlambda.wire.volume import Expected, formats

_STACK_SHAPE_ZYX = (64, 512, 512)
_MB = 1_000_000
_READY = "ndlambda ready on "
_POLL_S = 0.2
_MAX_WAIT_S = 3600.0
_console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Stack:
    """A data set of the demonstration.

    Attributes
    ----------
    source
        File or folder to store.
    token, channel
        The destination.
    voxelres_xyz
        Voxel size in nanometres; None takes that of the file.
    levels
        Coarser resolutions to build.
    """

    title: str
    source: Path
    token: str
    channel: str
    voxelres_xyz: tuple[float, float, float] | None
    levels: int


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(prog="python -m ndlambda.local.demo", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("nd-data"), help="folder of the server")
    parser.add_argument(
        "--port", type=int, help="by default 8080, with --once a free one; 0 takes a free one"
    )
    parser.add_argument("--stack", type=Path, help="folder of slices instead of the synthetic EM")
    parser.add_argument("--once", action="store_true", help="end after the checks")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    options = parser.parse_args()
    port = (0 if options.once else 8080) if options.port is None else options.port
    own = chosen(options.stack) if options.stack else None
    with serving(options.data, port) as (url, server):
        client = connect(url, (options.data / "admin.key").read_text().strip())
        stacks = [mri(), own or synthetic(options.data)]
        good = [show(client, url, options.data, stack) for stack in stacks]
        if not all(good):
            sys.exit("Some cutouts differ from what was stored: see the table above.")
        if options.once:
            _console.print(
                "\nAll is equal. Without ONCE=1 the server stays, with addresses to open."
            )
            return
        print_addresses(url, options.data, stacks)
        _console.print("\nThe server stays up; Ctrl-C ends it.")
        try:
            server.wait()
        except KeyboardInterrupt:
            _console.print("Stopping.")


# --- the data ------------------------------------------------------------------------------


def mri() -> Stack:
    """Return the 4-D functional MRI that nibabel ships for its own tests."""
    package = find_spec("nibabel")
    if package is None or package.origin is None:
        sys.exit("nibabel is missing: install ndlambda[local].")
    folder = Path(package.origin).parent / "tests" / "data"
    return Stack(
        "4-D MRI (nibabel's example4d)",
        folder / "example4d.nii.gz",
        "mri",
        "bold",
        None,
        2,
    )


def synthetic(data: Path) -> Stack:
    """Return an EM-like stack as PNG slices, generated once."""
    folder = data / "em-slices"
    if not folder.exists():
        with _console.status("drawing 64 slices of synthetic electron microscopy"):
            draft = folder.with_suffix(f".{os.getpid()}")
            write_png_slices(draft, em_stack(_STACK_SHAPE_ZYX))
            draft.rename(folder)
    return Stack("synthetic EM (PNG slices)", folder, "em", "em", (4, 4, 40), 3)


def chosen(folder: Path) -> Stack:
    """Return a user's folder of slices, which is refused before anything is started."""
    name = re.sub(r"\W+", "_", folder.resolve().name) or "stack"
    try:
        source = open_source(folder)
    except NDLambdaError as error:
        sys.exit(
            f"{error.message}\nThe demonstration takes a folder of slices as it is; options named "
            "here are those of `ndlambda put`."
        )
    if not isinstance(source, SliceSource):
        sys.exit(f"{folder} is no folder of slices; `ndlambda put` stores other data.")
    _, z, y, x = source.shape_tzyx
    levels = useful_levels((x, y, z), natural_scaling((1, 1, 1)))
    token = f"stack_{name}"
    return Stack(f"slices of {folder}", folder, token, "image", (1, 1, 1), levels)


# --- store, fetch, compare -----------------------------------------------------------------


@contextmanager
def serving(data: Path, port: int) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run ``ndlambda serve`` and return its address; the log goes to ``serve.log`` in data."""
    data.mkdir(parents=True, exist_ok=True)
    command = ["serve", "--data", str(data), "--port", str(port)]
    _console.print(f"[bold]$ ndlambda {' '.join(command)}")
    with (data / "serve.log").open("a") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "ndlambda.cli", *command],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert server.stdout is not None
    try:
        line = next((line.strip() for line in server.stdout if line.startswith(_READY)), None)
        if line is None:
            sys.exit(
                f"The server did not start; the end of {data / 'serve.log'} says why. "
                "If its port is taken: make demo PORT=8081"
            )
        _console.print(line)
        yield line.removeprefix(_READY), server
    finally:
        server.terminate()
        server.wait()


def show(client: Client, url: str, data: Path, stack: Stack) -> bool:
    """Store a data set, read it back in every format, print figures; return whether it is equal."""
    _console.print(f"\n[bold underline]{stack.title}")
    if stack.source.is_dir():
        drop(client, data, stack)
    else:
        put(url, data, stack)
    source = open_source(stack.source)
    times, depth, _, _ = source.shape_tzyx
    expected = np.stack([source.read(t, 0, depth) for t in range(times)])
    volume = client.volume(stack.token, stack.channel)
    started = time.perf_counter()
    found = volume.read(times=(0, times))
    seconds = time.perf_counter() - started
    whole = np.array_equal(found, expected)
    stored = stored_bytes(data, stack)
    _console.print(
        f"read back {found.nbytes / _MB:.1f} MB in {seconds:.2f} s, "
        f"{found.nbytes / _MB / seconds:.0f} MB/s, {'equal' if whole else '[red]DIFFERENT[/]'}; "
        f"stored: {stored[0]} objects, {stored[1] / _MB:.1f} MB, "
        f"{expected.nbytes / stored[1]:.2f} times smaller"
    )
    formats_are_equal = compare_formats(url, client, stack, expected)
    return compare_level(client, stack, expected) and formats_are_equal and whole


def run(url: str, data: Path, command: str, *words: str) -> None:
    """Run a command of ``ndlambda`` as a user would."""
    _console.print(f"[bold]$ ndlambda {command} {' '.join(words)}")
    program = [sys.executable, "-m", "ndlambda.cli", "--url", url, "--data", str(data)]
    if subprocess.run([*program, command, *words], check=False).returncode:
        sys.exit(f"ndlambda {command} failed; its message is above.")


def put(url: str, data: Path, stack: Stack) -> None:
    """Store a file with ``ndlambda put`` and build its coarser resolutions."""
    address = f"{stack.token}/{stack.channel}"
    words = ["--create", "--public", "--levels", str(stack.levels)]
    run(url, data, "put", str(stack.source), address, *words)
    run(url, data, "propagate", address, "--watch")


def drop(client: Client, data: Path, stack: Stack) -> None:
    """Copy slices into the drop folder, and wait until they are stored and propagated."""
    folder = data / "drop" / stack.token / stack.channel
    if folder.exists():
        _console.print(f"{folder} was dropped before; its stored voxels are compared again.")
        return
    files = open_source(stack.source)
    assert isinstance(files, SliceSource), "a folder of slices is read slice by slice"
    slices = [file for file in files.files if file is not None]
    _, depth, height, width = files.shape_tzyx
    sizes = zip("xyz", (width, height, depth), strict=True)
    manifest = {
        "dataset": {f"{axis}imagesize": size for axis, size in sizes}
        | {f"{a}voxelres": v for a, v in zip("xyz", stack.voxelres_xyz or (1, 1, 1), strict=True)}
        | {"scalinglevels": stack.levels, "public": 1},
        "project": {"public": 1},
        "channel": {"channel_type": "image", "channel_datatype": files.dtype.name},
        "propagate": bool(stack.levels),
    }
    numbers = "" if all(file.stem.isdecimal() for file in slices) else ", named 0000 and so on"
    _console.print(f"[bold]copying {stack.source}/* to {folder}/{numbers}")
    begun = time.perf_counter()
    folder.mkdir(parents=True)
    (folder / "_ingest.json").write_text(json.dumps(manifest, indent=2))
    for z, file in track(list(enumerate(slices)), "dropping slices", console=_console):
        shutil.copy(file, folder / f"{z:04d}{file.suffix}")
    with _console.status("waiting until they are stored and the coarser resolutions built"):
        wait_until_served(client, stack)
    megabytes = files.dtype.itemsize * depth * height * width / _MB
    seconds = time.perf_counter() - begun
    _console.print(
        f"{len(slices)} slices, {megabytes:.1f} MB: stored in {seconds:.1f} s, "
        f"coarser resolutions built: {stack.levels}"
    )


def wait_until_served(client: Client, stack: Stack) -> None:
    """Wait until a dropped stack is stored and its coarser resolutions are built."""
    deadline = time.monotonic() + _MAX_WAIT_S
    while time.monotonic() < deadline:
        time.sleep(_POLL_S)
        jobs = [job for job in client.ingest.list() if job["token"] == stack.token]
        for job in jobs:
            if job["state"] not in {"CREATED", "INGESTING", "COMPLETE"}:
                sys.exit(
                    f"The ingest of {stack.token} is {job['state']}: {job['reason']} "
                    f"(ndlambda ingest errors {job['id']} has the list)"
                )
        if jobs and all(job["state"] == "COMPLETE" for job in jobs):
            status = client.propagation(stack.token, stack.channel).status()
            if not stack.levels or status["propagate"] == PropagateState.PROPAGATED:
                return
    sys.exit("The slices were not stored in time; serve.log says why.")


def compare_level(client: Client, stack: Stack, expected: NDArray[Any]) -> bool:
    """Compare the first coarser resolution with one computed here."""
    if not stack.levels:
        return True  # a user's stack that is too small for coarser resolutions
    volume = client.volume(stack.token, stack.channel)
    depths = volume.box.shape_xyz[2], volume.at(1).box.shape_xyz[2]
    factors_xyz = (2, 2, 1 if depths[0] == depths[1] else 2)
    volume, good = volume.at(1), True
    for time_point, block in enumerate(expected):
        found = volume.read(times=(time_point, time_point + 1))[0]
        good &= np.array_equal(found, downsample(block, factors_xyz, Method.MEAN))
    _console.print(f"resolution 1: {'equal' if good else '[red]DIFFERENT[/]'}")
    return good


def stored_bytes(data: Path, stack: Stack) -> tuple[int, int]:
    """Return the number and the total bytes of a channel's objects at resolution 0."""
    folder = data / "objects" / stack.token / stack.channel
    sizes = [path.stat().st_size for path in folder.glob("*/0/*/*")]
    return len(sizes), sum(sizes) or 1


def compare_formats(url: str, client: Client, stack: Stack, expected: NDArray[Any]) -> bool:
    """Fetch an unaligned cutout in every format of both interfaces and compare every voxel."""
    corner, shape = cutout_of(expected.shape[1:])
    slices = tuple(slice(c, c + s) for c, s in zip(corner, shape, strict=True))
    window = expected[0][slices]
    offset = client.volume(stack.token, stack.channel).offset_zyx
    z, y, x = ((o + c, o + c + s) for o, c, s in zip(offset, corner, shape, strict=True))
    box = "/".join(f"{a},{b}" for a, b in (x, y, z))
    query = "&".join(f"{axis}={a}:{b}" for axis, (a, b) in zip("xyz", (x, y, z), strict=True))
    table = Table("interface", "format", "MB on the wire", "MB/s of voxels", "voxels")
    good = True
    ways = [
        ("ndstore", name, f"/nd/sd/{stack.token}/{stack.channel}/{name}/0/{box}/")
        for name in formats("ndstore")
    ] + [
        (
            "v1",
            name,
            f"/v1/projects/{stack.token}/channels/{stack.channel}/cutout?{query}&format={name}",
        )
        for name in formats("v1")
    ]
    for dialect, name, path in ways:
        started = time.perf_counter()
        with urlopen(Request(url + path)) as answer:  # noqa: S310 - our own http server
            body = answer.read()
        seconds = time.perf_counter() - started
        same = np.array_equal(decode(dialect, name, body, stack.channel, window), window)
        good &= same
        rate = f"{window.nbytes / _MB / seconds:.0f}"
        verdict = f"{window.size} equal" if same else "[red]DIFFERENT"
        table.add_row(dialect, name, f"{len(body) / _MB:.2f}", rate, verdict)
    _console.print(table)
    return good


def cutout_of(shape_zyx: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return corner and shape of an unaligned box that covers most of a volume."""
    corner = tuple(min(7, edge // 4) for edge in shape_zyx)
    return corner, tuple(
        max(1, edge - c - edge // 9) for edge, c in zip(shape_zyx, corner, strict=True)
    )


def decode(dialect: str, name: str, body: bytes, channel: str, like: NDArray[Any]) -> NDArray[Any]:
    """Decode a body with plain numpy if possible, else with our own decoder."""
    plain: dict[str, Callable[[bytes], NDArray[Any]]] = {
        "raw": lambda data: np.frombuffer(data, like.dtype).reshape(like.shape),
        "zip": lambda data: np.frombuffer(zlib.decompress(data), like.dtype).reshape(like.shape),
        "npz": lambda data: np.load(BytesIO(zlib.decompress(data))).reshape(like.shape),
        "npy": lambda data: np.load(BytesIO(data)),
    }
    if name in plain:
        return plain[name](body)
    decoder = formats("v1" if dialect == "v1" else "ndstore")[name].decode
    assert decoder is not None
    return decoder(body, Expected((channel,), (like.dtype,), like.shape))[0].reshape(like.shape)


def print_addresses(url: str, data: Path, stacks: list[Stack]) -> None:
    """Print addresses to open."""
    _console.print("\n[bold]Open")
    _console.print(f"  {url}/  the start page, in a browser; {url}/openapi.json  every route")
    for stack in stacks:
        with urlopen(f"{url}/sd/{stack.token}/info/") as answer:  # noqa: S310 - our own server
            sizes = json.load(answer)["dataset"]["imagesize"]
        _console.print(f"  {url}/sd/{stack.token}/info/")
        for resolution, size in sizes.items():
            _console.print(
                f"  curl -o level{resolution}.npy '{url}/v1/projects/{stack.token}/channels/"
                f"{stack.channel}/cutout?resolution={resolution}'  "
                f"{'x'.join(map(str, size))} voxels"
            )
    _console.print(f"  the superuser's key is in {data / 'admin.key'}")


if __name__ == "__main__":
    failures.run(main, debug="--debug" in sys.argv)
