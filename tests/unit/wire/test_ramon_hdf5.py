"""RAMON objects as HDF5: ours, files made by hand as ndstore's clients make them, hostile ones."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import h5py
import numpy as np
import pytest

from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    MalformedBodyError,
    NDLambdaError,
    PayloadTooLargeError,
    ShapeMismatchError,
    ValidationError,
)
from ndlambda.model.ramon import (
    LARGEST_ID,
    Annotation,
    Neuron,
    Node,
    Organelle,
    RegionOfInterest,
    Seed,
    Segment,
    Skeleton,
    Synapse,
)
from ndlambda.wire.ramon import (
    AnnotationVoxels,
    BoundingBox,
    CuboidPart,
    RamonItem,
    RamonLimits,
    formats,
    get_format,
)
from ndlambda.wire.ramon.hdf5_decode import decode, decode_region
from ndlambda.wire.ramon.hdf5_encode import encode, encode_ids
from tests.support.ramon_files import ramon_file, region_file

LIMITS = RamonLimits(objects=100, array_bytes=1 << 20)

FULL = [
    Annotation(1, 2, 0.5, "ann", {"k": "v", "comma,quote": 'a "b", \r\n c'}),
    Synapse(2, 1, 0.25, "é", {}, 1.5, 3, (4, 4), (5,), (6, 7), (8,), (1, 2, 3)),
    Seed(3, 3, -1.0, "", {}, 9, 123456789012, 11, (4, 5, 6)),
    Segment(4, 0, 1.0, "", {}, 2, 3, LARGEST_ID),
    Neuron(5),
    Organelle(6, 0, 0.0, "", {}, 1, 2, 3, (7, 8, 9), (10, 11)),
    Node(7, 0, 0.0, "", {}, 1, -1, 8, 2.5, (1.5, 2.5, 3.0)),
    Node(70, parent=2**63),
    Skeleton(8, 0, 0.0, "", {}, 4, 7),
    RegionOfInterest(9, 0, 0.0, "", {}, 3),
    Synapse(LARGEST_ID),
]


def file_of(fill: Callable[[h5py.File], object]) -> bytes:
    out = BytesIO()
    with h5py.File(out, "w") as file:
        fill(file)
    return out.getvalue()


def read(body: bytes | memoryview) -> h5py.File:
    return h5py.File(BytesIO(body), "r")


def one(body: bytes) -> RamonItem:
    (item,) = decode(body, LIMITS)
    return item


@pytest.mark.parametrize("name", ["hdf5", "json", "json-old"])
def test_all_types_survive_every_format(name):
    form = get_format(name)
    items = form.decode(form.encode([RamonItem(ramon) for ramon in FULL]), LIMITS)
    assert {item.ramon.id: item.ramon for item in items} == {ramon.id: ramon for ramon in FULL}
    assert all(item.data is None and not item.ignored for item in items)


def test_what_is_written_is_ndstores_layout():
    synapse = Synapse(2, 1, 0.25, "me", {"k": "v"}, 1.5, 3, (), (5, 6), (5,), (6,), (1, 2, 3))
    with read(encode([RamonItem(synapse)])) as file:
        assert list(file) == ["2"]
        assert file["2/ANNOTATION_TYPE"][:] == [2]
        assert file["2/ANNOTATION_TYPE"].dtype == "<u4"
        metadata = file["2/METADATA"]
        for name, dtype, value in [
            ("STATUS", "<u4", [1]), ("CONFIDENCE", "<f8", [0.25]), ("WEIGHT", "<f8", [1.5]),
            ("SEGMENTS", "<u4", [5, 6]), ("POSTSEGMENTS", "<u4", [6]), ("SEEDS", "<u4", []),
            ("CENTROID", "<u4", [1, 2, 3]),
        ]:  # fmt: skip
            assert metadata[name].dtype == dtype
            assert metadata[name][:].tolist() == value
        assert metadata["AUTHOR"].asstr()[0] == "me"
        assert metadata["KVPAIRS"].asstr()[0] == "k,v\r\n"


def test_the_common_fields_are_always_written_and_places_only_when_given():
    with read(encode([RamonItem(Node(1))])) as file:
        metadata = file["1/METADATA"]
        assert [metadata[name].asstr()[0] for name in ("AUTHOR", "KVPAIRS")] == ["", ""]
        assert metadata["PARENTID"].dtype == "<i4"
        assert "LOCATION" not in metadata


def test_derived_lists_are_written_where_ndio_wants_them():
    items = [
        RamonItem(Neuron(1), derived={"segments": (3, 4)}),
        RamonItem(Segment(2), derived={"synapses": (5,), "organelles": ()}),
        RamonItem(Node(3), derived={"children": (6,)}),
    ]
    with read(encode(items)) as file:
        assert file["1/METADATA/SEGMENTS"][:].tolist() == [3, 4]
        assert file["2/METADATA/SYNAPSES"][:].tolist() == [5]
        assert file["2/METADATA/ORGANELLES"].shape == (0,)
        assert file["3/METADATA/CHILDREN"][:].tolist() == [6]


def test_voxels_survive_a_file():
    voxels = np.array([[1, 2, 3], [4, 5, 2**32 - 1]], np.uint32)
    cutout = np.arange(24, dtype=np.uint64).reshape(2, 3, 4)
    part = CuboidPart((0, 128, 16), np.ones((1, 2, 2, 2), np.uint32))
    data = AnnotationVoxels(3, voxels, (10, 20, 30), cutout, (part,))
    body = encode([RamonItem(Annotation(1), data)])
    found = one(bytes(body)).data
    assert found is not None
    assert found.resolution == 3
    assert found.corner_xyz == (10, 20, 30)
    np.testing.assert_array_equal(found.voxels_xyz, voxels)
    np.testing.assert_array_equal(found.cutout_zyx, cutout)
    assert found.cuboids[0].corner_xyz == (0, 128, 16)
    np.testing.assert_array_equal(found.cuboids[0].labels_tzyx, part.labels_tzyx)
    with read(body) as file:
        assert list(file["1/CUBOIDS"]) == ["(0, 128, 16)"]


def test_places_are_a_box_or_a_resolution_alone():
    box = BoundingBox(2, (5, 6, 7), (1, 2, 3))
    empty = AnnotationVoxels(1, voxels_xyz=np.empty((0, 3), np.uint32))
    with read(encode([RamonItem(Annotation(1), box=box), RamonItem(Annotation(2), empty)])) as file:
        assert file["1/RESOLUTION"][:] == [2]
        assert file["1/XYZOFFSET"][:].tolist() == [5, 6, 7]
        assert file["1/XYZDIMENSION"][:].tolist() == [1, 2, 3]
        assert file["2/RESOLUTION"][:] == [1]
        assert "VOXELS" not in file["2"]


def test_files_of_ids_are_absent_when_empty():
    with read(encode_ids([3, 4])) as file:
        assert file["ANNOIDS"][:].tolist() == [3, 4]
        assert file["ANNOIDS"].dtype == "<u4"
    with read(encode_ids([])) as file:
        assert list(file) == []


# --- files as clients make them -------------------------------------------------------------


def test_a_batch_made_by_hand_is_read_in_the_order_of_its_names():
    sent = {
        "STATUS": 2, "CONFIDENCE": 0.5, "AUTHOR": "somebody",
        "KVPAIRS": 'key,value\r\n"a,b",c\r\n', "SEGMENTS": [3, 4], "SPOSTEGMENTS": [4],
    }  # fmt: skip
    body = ramon_file({
        "noid.0": {"ANNOTATION_TYPE": 4, "ANNOTATION_ID": 99},
        "0": {"ANNOTATION_TYPE": 1, "ANNOTATION_ID": 99},
        "12": {"ANNOTATION_TYPE": 2, "ANNOTATION_ID": 99, "METADATA": sent},
        "7": {"ANNOTATION_ID": 99},
    })  # fmt: skip
    pairs = {"key": "value", "a,b": "c"}
    assert [item.ramon for item in decode(body, LIMITS)] == [
        Annotation(0),
        Synapse(12, 2, 0.5, "somebody", pairs, segments=(3, 4), postsegments=(4,)),
        Annotation(7),
        Segment(0),
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint32, np.uint64])
def test_voxel_lists_and_cutouts_of_any_integers_are_read(dtype):
    places = {"RESOLUTION": [1], "VOXELS": [[1, 2, 3]], "XYZOFFSET": [1, 2, 3]}
    values = {name: np.array(value, dtype) for name, value in places.items()}
    data = one(file_of(put_all(**values, CUTOUT=np.ones((2, 3, 4), dtype)))).data
    assert data.voxels_xyz.dtype == "<u4"
    assert data.cutout_zyx.shape == (2, 3, 4)
    assert data.corner_xyz == (1, 2, 3)


def test_scalars_and_fixed_strings_are_read_as_well():
    def fill(file: h5py.File) -> None:
        file["1/ANNOTATION_TYPE"] = 4
        file["1/METADATA/AUTHOR"] = "me"
        file["1/METADATA/NEURON"] = np.uint64(LARGEST_ID)
        file["1/METADATA"].create_dataset("KVPAIRS", data=np.array([b"k,v"]))

    assert one(file_of(fill)).ramon == Segment(
        1, author="me", kvpairs={"k": "v"}, neuron=LARGEST_ID
    )


@pytest.mark.parametrize(("values", "ignored"), [
    ({"CUTOUT": np.ones((2, 2, 2), np.uint32)}, ("CUTOUT",)), ({"XYZOFFSET": [1, 2, 3]}, ()),
], ids=["cutout", "offset"])  # fmt: skip
def test_half_of_a_block_is_ignored_and_a_cutout_said_so(values, ignored):
    item = one(file_of(put_all(RESOLUTION=[0], **values)))
    assert item.data is None
    assert item.ignored == ignored


def test_a_region_is_read():
    assert decode_region(region_file((1, 2, 3), (4, 5, 6), 1)) == (1, (1, 2, 3), (4, 5, 6))
    with pytest.raises(MalformedBodyError):
        decode_region(encode_ids([1]))


# --- bad files ------------------------------------------------------------------------------


def put(name: str, value: object) -> Callable[[h5py.File], object]:
    return lambda file: file.create_dataset(name, data=value)


def put_all(**values: object) -> Callable[[h5py.File], object]:
    def fill(file: h5py.File) -> None:
        for name, value in values.items():
            file[f"1/{name}"] = value

    return fill


def at(name: str, value: object) -> Callable[[h5py.File], object]:
    return lambda file: file.__setitem__(name, value)


def block(cutout: Any, offset: Sequence[int] = (0, 0, 0)) -> Callable[[h5py.File], object]:
    return put_all(RESOLUTION=[0], XYZOFFSET=offset, CUTOUT=cutout)


def made(name: str, *args: Any, **options: Any) -> Callable[[h5py.File], object]:
    return lambda file: file.create_dataset(name, *args, **options)


META = "1/METADATA/"
CUBE = np.ones((2, 2, 2), int)
BAD = {
    "voxels with two columns": (
        put_all(RESOLUTION=[0], VOXELS=np.ones((4, 2), np.uint32)), ShapeMismatchError),
    "flat voxels": (put_all(RESOLUTION=[0], VOXELS=np.ones(3, np.uint32)), ShapeMismatchError),
    "negative voxels": (put_all(RESOLUTION=[0], VOXELS=[[1, -2, 3]]), MalformedBodyError),
    "wide voxels": (put_all(RESOLUTION=[0], VOXELS=[[1, 2**32, 3]]), MalformedBodyError),
    "float voxels": (put_all(RESOLUTION=[0], VOXELS=[[1.0, 2, 3]]), DataTypeMismatchError),
    "no resolution": (put_all(VOXELS=[[1, 2, 3]]), MalformedBodyError),
    "negative resolution": (put_all(RESOLUTION=[-1], VOXELS=[[1, 2, 3]]), MalformedBodyError),
    "two resolutions": (put_all(RESOLUTION=[0, 1], VOXELS=[[1, 2, 3]]), ShapeMismatchError),
    "flat cutout": (block(np.ones((2, 2))), DataTypeMismatchError),
    "flat integer cutout": (block(np.ones((2, 2), int)), ShapeMismatchError),
    "offset of two": (block(CUBE, (0, 0)), MalformedBodyError),
    "unknown type": (put_all(ANNOTATION_TYPE=[10]), ValidationError),
    "type as text": (put_all(ANNOTATION_TYPE="2"), DataTypeMismatchError),
    "status as text": (put(META + "STATUS", "1"), DataTypeMismatchError),
    "status of objects": (
        made(META + "STATUS", (1,), h5py.special_dtype(vlen=np.int32)), DataTypeMismatchError),
    "status as real": (put(META + "STATUS", [1.0]), DataTypeMismatchError),
    "status too large": (put(META + "STATUS", [2**32]), ValidationError),
    "infinite confidence": (put(META + "CONFIDENCE", [np.inf]), ValidationError),
    "author as number": (put(META + "AUTHOR", [1]), MalformedBodyError),
    "two authors": (put(META + "AUTHOR", np.array([b"a", b"b"])), MalformedBodyError),
    "author not UTF-8": (put(META + "AUTHOR", np.array([b"\xff"])), MalformedBodyError),
    "pairs of three": (put(META + "KVPAIRS", "a,b,c\r\n"), MalformedBodyError),
    "pairs with an open quote": (put(META + "KVPAIRS", '"a,b'), MalformedBodyError),
    "pairs twice": (put(META + "KVPAIRS", "a,b\r\na,c\r\n"), MalformedBodyError),
    "reserved key": (put(META + "KVPAIRS", "ann_status,1\r\n"), ValidationError),
    "value too long": (put(META + "KVPAIRS", "a," + "b" * 20_001), ValidationError),
    "metadata is no group": (put("1/METADATA", [1]), MalformedBodyError),
    "object is no group": (put("1", [1]), MalformedBodyError),
    "negative id": (lambda file: file.create_group("-1"), InvalidArgumentError),
    "id beyond 64 bits": (lambda file: file.create_group(str(2**64)), InvalidArgumentError),
    "endless id": (lambda file: file.create_group("9" * 5000), InvalidArgumentError),
    "soft link": (at("1", h5py.SoftLink("/")), MalformedBodyError),
    "external link": (at("1", h5py.ExternalLink("/etc/passwd", "/")), MalformedBodyError),
    "external metadata": (at("1/METADATA", h5py.ExternalLink("other.h5", "/")), MalformedBodyError),
    "cuboid without offset": (put("1/CUBOIDS/a/CUBOID", np.ones((1, 2, 2, 2), int)), NDLambdaError),
    "too many objects": (
        lambda file: [file.create_group(str(number)) for number in range(101)],
        PayloadTooLargeError),
    "cutout over the limit": (
        lambda file: [
            put_all(RESOLUTION=[0], XYZOFFSET=[0, 0, 0])(file),
            made("1/CUTOUT", (1 << 10,) * 3, np.uint8, compression="gzip")(file),
        ],
        PayloadTooLargeError),
    "lists over the limit": (
        made(META + "STATUS", (1 << 30,), "u4", chunks=(1 << 20,)), PayloadTooLargeError),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(name):
    fill, expected = BAD[name]
    with pytest.raises(expected):
        decode(file_of(fill), LIMITS)


def test_a_mask_of_bools_is_refused_by_its_name():
    with pytest.raises(DataTypeMismatchError, match=r"CUTOUT .* send it as uint8"):
        decode(file_of(block(CUBE.astype(bool))), LIMITS)


def test_several_arrays_share_one_limit():
    def fill(file: h5py.File) -> None:
        for number in range(3):
            file[f"{number}/RESOLUTION"] = [0]
            file[f"{number}/VOXELS"] = np.ones((40_000, 3), np.uint32)

    with pytest.raises(PayloadTooLargeError):
        decode(file_of(fill), LIMITS)
    assert len(decode(file_of(fill), RamonLimits())) == 3


def test_datasets_that_lie_elsewhere_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x01" * 64)

    def external(file: h5py.File) -> None:
        file.create_dataset("1/METADATA/STATUS", (1,), "u4", external=[(str(secret), 0, 4)])

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((1,), "u4")
        layout[:] = h5py.VirtualSource(str(secret), "data", (1,))
        file.create_group("1/METADATA").create_virtual_dataset("STATUS", layout)

    for fill in (external, virtual):
        with pytest.raises(MalformedBodyError):
            decode(file_of(fill), LIMITS)


def test_damage_anywhere_is_an_answer():
    body = bytearray(encode([RamonItem(ramon) for ramon in FULL]))
    rng = np.random.default_rng(0)
    for _ in range(50):
        damaged = bytearray(body)
        for place in rng.integers(8, len(body), 8):
            damaged[place] = rng.integers(256)
        try:
            decode(bytes(damaged), LIMITS)
        except NDLambdaError:
            continue
    for size in range(0, len(body), 4999):
        with pytest.raises(MalformedBodyError):
            decode(bytes(body[:size]), LIMITS)


def test_formats_are_discovered():
    assert set(formats()) == {"csv", "hdf5", "json", "json-old"}
    with pytest.raises(NDLambdaError):
        get_format("xml")
