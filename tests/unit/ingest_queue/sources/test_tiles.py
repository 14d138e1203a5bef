import numpy as np
import pytest
from PIL import Image

from ingest_queue.sources import MissingSlices, Options, open_source
from ndlambda.errors import (
    InvalidArgumentError,
    MalformedBodyError,
    NotFoundError,
    ShapeMismatchError,
)
from tests.support.auto_ingest import serving_folder
from tests.support.stacks import stack

EDGE = 16


@pytest.fixture
def array():
    return np.random.default_rng(3).integers(1, 255, (3, 40, 50), dtype=np.uint8)


def write_tiles(folder, array, pattern, first_z=0, pad=False, **options):
    for z, plane in enumerate(array):
        for row in range(-(-plane.shape[0] // EDGE)):
            for col in range(-(-plane.shape[1] // EDGE)):
                tile = plane[row * EDGE : (row + 1) * EDGE, col * EDGE : (col + 1) * EDGE]
                if pad:
                    rows, columns = tile.shape
                    tile = np.pad(tile, [(0, EDGE - rows), (0, EDGE - columns)])
                file = folder / pattern.format(z=z + first_z, row=row, col=col)
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(tile).save(file, **options)
    return folder


@pytest.mark.parametrize("pattern", ["{z}/{row}_{col}_0.png", "{z}/0/{row}_{col}.png"])
def test_folders_of_catmaid_tiles_are_read(tmp_path, array, pattern):
    write_tiles(tmp_path, array, pattern, first_z=9)
    source = open_source(tmp_path)
    assert source.labels_allowed
    assert np.array_equal(stack(source)[0], array)


def test_padded_edges_are_cut_where_the_size_is_given(tmp_path, array):
    write_tiles(tmp_path, array, "{z}/{row}_{col}_0.png", pad=True)
    assert open_source(tmp_path).shape_tzyx == (1, 3, 48, 64)
    source = open_source(tmp_path, Options(size_xyz=(50, 40, 3)))
    assert np.array_equal(stack(source)[0], array)


def test_levels_and_any_pattern_of_names_are_read(tmp_path, array):
    write_tiles(tmp_path, array, "stack/s{z}/{col}-{row}@2.png")
    pattern = f"{tmp_path}/stack/s{{z}}/{{x}}-{{y}}@{{res}}.png"
    source = open_source(pattern, Options(level=2, size_xyz=(50, 40, 3)))
    assert np.array_equal(stack(source)[0], array)
    with pytest.raises(InvalidArgumentError, match="cannot be listed; give its size"):
        open_source(pattern)
    with pytest.raises(NotFoundError, match=r"0-0@1\.png is missing"):
        open_source(pattern, Options(level=1, size_xyz=(50, 40, 3)))


def test_braces_of_existing_folders_are_no_part_of_a_pattern(tmp_path, array):
    """Seen to fail: ``{x}`` of the folder's own name was a column, and no tile was found."""
    folder = tmp_path / "{x}"
    write_tiles(folder, array, "{z}/{row}_{col}_0.png")
    assert np.array_equal(stack(open_source(folder))[0], array)
    pattern = f"{folder}/{{z}}/{{y}}_{{x}}_{{res}}.png"
    assert np.array_equal(stack(open_source(pattern, Options(size_xyz=(50, 40, 3))))[0], array)


def test_jpeg_tiles_are_no_labels(tmp_path, array):
    write_tiles(tmp_path, array, "{z}/{row}_{col}_0.jpg")
    assert not open_source(tmp_path).labels_allowed


def test_a_missing_tile_is_named_unless_it_is_allowed(tmp_path, array):
    write_tiles(tmp_path, array, "{z}/{row}_{col}_0.png")
    (tmp_path / "1" / "2_0_0.png").unlink()
    with pytest.raises(NotFoundError, match=r"1/2_0_0\.png is missing"):
        stack(open_source(tmp_path))
    array[1, 2 * EDGE :, :EDGE] = 0
    assert np.array_equal(stack(open_source(tmp_path, Options(gaps=MissingSlices.ZERO)))[0], array)


def test_damaged_and_short_tiles_are_named(tmp_path, array):
    write_tiles(tmp_path, array, "{z}/{row}_{col}_0.png")
    tile = tmp_path / "1" / "1_1_0.png"
    tile.write_bytes(tile.read_bytes()[:50])
    with pytest.raises(MalformedBodyError, match=r"1_1_0\.png"):
        stack(open_source(tmp_path))
    Image.fromarray(array[0, :EDGE, :9]).save(tile)
    with pytest.raises(ShapeMismatchError, match=r"1_1_0\.png is 9x16, not 16x16"):
        stack(open_source(tmp_path))


def test_tiles_behind_a_url_are_read(tmp_path, array):
    write_tiles(tmp_path, array, "em/{z}/{row}_{col}_0.png")
    with serving_folder(tmp_path) as web:
        pattern = f"{web.url}/em/{{z}}/{{row}}_{{col}}_{{res}}.png"
        source = open_source(pattern, Options(size_xyz=(50, 40, 3)))
        assert np.array_equal(stack(source)[0], array)
        (tmp_path / "em" / "2" / "0_0_0.png").unlink()
        with pytest.raises(NotFoundError, match=r"2/0_0_0\.png is missing"):
            source.read(0, 2, 3)


def write_knossos(folder, array, name="brain_mag1", mag=1):
    z, y, x = array.shape
    conf = (
        f'experiment name "{name}";\nboundary x {x * mag};\nboundary y {y * mag};\n'
        f"boundary z {z * mag};\nscale x 10.0;\nscale y 10.0;\nscale z 25.5;\nmagnification 1;\n"
    )
    root = folder / f"mag{mag}"
    root.mkdir(parents=True)
    (folder / "mag1").mkdir(exist_ok=True)
    (folder / "mag1" / "knossos.conf").write_text(conf)
    whole = np.zeros([-(-size // 128) * 128 for size in array.shape], np.uint8)
    whole[:z, :y, :x] = array
    for cz, cy, cx in np.ndindex(*(size // 128 for size in whole.shape)):
        cube = whole[cz * 128 :, cy * 128 :, cx * 128 :][:128, :128, :128]
        place = root / f"x{cx:04}" / f"y{cy:04}" / f"z{cz:04}"
        place.mkdir(parents=True)
        stem = name.removesuffix("_mag1")
        cube.tofile(place / f"{stem}_mag{mag}_x{cx:04}_y{cy:04}_z{cz:04}.raw")
    return folder


@pytest.mark.parametrize("name", ["brain", "brain_mag1"])
def test_knossos_cubes_are_read(tmp_path, name):
    array = np.random.default_rng(3).integers(1, 255, (140, 20, 150), dtype=np.uint8)
    folder = write_knossos(tmp_path / "k", array, name)
    for path in (folder, folder / "mag1"):
        source = open_source(path)
        assert source.voxelres_xyz == (10.0, 10.0, 25.5)
        assert np.array_equal(stack(source)[0], array)
        assert np.array_equal(source.read(0, 120, 135), array[120:135])
    with pytest.raises(InvalidArgumentError, match="magnification 2"):
        open_source(folder, Options(level=1))


def test_knossos_magnifications_are_levels(tmp_path):
    array = np.random.default_rng(3).integers(1, 255, (9, 10, 11), dtype=np.uint8)
    source = open_source(write_knossos(tmp_path, array, mag=4), Options(level=2))
    assert source.voxelres_xyz == (40.0, 40.0, 102.0)
    assert np.array_equal(stack(source)[0], array)


def test_missing_and_short_knossos_cubes_are_named(tmp_path):
    array = np.ones((9, 10, 150), np.uint8)
    write_knossos(tmp_path, array)
    cube = tmp_path / "mag1/x0001/y0000/z0000/brain_mag1_x0001_y0000_z0000.raw"
    cube.write_bytes(cube.read_bytes()[:-1])
    with pytest.raises(MalformedBodyError, match=r"x0001_y0000_z0000\.raw"):
        stack(open_source(tmp_path))
    cube.unlink()
    with pytest.raises(NotFoundError, match=r"x0001_y0000_z0000\.raw is missing"):
        stack(open_source(tmp_path))
    zeros = stack(open_source(tmp_path, Options(gaps=MissingSlices.ZERO)))[0]
    assert zeros[..., :128].all()
    assert not zeros[..., 128:].any()


def test_a_knossos_configuration_without_sizes_is_refused(tmp_path):
    (tmp_path / "knossos.conf").write_text('experiment name "brain";\n')
    with pytest.raises(MalformedBodyError, match="boundary x"):
        open_source(tmp_path)
