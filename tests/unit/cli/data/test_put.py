import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from ndlambda.cli.data.upload import StackUpload
from ndlambda.client import Block, Piece
from ndlambda.local.synthetic import em_stack
from ndlambda.space.box import Box
from tests.support.fake_server import FakeServer


@pytest.fixture
def server():
    return FakeServer(cuboid_xyz=(4, 3, 2))


@pytest.fixture
def stack(tmp_path, rng):
    """A folder of PNG slices and the array that they hold."""
    array = rng.integers(1, 255, (20, 33, 47), dtype=np.uint8)
    folder = tmp_path / "slices"
    folder.mkdir()
    for z, plane in enumerate(array):
        Image.fromarray(plane).save(folder / f"z{z}.png")
    return folder, array


def test_create_makes_everything_from_the_slices(run, server, stack):
    folder, array = stack
    done = run.ok(f"put {folder} --token demo --channel em --create --voxelres 4,4,40 --public")
    assert np.array_equal(server.array("demo", "em")[0], array)
    dataset = server.things["datasets"]["demo",]
    sizes = [dataset[f"{axis}imagesize"] for axis in "xyz"]
    assert sizes == [47, 33, 20]
    assert [dataset[f"{axis}voxelres"] for axis in "xyz"] == [4, 4, 40]
    assert (dataset["public"], dataset["scalingoption"]) == (1, 0)
    channel = server.things["channels"]["demo", "demo", "em"]
    assert (channel["channel_type"], channel["channel_datatype"]) == ("image", "uint8")
    assert f"{array.size} voxels" in done.out
    assert "MB/s" in done.out
    assert server.count("GET", "digest") == 0, "a channel just made has nothing to compare with"


def test_a_second_put_sends_nothing_and_a_third_only_what_was_lost(run, server, stack):
    folder, array = stack
    run.ok(f"put {folder} --token demo --channel em --create")
    sent = server.count("POST", "cutout")
    assert sent > 10
    again = run.ok(f"put {folder} --token demo --channel em --create")
    assert server.count("POST", "cutout") == sent
    assert f"0 sent, {sent} skipped (already stored)" in again.out
    stored = server.array("demo", "em")
    stored[0, 3, 4, 5] = stored[0, 19, 32, 46] = 0
    assert run(f"put {folder} --token demo --channel em").code == 0
    assert server.count("POST", "cutout") == sent + 2
    assert np.array_equal(stored[0], array)


def test_an_interrupted_put_goes_on_where_it_stopped(run, server, stack):
    folder, array = stack
    count = 0

    def die_late(request):
        nonlocal count
        count += request.method == "POST" and request.path.endswith("cutout")
        if count > 12:
            raise OSError("killed")

    def drop_late(request):
        if request.method == "POST" and request.path.endswith("cutout"):
            raise ConnectionError("gone")

    server.faults = [die_late] * 1000
    assert run(f"put {folder} --token demo --channel em --create").code == 1
    server.faults = [drop_late] * 1000
    gone = run(f"put {folder} --token demo --channel em --create")
    assert (gone.code, "the same command continues" in gone.err) == (1, True)
    server.faults = []
    done = run.ok(f"put {folder} --token demo --channel em --create")
    assert "12 skipped (already stored)" in done.out
    assert np.array_equal(server.array("demo", "em")[0], array)


def write_nii(path, array):
    nibabel.save(nibabel.Nifti1Image(array.T, np.diag([1e-3, 1e-3, 2e-3, 1])), path)


def test_four_axes_make_a_time_series(run, server, tmp_path, rng):
    array = rng.integers(-99, 99, (5, 4, 6, 7), dtype=np.int16)
    write_nii(tmp_path / "fmri.nii.gz", array)
    assert run("put fmri.nii.gz --token t --channel bold --create --time 3").code == 0
    channel = server.things["channels"]["t", "t", "bold"]
    assert channel["channel_type"] == "timeseries"
    assert (channel["starttime"], channel["endtime"]) == (3, 8)
    assert server.things["datasets"]["t",]["zvoxelres"] == pytest.approx(2000)
    assert np.array_equal(server.array("t", "bold"), array)


def test_labels_are_widened_to_the_annotation_dtype(run, server, tmp_path, rng):
    array = rng.integers(0, 9, (4, 5, 6), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "labels.tif", array, photometric="minisblack")
    assert run("put labels.tif --token t --channel seg --create --annotation").code == 0
    assert server.array("t", "seg").dtype == np.uint32
    assert np.array_equal(server.array("t", "seg")[0], array)


def test_offset_places_a_part_in_dataset_coordinates(run, server, tmp_path):
    stored = server.add_volume((1, 20, 33, 47), offset_xyz=(5, 3, 1))
    np.save(tmp_path / "part.npy", np.full((2, 3, 4), 7, np.uint8))
    assert run("put part.npy --token tok --channel ch --offset 10,8,4").code == 0
    expected = np.zeros((20, 33, 47), np.uint8)
    expected[3:5, 5:8, 5:9] = 7
    assert np.array_equal(stored[0], expected)


def test_other_resolutions_and_times_are_written(run, server, tmp_path):
    server.add_volume((4, 20, 33, 47), channel_type="timeseries")
    np.save(tmp_path / "part.npy", np.full((20, 17, 24), 7, np.uint8))
    assert run("put part.npy --token tok --channel ch --resolution 1 --time 2").code == 0
    coarse = server.array("tok", "ch", 1)
    assert (coarse[2] == 7).all()
    assert not coarse[[0, 1, 3]].any()


def test_create_uses_what_is_there(run, server, tmp_path):
    server.add_volume((1, 4, 5, 6))
    np.save(tmp_path / "a.npy", np.ones((4, 5, 6), np.float32))
    assert run("put a.npy --token tok --channel prob --create").code == 0
    assert set(server.things["datasets"]) == {("ds",)}
    assert (server.array("tok", "prob") == 1).all()
    named = "put a.npy --token other --channel prob --create --dataset ds --project pr"
    assert run(named).code == 0
    assert ("ds", "pr", "other") in server.things["tokens"]


MADE = "--voxelres 4,4,40 --levels 2 --scaling zslices"


PRIVATE = "the {} is private, not public (--public)"


@pytest.mark.parametrize(("line", "reasons"), [
    ("demo/em --voxelres 4,4,4", ["has voxels of 4,4,40 nm, not 4,4,4 (--voxelres)"]),
    ("demo/new --voxelres 4,4,4", ["has voxels of 4,4,40 nm, not 4,4,4 (--voxelres)"]),
    ("new/new --dataset demo --voxelres 4,4,4", ["dataset demo has voxels of 4,4,40 nm"]),
    ("demo/em --levels 0", ["has 2 coarser resolutions, not 0 (--levels)"]),
    ("demo/em --levels 3 --voxelres 1,1,1", ["not 3 (--levels)", "not 1,1,1 (--voxelres)"]),
    ("iso/em --scaling zslices", ["has the scaling isotropic, not zslices (--scaling)"]),
    ("demo/em --scaling isotropic", ["has the scaling zslices, not isotropic (--scaling)"]),
    ("demo/em --public", [PRIVATE.format(kind) for kind in ("dataset", "project", "token")]),
    ("new/em --dataset demo --project demo --public", [PRIVATE.format("project")]),
    ("demo/em --annotation", ["channel em is of type image, not annotation (--annotation)"]),
    ("demo/em --time 1", ["time points 1:2, the channel 0:1"]),
    ("demo/em --offset 1,0,0", ["would fill (1, 0, 0) to (5, 3, 2)", "is (0, 0, 0) to (4, 3, 2)"]),
])  # fmt: skip
def test_options_that_disagree_with_what_exists_are_refused_with_both_values(
    run, server, tmp_path, line, reasons
):
    """Seen to fail: what exists was kept without a word."""
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4), np.uint8))
    run.ok(f"put a.npy demo/em --create {MADE}")
    run.ok("put a.npy iso/em --create --scaling isotropic")
    before, sent = str(server.things), server.count("POST", "cutout")
    done = run(f"put a.npy {line} --create")
    assert done.code == 2
    assert all(reason in " ".join(done.err.split()) for reason in reasons), done.err
    assert (str(server.things), server.count("POST", "cutout")) == (before, sent)


def test_options_that_agree_or_are_not_given_create_and_send_again(run, server, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4), np.uint8))
    for options in (MADE, MADE, "", "--levels 2"):
        assert "ndlambda:" not in run.ok(f"put a.npy demo/em --create {options}").err


@pytest.mark.parametrize(("size_zyx", "options", "scaling", "levels", "says"), [
    ((2, 3, 4), "--voxelres 10,10,10", 1, 0, "scaling isotropic"),
    ((2, 3, 4), "--voxelres 10,10,14", 1, 0, "10 x 10 x 14 nm: scaling isotropic"),
    ((2, 3, 4), "--voxelres 10,10,15", 0, 0, "scaling zslices"),
    ((2, 3, 4), "--voxelres 10,10,7", 0, 0, "scaling zslices"),
    ((2, 3, 1025), "--voxelres 4,4,40", 0, 2, "coarser resolutions: 2"),
    ((1025, 3, 4), "--voxelres 4,4,40", 0, 0, "coarser resolutions: 0"),
    ((1025, 3, 4), "--voxelres 4,4,4", 1, 2, "coarser resolutions: 2"),
    ((1025, 3, 4), "--voxelres 4,4,4 --scaling zslices", 0, 0, "coarser resolutions: 0"),
    ((2, 3, 4), "--voxelres 4,4,4 --levels 3", 1, 3, "coarser resolutions: 3"),
    ((2, 3, 4), "--scaling zslices --levels 0", 0, 0, "1,1,1 nm is assumed"),
    ((2, 3, 4), "", 1, 0, "1,1,1 nm is assumed"),
])  # fmt: skip
def test_scaling_and_levels_follow_voxel_and_size_and_are_told(
    run, server, tmp_path, size_zyx, options, scaling, levels, says
):
    np.save(tmp_path / "a.npy", np.ones(size_zyx, np.uint8))
    done = run.ok(f"put a.npy demo/em --create {options}")
    dataset = server.things["datasets"]["demo",]
    assert (dataset["scalingoption"], dataset["scalinglevels"]) == (scaling, levels)
    assert says in done.err


@pytest.mark.parametrize(("options", "code", "reason"), [
    ("--offset 1,0,0", 2, "check --offset"),
    ("--offset 0,0,17", 2, "check --offset"),
    ("--offset 1,2", 2, "three whole numbers"),
    ("--time 1", 2, "check --time"),
    ("--resolution 1", 2, "check --offset and --resolution"),
    ("--resolution 9", 3, "No resolution 9"),
    ("--channel nope", 3, "No channel"),
    ("--token nope", 3, "no token nope"),
    ("--token new --create --resolution 1", 2, "resolution 0"),
    ("--create --dataset other", 2, "leads to ds/pr"),
    ("--token n-o --create", 2, "cannot name"),
    ("--public", 2, "only with --create"),
    ("--channel wide", 2, "The data is uint8, the channel uint16"),
])  # fmt: skip
def test_what_cannot_be_stored_is_refused_before_anything_is_sent(
    run, server, tmp_path, options, code, reason
):
    server.add_volume((1, 20, 33, 47), "uint16", channel="wide")
    server.add_volume((1, 20, 33, 47))
    np.save(tmp_path / "a.npy", np.ones((20, 33, 47), np.uint8))
    done = run(f"put a.npy --token tok --channel ch {options}")
    assert done.code == code
    assert reason in " ".join(done.err.split())
    assert server.count("POST", "cutout") == 0


@pytest.mark.parametrize("create", ["--create --annotation", ""])
def test_an_image_is_no_labels_unless_that_is_said(run, server, tmp_path, create):
    """Seen to fail: an image was painted as 200 labels."""
    np.save(tmp_path / "em.npy", em_stack((4, 130, 130)))
    if not create:
        server.add_volume((1, 4, 130, 130), "uint32", channel_type="annotation")
    done = run(f"put em.npy tok/ch {create}")
    assert (done.code, "looks like an image" in done.err) == (2, True)
    assert server.count("POST", "cutout") == 0
    assert bool(server.things["channels"]) == (not create)
    run.ok(f"put em.npy tok/ch {create} --labels")
    assert server.array("tok", "ch").any()


@pytest.mark.parametrize(
    ("dtype", "options"),
    [("float64", ""), ("bool", ""), ("complex64", ""), ("float32", "--annotation")],
)
def test_dtypes_that_no_channel_has_create_nothing(run, server, tmp_path, dtype, options):
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4), dtype))
    done = run(f"put a.npy --token t --channel c --create {options}")
    assert done.code == 2
    assert "convert the data first" in done.err
    assert server.things["datasets"] == {}


@pytest.mark.parametrize(("token", "channel"), [("stats", "em"), ("brain", "xy")])
def test_words_of_paths_create_nothing(run, server, tmp_path, token, channel):
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4), np.uint8))
    done = run(f"put a.npy --token {token} --channel {channel} --create")
    assert done.code == 2
    assert "is a word of paths" in done.err
    assert server.things["datasets"] == {}


@pytest.mark.parametrize(("dtype", "stored"), [("int16", "uint32"), ("int64", "uint64")])
def test_signed_labels_are_put_where_every_one_fits(run, server, tmp_path, dtype, stored):
    """Seen to fail: they were refused, whatever their values."""
    labels = np.arange(2 * 3 * 4, dtype=dtype).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", labels)
    done = run("put a.npy --token t --channel c --create --annotation")
    assert done.code == 0, done.err
    assert server.array("t", "c").dtype == stored
    assert np.array_equal(server.array("t", "c")[0], labels)
    labels[1, 2, 3] = -7
    np.save(tmp_path / "a.npy", labels)
    done = run("put a.npy --token t --channel c")
    assert done.code == 2
    assert f"Plane 1 of the data has the value -7, which {stored} cannot hold" in done.err


@pytest.mark.parametrize(
    ("dtype", "stored"), [("int32", "uint16"), ("float64", "float32"), ("bool", "uint8")]
)
def test_images_are_cast_if_that_is_said(run, server, tmp_path, dtype, stored):
    voxels = np.arange(2 * 3 * 4).reshape(1, 2, 3, 4) > 5 if dtype == "bool" else None
    voxels = np.arange(2 * 3 * 4, dtype=dtype).reshape(1, 2, 3, 4) if voxels is None else voxels
    np.save(tmp_path / "a.npy", voxels[0])
    create = "" if dtype == "int32" else "--create"
    if dtype == "int32":
        server.add_volume((1, 2, 3, 4), stored)
    done = run(f"put a.npy --token tok --channel ch {create}")
    assert (done.code, "--cast" in done.err) == (2, True)
    assert run(f"put a.npy --token tok --channel ch {create} --cast").code == 0
    assert server.array("tok", "ch").dtype == stored
    assert np.array_equal(server.array("tok", "ch"), voxels)


@pytest.mark.parametrize(("exists", "left"), [
    (False, "`ndlambda dataset delete t`"),
    (True, "`ndlambda channel delete ds/pr/c` and `ndlambda token delete ds/pr/t`"),
])  # fmt: skip
def test_what_was_made_for_data_that_prove_bad_is_named(run, server, stack, exists, left):
    """Seen to fail: four things were left behind without a word."""
    folder, _ = stack
    if exists:
        server.add_volume((1, 20, 33, 47))
    file = folder / "z19.png"
    file.write_bytes(file.read_bytes()[:-200])
    where = "--dataset ds --project pr" if exists else ""
    done = run(f"put {folder} t/c --create {where}")
    assert (done.code, "z19.png" in done.err, left in done.err) == (2, True, True), done.err
    again = run(f"put {folder} t/c --create {where}")
    assert "Made for" not in again.err


@pytest.mark.parametrize("create", ["--create", ""])
@pytest.mark.parametrize(("size", "said"), [(2e-3, True), (1e-3, False)])
def test_another_voxel_size_than_the_datasets_is_told(run, server, tmp_path, create, size, said):
    """Seen to fail without ``--create``: nothing was said."""
    array = np.ones((4, 5, 6), np.uint8)
    server.add_volume((1, 4, 5, 6))
    dataset = server.things["datasets"]["ds",]
    dataset |= {"xvoxelres": 1000, "yvoxelres": 1000, "zvoxelres": 1000}
    nibabel.save(nibabel.Nifti1Image(array.T, np.diag([size, 1e-3, 1e-3, 1])), "a.nii")
    done = run.ok(f"put a.nii tok/ch {create}")
    assert ("says voxels of 2000,1000,1000 nm" in done.err) == said


@pytest.mark.parametrize("option", ["--from-level 3", "--from-channel 2"])
@pytest.mark.parametrize("name", ["slices", "a.npy", "a.npz"])
def test_a_channel_or_level_that_the_data_has_not_is_refused(run, server, stack, option, name):
    """Seen to fail for slices: they were read as if it had not been said."""
    _, array = stack
    np.save("a.npy", array)
    np.savez_compressed("a.npz", cutout=array)
    done = run(f"put {name} t/c --create {option}")
    assert (done.code, option.split()[0] in done.err or "channels 0 to 0" in done.err) == (2, True)
    assert server.calls == []


@pytest.mark.parametrize(("name", "shape_zyx"), [("a.npz", (4, 5, 6)), ("one.png", (1, 5, 6))])
def test_an_archive_that_get_wrote_and_a_single_image_are_sources(run, server, name, shape_zyx):
    """Seen to fail: both were of no known format."""
    array = np.arange(1, 121, dtype=np.uint8).reshape(4, 5, 6)
    np.savez_compressed("a.npz", cutout=array)
    Image.fromarray(array[0]).save("one.png")
    run.ok(f"put {name} t/c --create")
    assert np.array_equal(server.array("t", "c")[0], array[: shape_zyx[0]])
    if name == "a.npz":
        run.ok("get t/c -o again.npz")
        run.ok("put again.npz u/c --create")
        assert np.array_equal(server.array("u", "c"), server.array("t", "c"))


@pytest.mark.parametrize(("kind", "says"), [("RGB", True), ("RGBA", True), ("L", False)])
@pytest.mark.parametrize("equal", [True, False])
def test_colours_are_told_of(run, rng, tmp_path, kind, says, equal):
    """Seen to fail: they became uint32 without a word."""
    (tmp_path / "s").mkdir()
    plane = rng.integers(0, 255, (5, 6), dtype=np.uint8)
    image = Image.fromarray(plane).convert(kind)
    if not equal:
        image.putpixel((0, 0), (1, 2, 3, 255)[: len(kind)] if says else 1)
    image.save(tmp_path / "s" / "0.png")
    done = run.ok("put s t/c --create")
    assert ("in colour" in done.err, "are equal" in done.err) == (says, says and equal)


def test_bad_slices_are_named_and_nothing_is_made(run, server, stack):
    folder, _ = stack
    Image.fromarray(np.ones((33, 48), np.uint8)).save(folder / "z7.png")
    done = run(f"put {folder} --token t --channel c --create")
    assert done.code == 2
    assert "z7.png" in done.err
    assert len(done.err.splitlines()) == 1
    (folder.parent / "empty").mkdir()
    assert run("put empty --token t --channel c --create").code == 2
    (folder.parent / "notes.txt").write_text("x")
    assert run("put notes.txt --token t --channel c --create").code == 2
    assert run("put missing --token t --channel c --create").code == 3
    assert server.calls == []


class Planes:
    """A source that notes which planes are asked for."""

    voxelres_xyz = None
    dtype = np.dtype("uint8")

    def __init__(self, shape_tzyx):
        self.shape_tzyx = shape_tzyx
        self.asked = []

    def read(self, t, z0, z1):
        self.asked.append((t, z0, z1))
        return np.ones((z1 - z0, *self.shape_tzyx[2:]), self.dtype)


def upload(server, source, corner_xyz, slab_bytes):
    volume = server.client().volume("tok", "ch")
    return StackUpload(source, volume, corner_xyz, 0, slab_bytes)


def test_slabs_end_where_stored_units_do():
    server = FakeServer()
    server.add_volume((2, 200, 4, 4), offset_xyz=(0, 0, 1), channel_type="timeseries")
    source = Planes((2, 150, 4, 4))
    pieces = list(upload(server, source, (0, 0, 31), 10**9).pieces())
    assert source.asked[:3] == [(0, 0, 34), (0, 34, 98), (0, 98, 150)]
    assert [t for t, _, _ in source.asked] == [0, 0, 0, 1, 1, 1]
    assert isinstance(pieces[0], Piece)
    assert pieces[1].block == Block(Box((0, 0, 65), (4, 4, 129)), (0, 1))


def test_memory_for_a_slab_is_bounded_down_to_one_plane():
    server = FakeServer()
    server.add_volume((1, 64, 10, 10))
    for limit, planes in [(6400, 64), (6399, 32), (1700, 16), (1, 1)]:
        source = Planes((1, 64, 10, 10))
        list(upload(server, source, (0, 0, 0), limit).pieces())
        assert {stop - start for _, start, stop in source.asked} == {planes}
