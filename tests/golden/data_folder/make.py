"""Makes ``folder.tar.gz`` and ``answers.json``: a server's data folder, and what it answered.

Both were made once, by the code of commit 46835bb8a476efe2908818a231fee608f9f6445b, which is the
last before services, ingest and web were split into rooms. They are not made again: data that
an older version wrote has to be read by every later one. A change that makes the tests of them fail
needs a migration. To see how they came to be, or to freeze another commit beside them::

    git worktree add ../old COMMIT
    PYTHONPATH=../old python tests/golden/data_folder/make.py OUTPUT

A real server takes the requests, with its workers beside it. Then a process without workers takes
some more, as a server does that is killed before its workers come to them. Last, that process is
asked for all that ``paths`` names, and its answers are kept.
"""

import hashlib
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import content
import numpy as np
from PIL import Image
from werkzeug.test import Client as WsgiClient

from ndlambda import runtime
from ndlambda.client import Client, connect
from ndlambda.settings import Settings
from ndlambda.space.box import Box
from ndlambda.web.app import App
from tests.support.ramon_files import ramon_file, voxels

Keys = dict[str, str]
Ask = Callable[..., Any]

BRAIN, TISSUE = "/v1/projects/scans", "/v1/projects/cells"
LABELS, BODIES = f"{BRAIN}/channels/labels", f"{TISSUE}/channels/bodies"
LONG = "/v1/projects/strip/channels/long"


# --- by a server with workers ----------------------------------------------------------------


@contextmanager
def serving(data: Path) -> Iterator[str]:
    """Run ``ndlambda serve`` and give its address."""
    command = [
        sys.executable,
        "-c",
        "from ndlambda.cli import main; main()",
        "serve",
        "--data",
        str(data),
        "--port",
        "0",
    ]
    environment = {name: text for name, text in os.environ.items() if "NDLAMBDA" not in name}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def until(holds: Callable[[], bool]) -> None:
    """Wait for workers."""
    end = time.monotonic() + 120
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("The workers did not come to it.")
        time.sleep(0.2)


def make_users(admin: Client, data: Path) -> Keys:
    """Make alice, who owns all; bob with two keys; carol, whose keys were revoked."""
    keys = {"admin": (data / "admin.key").read_text().strip()}
    keys["alice"] = admin.users.add("alice", password="before1")["key"]
    admin.users.set_password("alice", "secret1")
    keys["bob"] = admin.users.add("bob")["key"]
    keys["bob2"] = admin.users.new_key("bob")
    keys["carol"] = admin.users.add("carol")["key"]
    admin.users.revoke("carol")
    return keys


def dataset_fields(size_xyz: content.XYZ, **fields: Any) -> dict[str, Any]:
    x, y, z = size_xyz
    return {"ximagesize": x, "yimagesize": y, "zimagesize": z, **fields}


def make_catalog(client: Client) -> None:
    """Make datasets with projects, tokens and channels."""
    x, y, z = content.BRAIN_OFFSET
    resolution = {"xvoxelres": 4.0, "yvoxelres": 4.0, "zvoxelres": 30.0}
    corner = {"xoffset": x, "yoffset": y, "zoffset": z}
    brain = dataset_fields(content.BRAIN_XYZ, scalinglevels=3, **corner, **resolution)
    tissue = dataset_fields(content.TISSUE_XYZ, scalingoption=1, scalinglevels=2)
    strip = dataset_fields(content.STRIP_XYZ, scalingoption=1)
    tall = dataset_fields(content.TALL_XYZ)
    client.datasets.create("brain", dataset_description="slices of cortex", public=1, **brain)
    client.datasets.create("tissue", **tissue)
    client.datasets.create("strip", **strip)
    client.datasets.create("tall", **tall)
    client.datasets.create("scrap", **tall)
    for dataset, project in {
        "brain": "scans",
        "tissue": "cells",
        "strip": "strip",
        "tall": "tall",
        "scrap": "scrap",
    }.items():
        client.projects(dataset).create(project, project_description=f"of {dataset}")
        client.tokens(dataset, project).create(project, public=int(project == "scans"))
    client.tokens("brain", "scans").create("scans_private")
    image = {"channel_type": "image", "channel_datatype": "uint8"}
    labels = {"channel_type": "annotation", "channel_datatype": "uint32"}
    movie = {"channel_type": "timeseries", "channel_datatype": "uint16"}
    first, end = content.MOVIE_TIMES
    scans = client.channels("brain", "scans")
    scans.create("em", default=True, **image)
    scans.create("movie", starttime=first, endtime=end, endwindow=5000, **movie)
    scans.create("labels", exceptions=1, **labels)
    scans.create("doomed", **labels)
    scans.create("lost", **labels)
    scans.create("gone", **image)
    cells = client.channels("tissue", "cells")
    cells.create("density", channel_type="probmap", channel_datatype="float32")
    cells.create("bodies", channel_type="annotation", channel_datatype="uint64")
    client.channels("strip", "strip").create("long", cuboids_per_axis=1, **labels)
    sixteen = {"channel_type": "image", "channel_datatype": "uint16"}
    client.channels("tall", "tall").create("boxes", **sixteen)
    client.channels("tall", "tall").create("unbuilt", **sixteen)
    client.channels("tall", "tall").create("cancelled", **sixteen)
    client.channels("scrap", "scrap").create("em", **image)


def write_voxels(client: Client) -> None:
    """Write images, and labels as a volume."""
    volume = client.volume("scans", "em")
    volume.write(volume.box, content.em())
    movie = client.volume("scans", "movie")
    for time_point in range(*content.MOVIE_TIMES):
        times = (time_point, time_point + 1)
        movie.write(movie.box, content.frame(time_point)[np.newaxis], times=times)
    client.volume("scans", "gone").write(volume.box, content.em())
    cells = client.volume("cells", "density")
    cells.write(cells.box, content.density())
    client.volume("cells", "bodies").write(cells.box, content.bodies())
    scrap = client.volume("scrap", "em")
    scrap.write(Box((0, 0, 0), (40, 30, 8)), np.full((8, 30, 40), 9, np.uint8))


def annotate(client: Client) -> None:
    """Make objects of several kinds with voxels, merge two, delete one, store a skeleton."""
    cells = client.annotations("cells", "bodies")
    cells.create_many(
        [
            {"type": "neuron", "id": 100, "author": "ann", "pairs": {"class": "basket"}},
            {"type": "segment", "id": 1, "neuron": 100, "parentseed": 6, "status": 1},
            {"type": "segment", "id": 2, "neuron": 100, "pairs": {"seen": "yes"}},
            {"type": "segment", "id": 3, "status": 2},
            {"type": "segment", "id": 4, "confidence": 0.5},
            {"type": "seed", "id": 6, "position": [30, 20, 10]},
            {"type": "synapse", "id": 7, "segments": [1, 2], "weight": 0.5, "confidence": 0.75},
            {"type": "organelle", "id": 8, "segment": 2, "organelleclass": 1},
            {"type": "annotation", "id": 2**40 + 5, "pairs": {"seen": "no", "note": 'ü, "x"'}},
        ]
    )
    cells.update(7, status=3, author="bob")
    cells.paint_voxels(7, [(50, 30, 20), (51, 30, 20), (51, 31, 21)])
    cells.merge([1, 3])  # 3 goes into 1
    cells.delete(4)
    cells.reserve(10)
    client.skeletons("cells", "bodies").put(content.SWC)

    labels = client.annotations("scans", "labels")
    first = labels.create(type="segment", pairs={"colour": "red"})
    second = labels.create(type="annotation")
    block = np.ones((6, 50, 60), np.bool_)
    labels.paint(first, (230, 20, 4), block)  # across two supercuboids
    labels.paint(second, (240, 40, 6), block, discipline="exception")
    client.volume("scans", "doomed").write(
        Box((8, 4, 1), (28, 24, 5)), np.full((4, 20, 20), 12, np.uint32)
    )
    for channel in ("doomed", "lost"):
        doomed = client.annotations("scans", channel)
        number = doomed.create(type="segment", pairs={"in": channel})
        doomed.paint(number, (230, 20, 4), block)

    strip = client.annotations("strip", "long")
    for number in (1, 2, 3):
        strip.create(type="segment", id=number)
    everywhere = np.arange(0, content.STRIP_XYZ[0], 64)
    for number in (1, 2):
        points = [(int(x), number, 0) for x in everywhere]
        strip.paint_voxels(number, points)
    strip.paint_voxels(3, [(0, 5, 5)])


def upload_ramon(url: str, key: str) -> None:
    """Upload an object with voxels as ndstore's clients do."""
    points = [(60, 60, 8), (61, 60, 8)]
    body = ramon_file({"40": {"ANNOTATION_TYPE": 2, "METADATA": {"WEIGHT": 0.25}} | voxels(points)})
    request = urllib.request.Request(
        f"{url}/sd/scans/labels/", data=body, headers={"Authorization": f"Token {key}"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.read() == b"40"


def png(plane: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(plane).save(out, "png")
    return out.getvalue()


def drop(data: Path, token: str, bodies: dict[int, bytes], **manifest: Any) -> None:
    """Copy slices and their manifest into the drop folder."""
    folder = data / "drop" / token / "em"
    folder.mkdir(parents=True)
    for number, body in bodies.items():
        (folder / f"{number:04d}.png").write_bytes(body)
    x, y, z = content.STACK_XYZ
    described = {
        "dataset": dataset_fields((x, y, z), zoffset=1, scalinglevels=1),
        "channel": {"channel_type": "image", "channel_datatype": "uint8"},
        **manifest,
    }
    (folder / "_ingest.json").write_text(json.dumps(described))


def drop_stacks(data: Path) -> None:
    """Drop a whole stack, one with a slice missing, two with a damaged one, one without a name."""
    slices = dict(enumerate(map(png, content.stack()), 1))
    damaged = slices | {content.BAD_SLICE: slices[content.BAD_SLICE][:60]}
    missing = {n: body for n, body in slices.items() if n != content.MISSING_SLICE}
    drop(data, "whole", slices, propagate=True)
    drop(data, "half", missing)
    drop(data, "failed", damaged)
    drop(data, "faulty", damaged, on_bad="zero")
    waiting = data / "drop" / "waiting" / "em"
    waiting.mkdir(parents=True)
    (waiting / "iso.1.png").write_bytes(slices[1])
    (waiting / "_DONE").write_bytes(b"")


def job_of(admin: Client, token: str) -> dict[str, Any]:
    found = [job for job in admin.ingest.list() if job["token"] == token]
    return admin.ingest.get(found[0]["id"]) if found else {"state": "", "chunks": {"done": 0}}


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def send_boxes(client: Client) -> dict[str, str]:
    """Make jobs by boxes: one half done, one of which nothing came, one cancelled."""
    jobs = {
        channel: client.ingest.create("tall", channel, id=f"{n:016x}", mode="chunks")["id"]
        for n, channel in enumerate(("boxes", "unbuilt", "cancelled"), 1)
    }
    client.ingest.upload_part(jobs["boxes"], 0, "data.npy", npy(content.tall()[:64]))
    client.ingest.cancel(jobs["cancelled"])
    until(lambda: client.ingest.get(jobs["boxes"])["chunks"]["done"] == 1)
    return jobs


def fill(data: Path) -> tuple[Keys, dict[str, str]]:
    """Let a server with its workers do all that it finishes."""
    with serving(data) as url:
        admin = connect(url, (data / "admin.key").read_text().strip())
        keys = make_users(admin, data)
        alice = connect(url, keys["alice"])
        make_catalog(alice)
        write_voxels(alice)
        annotate(alice)
        upload_ramon(url, keys["alice"])
        for token, channel in {"scans": "em", "cells": "bodies"}.items():
            propagation = alice.propagation(token, channel)
            propagation.start()
            until(lambda found=propagation: found.status()["state"] == "done")
        x0, y0, z0 = content.DIMMED[0]
        x1, y1, z1 = content.DIMMED[1]
        shape = (z1 - z0, y1 - y0, x1 - x0)
        alice.volume("scans", "em").write(
            Box(*content.DIMMED), np.full(shape, content.DIM, np.uint8)
        )
        alice.channels("brain", "scans").delete("gone")
        alice.channels("brain", "scans").delete("doomed")
        drop_stacks(data)
        jobs = send_boxes(alice)
        until(lambda: job_of(admin, "whole")["state"] == "COMPLETE")
        until(lambda: job_of(admin, "failed")["state"] == "FAILED")
        until(lambda: job_of(admin, "faulty")["state"] == "COMPLETE_WITH_ERRORS")
        until(lambda: job_of(admin, "half")["chunks"]["done"] == 1)
        until(lambda: admin.propagation("whole", "em").status()["state"] == "done")
        until(lambda: len(admin.ingest.waiting()) == 1)
        until(lambda: not list(data.glob("objects/scans/doomed/**/*[0-9a-f]")))
        for token in ("whole", "half", "failed", "faulty"):
            jobs[token] = job_of(admin, token)["id"]
        time.sleep(3)  # for what workers still have in hand
    return keys, jobs


# --- by a process without workers ------------------------------------------------------------


def asking(app: App, keys: Keys) -> Ask:
    """Return what asks the application as one of the users, or as nobody."""

    def ask(method: str, path: str, user: str = "", **body: Any) -> Any:
        headers = {"Authorization": f"Token {keys[user]}"} if user else {}
        client = WsgiClient(app, use_cookies=False)
        return client.open(path, method=method, headers=headers, **body)

    return ask


def leave_undone(ask: Ask, jobs: dict[str, str]) -> dict[str, str]:
    """Begin what only workers finish; give the id of an upload that was not used."""

    def must(status: int, *request: Any, **body: Any) -> Any:
        answer = ask(*request, **body)
        assert answer.status_code == status, (request, answer.status, answer.text)
        return answer

    must(202, "DELETE", f"{LONG}/annotations/1", "alice")
    must(202, "POST", f"{LONG}/merge", "alice", json={"ids": [3, 2]})
    must(204, "DELETE", "/v1/datasets/brain/projects/scans/channels/lost", "alice")
    must(204, "DELETE", "/v1/datasets/scrap", "alice")
    must(202, "POST", f"{BRAIN}/channels/movie/propagation", "alice")
    for chunk, part in enumerate((content.tall()[:64], content.tall()[64:])):
        path = f"/v1/ingest/{jobs['unbuilt']}/parts/{chunk}/data.npy"
        must(201, "PUT", path, "alice", data=npy(part))
    body = npy(np.full((2, 4, 4), 77, np.uint8))
    wanted = {"media_type": "application/x-npy", "bytes": len(body)}
    upload = must(201, "POST", f"{BRAIN}/channels/em/uploads", "alice", json=wanted).get_json()
    url = upload["url"]
    assert upload["with_key"]
    must(204, "PUT", url[url.index("/v1/") :], "alice", data=body)
    return {"id": upload["id"], "path": f"{BRAIN}/channels/em/cutout"}


def paths(jobs: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Iterate over what is asked, and by whom."""
    yield from paths_of_the_catalogue()
    yield from paths_of_voxels()
    yield from paths_of_objects()
    yield from paths_of_jobs(jobs)


def paths_of_the_catalogue() -> Iterator[tuple[str, str]]:
    yield from (
        (f"/v1/datasets{path}", "alice")
        for path in (
            "",
            "/brain",
            "/tissue",
            "/scrap",
            "/brain/projects",
            "/brain/projects/scans",
            "/brain/projects/scans/channels",
            "/brain/projects/scans/channels/movie",
            "/brain/projects/scans/channels/lost",
            "/brain/projects/scans/tokens",
            "/tissue/projects/cells/tokens/cells",
        )
    )
    yield from (("/v1/tokens", user) for user in ("", "alice", "bob", "bob2", "carol", "admin"))
    yield from (("/v1/users", user) for user in ("admin", "alice"))
    yield from ((BRAIN, user) for user in ("", "bob"))
    yield from ((TISSUE, user) for user in ("alice", "bob", "bob2", ""))
    yield from ((f"/sd/{name}/", "") for name in ("scans/info", "public_tokens", "public_datasets"))


def paths_of_voxels() -> Iterator[tuple[str, str]]:
    box = "x=8:308&y=4:204&z=1:21"
    yield f"{BRAIN}/channels/em/cutout?format=npy&resolution=0&{box}", ""
    yield f"{BRAIN}/channels/em/cutout?format=npy&resolution=1&x=4:154&y=2:102&z=1:21", ""
    yield f"{BRAIN}/channels/em/cutout?format=npy&resolution=2&x=2:77&y=1:51&z=1:21", ""
    yield f"{BRAIN}/channels/movie/cutout?format=npy&resolution=0&{box}&t=2:5", "alice"
    yield f"{BRAIN}/channels/labels/cutout?format=npy&resolution=0&{box}", "alice"
    box = "x=0:150&y=0:140&z=0:90"
    yield f"{TISSUE}/channels/density/cutout?format=npy&resolution=0&{box}", "alice"
    yield f"{TISSUE}/channels/bodies/cutout?format=npy&resolution=0&{box}", "alice"
    yield f"{TISSUE}/channels/bodies/cutout?format=npy&resolution=1&x=0:75&y=0:70&z=0:45", "alice"
    yield "/sd/scans/em/raw/0/10,74/20,52/5,9/", ""
    for channel in (f"{BRAIN}/channels/em", f"{BRAIN}/channels/movie", BODIES):
        yield f"{channel}/propagation", "alice"


def paths_of_objects() -> Iterator[tuple[str, str]]:
    for query in (
        "type=segment",
        "type=annotation",
        "status=3",
        "author=ann",
        "confidence_gt=0.4",
        "field.neuron=100",
        "field.segments=2",
        "pair.seen=yes",
        "pair.seen=no",
        "type=segment&x=0:150&y=0:140&z=0:90&resolution=0",
    ):
        yield f"{BODIES}/annotations?{query}", "alice"
    for number in (1, 2, 3, 4, 6, 7, 8, 100, 2**40 + 5):
        yield f"{BODIES}/annotations/{number}", "alice"
        yield f"/ramon/cells/bodies/{number}/", "alice"
    for number in (1, 2, 7, 100, 2**40 + 5):
        yield f"{BODIES}/annotations/{number}/voxels?resolution=0", "alice"
        yield f"{BODIES}/annotations/{number}/box?resolution=0", "alice"
        yield f"{BODIES}/annotations/{number}/cuboids?resolution=0", "alice"
    yield f"{BODIES}/ids?x=0:150&y=0:140&z=0:90", "alice"
    yield f"{BODIES}/ids/at?x=51&y=31&z=21", "alice"
    yield f"{BODIES}/keys", "alice"
    yield f"{BODIES}/skeletons", "alice"
    yield f"{BODIES}/graph?format=json", "alice"
    yield "/ramon/cells/bodies/query/type/2/", "alice"
    yield "/sd/cells/bodies/swc/", "alice"
    for number in (1, 2, 40):
        yield f"{LABELS}/annotations/{number}", "alice"
        yield f"{LABELS}/annotations/{number}/voxels?resolution=0", "alice"
    yield f"{LABELS}/exceptions?x=250:290&y=40:70&z=6:10", "alice"
    yield f"{LABELS}/annotations?pair.colour=red", "alice"
    yield f"{LONG}/annotations?type=segment", "alice"
    for number in (1, 2, 3):
        yield f"{LONG}/annotations/{number}", "alice"


def paths_of_jobs(jobs: dict[str, str]) -> Iterator[tuple[str, str]]:
    yield from (("/v1/ingest", user) for user in ("alice", "admin", "bob"))
    for job in jobs.values():
        yield f"/v1/ingest/{job}", "admin"
        yield f"/v1/ingest/{job}/missing", "admin"
        yield f"/v1/ingest/{job}/errors", "admin"
        yield f"/v1/ingest/{job}/verify", "admin"
    yield f"/v1/ingest/{jobs['boxes']}", "alice"
    yield f"/v1/ingest/{jobs['boxes']}", "bob"
    yield f"/v1/ingest/{jobs['whole']}/verify?chunk=0", "admin"
    yield f"/ingest/{jobs['whole']}/", "admin"
    yield "/v1/drop", "admin"


def answer_of(ask: Ask, path: str, user: str) -> dict[str, Any]:
    """Return an answer as it is kept: JSON and text as they are, voxels by their digest."""
    answer = ask("GET", path, user)
    kept: dict[str, Any] = {"path": path, "user": user, "status": answer.status_code}
    if "json" in answer.content_type:
        return {**kept, "json": answer.get_json(force=True)}
    if answer.content_type.startswith("text/"):
        return {**kept, "text": answer.text}
    return {**kept, "blake2b": hashlib.blake2b(answer.data, digest_size=20).hexdigest()}


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out SQLite's empty log, and who made the folder."""
    if member.name.endswith(("-shm", "-wal")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "nd-data"
        keys, jobs = fill(data)
        built = runtime.build(Settings(data=data, cache_s=0))
        ask = asking(App(built), keys)
        upload = leave_undone(ask, jobs)
        answers = [answer_of(ask, path, user) for path, user in paths(jobs)]
        built.close()
        for name in ("table", "queue"):  # else most of the folder would be an empty log
            with closing(sqlite3.connect(data / f"{name}.sqlite")) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept = {"keys": keys, "jobs": jobs, "upload": upload, "answers": answers}
        lines = json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True)
        (out / "answers.json").write_text(lines + "\n")
        with tarfile.open(out / "folder.tar.gz", "w:gz") as archive:
            archive.add(data, "nd-data", filter=_kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
