"""TIFF files of all kinds by every way into a volume: all planes, or an error that names pages."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ingest_queue.jobs.job import State
from ingest_queue.jobs.keys import MANIFEST, token_folder
from ndlambda.errors import TokenNotFoundError
from ndlambda.services.volume.region import Region
from ndlambda.space.box import Box
from ndlambda.stores.ports import Overwrite
from tests.support.app import Server, run_command, serving
from tests.support.http_jobs import work
from tests.support.ingest_command import Command
from tests.support.tiff_files import LEFT_OVER, STACK, WHOLE, ome, write, write_described

CREATE = "--token {0} --channel em --create --voxelres 1,1,20"


def companions(path: Path) -> None:
    """An OME set: the file, and one beside it that holds the rest."""
    files = [path.name, "second.ome.tif"]
    write_described(path, STACK[:3], ome(path, files))
    write(path.with_name(files[1]), STACK[3:])


def cut_off(path: Path) -> None:
    """As ImageJ writes above 4 GB, without the last planes."""
    described = "ImageJ=1.53t\nimages=6\nslices=6\n"
    tifffile.imwrite(path, STACK[0], description=described, metadata=None, photometric=1)


def left_over(case: str) -> Callable[[Path], None]:
    return lambda path: write(path, LEFT_OVER[case][0])


READ = WHOLE | {"OME with a companion": companions}
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    **{case: (left_over(case), "pages") for case in LEFT_OVER},
    "ImageJ with one header, cut off": (cut_off, "declares 6 images and holds 1"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def command(server: Server) -> Command:
    return Command(server)


def token_of(case: str, way: str) -> str:
    return "".join(letter for letter in f"{way}{case}" if letter.isalnum())


def put(command: Command, path: Path, token: str) -> tuple[int, str]:
    done = run_command(command.server, "put", path, *CREATE.format(token).split())
    return done.exit_code, done.stderr


def ingest(command: Command, path: Path, token: str) -> tuple[int, str]:
    done = command(f"'{path}' {CREATE.format(token)}")
    return done.code, done.err


def verify(command: Command, path: Path, token: str) -> tuple[int, str]:
    done = command(f"'{path}' {CREATE.format(token)} --verify")
    assert done.code or "verified, digest" in done.out
    return done.code, done.err


WAYS = {"put": put, "ingest": ingest, "verify": verify}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", READ)
def test_every_plane_of_a_tiff_is_stored(command, tmp_path, case, way):
    path, token = tmp_path / "a.tif", token_of(case, way)
    READ[case](path)
    code, err = WAYS[way](command, path, token)
    assert code == 0, err
    np.testing.assert_array_equal(command.stored(token), STACK)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", REFUSED)
def test_a_tiff_with_pages_left_over_is_refused_and_nothing_is_made(command, tmp_path, case, way):
    path, token = tmp_path / "a.tif", token_of(case, way)
    REFUSED[case][0](path)
    code, err = WAYS[way](command, path, token)
    assert (code, REFUSED[case][1] in err) == (2, True), err
    with pytest.raises(TokenNotFoundError):
        command.server.runtime.catalog.project_view(token, fresh=True)


@pytest.mark.parametrize("case", [*READ, *REFUSED])
def test_a_tiff_of_many_planes_is_no_slice(server, tmp_path, case):
    """Dropped among slices, it is a fault that counts its planes, none of which is stored.

    Seen to fail for a stack of ImageJ that is cut off behind the first plane: that was the slice.
    """
    path, token = tmp_path / "a.tif", token_of(case, "drop")
    write_case = READ[case] if case in READ else REFUSED[case][0]
    write_case(path)
    manifest = {
        "on_bad": "zero",
        "dataset": {"ximagesize": 24, "yimagesize": 20, "zimagesize": 2, "scalinglevels": 0},
        "channel": {"channel_type": "image", "channel_datatype": "uint16"},
    }
    plane = tmp_path / "plane.tif"
    write(plane, STACK[:1])
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    folder = token_folder(token, "em")
    for name, file in ((MANIFEST, tmp_path / MANIFEST), ("0.tif", plane), ("1.tif", path)):
        server.runtime.resources.dropped.put(folder + name, file.read_bytes(), Overwrite())
        server.runtime.ingest.drop.on_object_created(folder + name)
    work(server)
    jobs = server.runtime.ingest.jobs
    job = jobs.ledger.of_folder(folder)
    (fault,) = jobs.faults(job)
    assert (job.state, fault.key) == (State.COMPLETE_WITH_ERRORS, f"{folder}1.tif")
    planes = {"preview first": 7, "odd page in the middle": 7, "other dtype": 7}
    planes |= {"a preview that says so": 7, "OME with a companion": 3}
    assert f"has {planes.get(case, 6)} planes; a slice is one" in fault.error
    view = server.runtime.catalog.project_view(token, fresh=True)
    level = view.dataset.pyramid.level(0)
    region = Region(level, Box((0, 0, 0), (24, 20, 2)), (0, 1))
    stored = server.runtime.volume.read(view.dataset, view.channel("em"), region)[0]
    np.testing.assert_array_equal(stored, [STACK[0], np.zeros_like(STACK[0])])
