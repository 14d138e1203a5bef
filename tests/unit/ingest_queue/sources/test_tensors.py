import json
import sys

import numpy as np
import pytest
import tensorstore
import zarr

from ingest_queue.sources import MissingSlices, Options, open_source
from ndlambda.errors import InvalidArgumentError, MalformedBodyError
from tests.support.stacks import stack


@pytest.fixture
def array():
    return np.random.default_rng(3).integers(0, 60_000, (5, 30, 40), dtype=np.uint16)


def write_zarr(path, array, zarr_format, **options):
    stored = zarr.create_array(
        path, shape=array.shape, dtype=array.dtype, zarr_format=zarr_format, **options
    )
    stored[...] = array
    return stored


@pytest.mark.parametrize(
    ("zarr_format", "dtype"),
    [(2, "uint8"), (3, "uint32"), (2, ">u2"), (3, ">u2"), (2, "uint64"), (3, "float32")],
)
def test_zarr_arrays_are_read(tmp_path, array, zarr_format, dtype):
    write_zarr(tmp_path / "a.zarr", array.astype(dtype), zarr_format, chunks=(2, 16, 16))
    source = open_source(tmp_path / "a.zarr")
    assert source.voxelres_xyz is None
    assert np.array_equal(stack(source)[0], array.astype(dtype))


def test_sharded_zarr_and_its_dimension_names_are_read(tmp_path, array):
    names = ["x", "y", "z"]
    path = tmp_path / "a.zarr"
    write_zarr(path, array.T, 3, chunks=(8, 8, 5), shards=(16, 16, 5), dimension_names=names)
    assert np.array_equal(stack(open_source(path))[0], array)


def test_axes_that_a_zarr_does_not_name_can_be_given(tmp_path, array):
    write_zarr(tmp_path / "a.zarr", array.T, 2)
    source = open_source(tmp_path / "a.zarr", Options(axes="xyz"))
    assert np.array_equal(stack(source)[0], array)
    with pytest.raises(InvalidArgumentError, match="'xyy'"):
        open_source(tmp_path / "a.zarr", Options(axes="xyy"))


def test_only_the_chunks_of_the_planes_asked_for_are_read(tmp_path, array):
    write_zarr(tmp_path / "a.zarr", array, 2, chunks=(1, 30, 40))
    (tmp_path / "a.zarr" / "3.0.0").write_bytes(b"damaged")
    source = open_source(tmp_path / "a.zarr")
    assert np.array_equal(source.read(0, 0, 3), array[:3])
    with pytest.raises(MalformedBodyError, match=r"a\.zarr"):
        source.read(0, 3, 4)


def ome(version, axes, scales, whole=None):
    scale = {
        "version": version,
        "axes": axes,
        "datasets": [
            {"path": f"s{n}", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            for n, scale in enumerate(scales)
        ],
    }
    if whole:
        scale["coordinateTransformations"] = [{"type": "scale", "scale": whole}]
    return [scale]


AXES = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "nanometer"},
    {"name": "x", "type": "space", "unit": "nanometer"},
]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_gives_axes_levels_and_voxel_size(tmp_path, version):
    zarr_format = 2 if version == "0.4" else 3
    array = np.random.default_rng(3).integers(0, 99, (2, 3, 4, 16, 20), dtype=np.uint8)
    path = tmp_path / "image.ome.zarr"
    scales = [[1, 1, 0.03, 4, 4], [1, 1, 0.03, 8, 8]]
    multiscales = ome(version, AXES, scales, [0.1, 1, 1, 1, 2])
    attributes = {"multiscales": multiscales}
    group = zarr.create_group(
        path,
        zarr_format=zarr_format,
        attributes=attributes if version == "0.4" else {"ome": attributes},
    )
    assert group is not None
    write_zarr(path / "s0", array, zarr_format, chunks=(1, 1, 2, 8, 8))
    write_zarr(path / "s1", array[..., ::2, ::2], zarr_format)
    with pytest.raises(InvalidArgumentError, match="3 channels"):
        open_source(path)
    fine = open_source(path, Options(channel=2))
    assert fine.voxelres_xyz == (8.0, 4.0, 30.0)
    assert np.array_equal(stack(fine), array[:, 2])
    coarse = open_source(path, Options(channel=0, level=1))
    assert coarse.voxelres_xyz == (16.0, 8.0, 30.0)
    assert np.array_equal(stack(coarse), array[:, 0, :, ::2, ::2])
    with pytest.raises(InvalidArgumentError, match="levels 0 to 1"):
        open_source(path, Options(level=2))
    inside = open_source(f"{path}:/s1", Options(channel=1))
    assert np.array_equal(stack(inside), array[:, 1, :, ::2, ::2])


def test_a_zarr_group_without_an_image_asks_for_a_name(tmp_path, array):
    group = zarr.create_group(tmp_path / "g.zarr", zarr_format=3)
    group.create_array("volumes/raw", data=array)
    with pytest.raises(InvalidArgumentError, match=r"g\.zarr:/path"):
        open_source(tmp_path / "g.zarr")
    assert np.array_equal(stack(open_source(f"{tmp_path}/g.zarr:/volumes/raw"))[0], array)


def test_damaged_or_unknown_zarr_metadata_is_refused(tmp_path, array):
    write_zarr(tmp_path / "a.zarr", array, 2)
    (tmp_path / "a.zarr" / ".zarray").write_text("{")
    with pytest.raises(MalformedBodyError, match=r"a\.zarr"):
        open_source(tmp_path / "a.zarr")
    write_zarr(tmp_path / "b.zarr", array, 3)
    metadata = json.loads((tmp_path / "b.zarr" / "zarr.json").read_text())
    metadata["codecs"] = [{"name": "rot13"}]
    (tmp_path / "b.zarr" / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(MalformedBodyError, match="rot13"):
        open_source(tmp_path / "b.zarr")
    (tmp_path / "b.zarr" / "zarr.json").write_text("[]")
    with pytest.raises(MalformedBodyError, match="JSON object"):
        open_source(tmp_path / "b.zarr")


def write_n5(folder, array_xyz, **metadata):
    store = tensorstore.open(
        {
            "driver": "n5",
            "kvstore": f"file://{folder}/",
            "metadata": {
                "dataType": array_xyz.dtype.name,
                "dimensions": list(array_xyz.shape),
                "blockSize": [16] * array_xyz.ndim,
                "compression": {"type": "gzip"},
                **metadata,
            },
        },
        create=True,
    ).result()
    store[...] = array_xyz
    return folder


def add_attributes(folder, **attributes):
    file = folder / "attributes.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | attributes))


def test_n5_is_big_endian_and_x_first(tmp_path, array):
    write_n5(tmp_path / "a.n5", array.T, resolution=[4, 5, 40], units=["nm", "nm", "nm"])
    source = open_source(tmp_path / "a.n5")
    assert source.voxelres_xyz == (4.0, 5.0, 40.0)
    assert np.array_equal(stack(source)[0], array)


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        ({"dimensions": [0.25, 0.25, 2], "unit": "um"}, (250.0, 250.0, 2000.0)),
        ([0.25, 0.25, 2], (250.0, 250.0, 2000.0)),
        ({"dimensions": [1, 1, 1], "unit": "pixel"}, None),
    ],
)
def test_n5_levels_and_pixel_resolution_are_known(tmp_path, array, pixel, expected):
    root = tmp_path / "a.n5"
    for level in range(2):
        folder = write_n5(root / "em" / f"s{level}", array.T[:: level + 1])
        add_attributes(folder, pixelResolution=pixel)
    (root / "attributes.json").write_text('{"n5": "2.5.0"}')
    source = open_source(f"{root}:/em", Options(level=1))
    assert source.voxelres_xyz == expected
    assert np.array_equal(stack(source)[0], array[:, :, ::2])
    with pytest.raises(InvalidArgumentError, match=r"a\.n5:/volumes/raw"):
        open_source(root)


def test_n5_of_four_axes_must_say_which(tmp_path, array):
    four = np.stack([array.T, array.T[::-1]], axis=3)
    write_n5(tmp_path / "a.n5", four)
    with pytest.raises(InvalidArgumentError, match="which axis is which"):
        open_source(tmp_path / "a.n5")
    times = open_source(tmp_path / "a.n5", Options(axes="xyzt"))
    assert np.array_equal(stack(times), np.stack([array, array[..., ::-1]]))


def test_a_damaged_n5_block_is_named(tmp_path, array):
    write_n5(tmp_path / "a.n5", array.T)
    block = tmp_path / "a.n5" / "0" / "0" / "0"
    block.write_bytes(block.read_bytes()[:40])
    with pytest.raises(MalformedBodyError, match=r"a\.n5"):
        stack(open_source(tmp_path / "a.n5"))


def write_precomputed(folder, volume_xyzc, kind="image", **scale):
    levels = {"chunk_size": [16, 16, 4], "encoding": "raw", "voxel_offset": [7, 8, 9]} | scale
    store = tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": f"file://{folder}/",
            "multiscale_metadata": {
                "data_type": volume_xyzc.dtype.name,
                "num_channels": volume_xyzc.shape[3],
                "type": kind,
            },
            "scale_metadata": {"size": volume_xyzc.shape[:3], **levels},
        },
        create=True,
    ).result()
    store[...] = volume_xyzc
    return folder


SHARDED = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "hash": "identity",
    "minishard_bits": 2,
    "shard_bits": 1,
    "preshift_bits": 1,
    "data_encoding": "gzip",
    "minishard_index_encoding": "gzip",
}


@pytest.mark.parametrize("more", [{}, {"sharding": SHARDED}])
def test_precomputed_volumes_are_read_from_their_offset(tmp_path, array, more):
    write_precomputed(tmp_path / "a", array.T[..., None], resolution=[4, 5, 40], **more)
    source = open_source(tmp_path / "a")
    assert (source.voxelres_xyz, source.labels_allowed) == ((4.0, 5.0, 40.0), True)
    assert np.array_equal(stack(source)[0], array)


def test_precomputed_segmentation_channels_and_levels_are_read(tmp_path, array):
    labels = array.astype(np.uint64) << 30
    write_precomputed(
        tmp_path / "seg",
        labels.T[..., None],
        "segmentation",
        encoding="compressed_segmentation",
        compressed_segmentation_block_size=[8, 8, 8],
        resolution=[8, 8, 8],
    )
    assert np.array_equal(stack(open_source(tmp_path / "seg"))[0], labels)
    two = np.stack([array.T, array.T // 2], axis=3)
    write_precomputed(tmp_path / "two", two, resolution=[4, 4, 40])
    write_precomputed(tmp_path / "two", two[::2], resolution=[8, 4, 40])
    with pytest.raises(InvalidArgumentError, match="2 channels"):
        open_source(tmp_path / "two")
    assert np.array_equal(stack(open_source(tmp_path / "two", Options(channel=1)))[0], array // 2)
    coarse = open_source(tmp_path / "two", Options(channel=0, level=1))
    assert coarse.voxelres_xyz == (8.0, 4.0, 40.0)
    assert np.array_equal(stack(coarse)[0], array[..., ::2])
    with pytest.raises(InvalidArgumentError, match="levels 0 to 1"):
        open_source(tmp_path / "two", Options(level=2))


def test_precomputed_jpeg_is_no_label(tmp_path, array):
    grey = (array // 256).astype(np.uint8)
    write_precomputed(tmp_path / "a", grey.T[..., None], encoding="jpeg", resolution=[4, 4, 4])
    source = open_source(tmp_path / "a")
    assert not source.labels_allowed
    assert stack(source).shape == (1, 5, 30, 40)


def test_a_damaged_precomputed_info_or_chunk_is_named(tmp_path, array):
    folder = write_precomputed(tmp_path / "a", array.T[..., None], resolution=[4, 4, 4])
    chunk = next((folder / "4_4_4").iterdir())
    chunk.write_bytes(chunk.read_bytes()[:-5])
    with pytest.raises(MalformedBodyError, match="/a cannot be read"):
        stack(open_source(folder))
    (folder / "info").write_text('{"scales": [{}]}')
    with pytest.raises(MalformedBodyError, match="/a cannot be read"):
        open_source(folder)


@pytest.mark.parametrize(
    ("library", "name"),
    [("tensorstore", "a.zarr"), ("nrrd", "a.nrrd"), ("nibabel", "a.nii"), ("tifffile", "a.tif")],
)
def test_a_library_that_is_not_installed_is_named(tmp_path, array, monkeypatch, library, name):
    if name == "a.zarr":
        write_zarr(tmp_path / name, array, 2)
    else:
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InvalidArgumentError, match=r"pip install 'ndlambda\[ingest\]'"):
        open_source(tmp_path / name)


def forget_separator(path):
    metadata = json.loads((path / ".zarray").read_text())
    metadata.pop("dimension_separator")
    (path / ".zarray").write_text(json.dumps(metadata))


@pytest.mark.parametrize("separator", [".", "/"])
def test_chunks_of_a_zarr_that_does_not_say_its_separator_are_found(tmp_path, array, separator):
    """Seen to fail: nested chunks were not looked for, and the volume was zeros."""
    path = tmp_path / "a.zarr"
    encoding = {"name": "v2", "separator": separator}
    write_zarr(path, array, 2, chunks=(2, 16, 16), chunk_key_encoding=encoding)
    forget_separator(path)
    assert np.array_equal(stack(open_source(path))[0], array)


@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize(("version", "separator"), [(2, "."), (2, "/"), (3, "."), (3, "/")])
def test_a_zarr_with_chunks_of_both_forms_is_asked_about(tmp_path, array, version, separator, says):
    """Seen to fail where the metadata names one of them: the others were zeros."""
    path, prefix = tmp_path / "a.zarr", "" if version == 2 else "c"
    encoding = {"name": "v2" if version == 2 else "default", "separator": separator}
    write_zarr(path, array, version, chunks=(2, 16, 16), chunk_key_encoding=encoding)
    if not says:
        if version == 3:
            return
        forget_separator(path)
    names, other = [*filter(None, [prefix]), "0", "0", "1"], "/" if separator == "." else "."
    moved = path / other.join(names)
    moved.parent.mkdir(parents=True, exist_ok=True)
    (path / separator.join(names)).rename(moved)
    with pytest.raises(InvalidArgumentError, match="would not be read"):
        open_source(path)


def written(path, array, kind):
    if kind.startswith("zarr"):
        write_zarr(path, array, int(kind[4]), chunks=(2, 16, 16))
        return
    spec = {"driver": kind, "kvstore": {"driver": "file", "path": f"{path}/"}}
    if kind == "n5":
        spec["metadata"] = {"blockSize": [16, 16, 2], "compression": {"type": "gzip"}}
    stored = array.T if kind == "n5" else array.T[..., None]
    made = tensorstore.open(spec, create=True, dtype=array.dtype, shape=stored.shape).result()
    made[...] = stored


@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "n5", "neuroglancer_precomputed"])
def test_a_volume_without_any_of_its_chunks_is_empty_only_if_that_is_said(tmp_path, array, kind):
    """Seen to fail: without chunks, or with chunks of other names, all was zeros, and no error."""
    path = tmp_path / "a"
    written(path, array, kind)
    assert np.array_equal(stack(open_source(path))[0], array)
    for file in [file for file in path.rglob("*") if file.is_file()]:
        if file.suffix != ".json" and file.name not in {"info", ".zarray", ".zattrs"}:
            file.rename(file.with_name(file.name + ".gz"))
    with pytest.raises(InvalidArgumentError, match=f"none of its chunks.*{path}.*--gaps zero"):
        open_source(path)
    assert not stack(open_source(path, Options(gaps=MissingSlices.ZERO))).any()


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (["time", "depth", "height", "width"], None),
        (["t", "plane", "row", "column"], None),
        (["a", "b", "c", "d"], "tzyx"),
    ],
)
def test_ome_zarr_axes_of_any_name_are_read_by_type_or_given(tmp_path, array, names, axes):
    """Seen to fail: each letter of a name counted as an axis, also where axes were given."""
    path = tmp_path / "a.zarr"
    types = ["time"] + ["space"] * 3 if axes is None else [None] * 4
    named = [
        {"name": name, "unit": "nanometer"} | ({"type": kind} if kind else {})
        for name, kind in zip(names, types, strict=True)
    ]
    multiscales = ome("0.4", named, [[1, 30, 4, 5]])
    zarr.create_group(path, zarr_format=2, attributes={"multiscales": multiscales})
    write_zarr(path / "s0", array[None], 2)
    if axes:
        with pytest.raises(InvalidArgumentError, match=r"axes a, b, c, d.*--from-axes"):
            open_source(path)
    source = open_source(path, Options(axes=axes))
    assert source.voxelres_xyz == (5.0, 4.0, 30.0)
    assert np.array_equal(stack(source)[0], array)
