"""What programs write with layouts of all kinds is read as it was written, or refused."""

import json
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest_queue.sources import open_source, second_reading
from ndlambda.errors import InvalidArgumentError
from tests.support.stacks import stack

PLANES = np.random.default_rng(3).integers(1, 60_000, (12, 16, 20), dtype=np.uint16)
PAGES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["plane"] * 8 + ["odd", "preview"]),
        "compression": st.sampled_from([None, None, "zlib", "lzw"]),
        "photometric": st.sampled_from(["minisblack", "minisblack", "miniswhite"]),
        "rowsperstrip": st.sampled_from([None, 5]),
        "subifd": st.booleans(),
    }
)


def page_of(kind: str) -> dict[str, Any]:
    """Return a page as ``PAGES`` has them."""
    facts = {"compression": None, "photometric": "minisblack", "rowsperstrip": None}
    return {"kind": kind, "subifd": False, **facts}


@settings(deadline=None, max_examples=60)
@given(
    pages=st.lists(PAGES, min_size=1, max_size=8),
    described=st.booleans(),
    bigtiff=st.booleans(),
    byteorder=st.sampled_from("<>"),
)
@example(  # of which tifffile compares others, and takes all for alike
    pages=[page_of("odd" if number == 6 else "plane") for number in range(8)],
    described=False,
    bigtiff=False,
    byteorder="<",
)
def test_every_page_of_a_tiff_is_read_or_named(pages, described, bigtiff, byteorder):
    """Seen to fail where the first series of tifffile was taken for the file."""
    kinds = {"plane": [], "odd": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
            for plane, given_page in zip(PLANES, pages, strict=False):
                page = dict(given_page)
                kind, subifd = page.pop("kind"), page.pop("subifd")
                voxels = plane[::3, ::3].copy() if kind in {"odd", "preview"} else plane
                if kind in kinds:
                    kinds[kind].append(voxels)
                flag = int(kind == "preview")
                more = {"metadata": {} if described else None, "subifds": int(subifd)}
                file.write(voxels, contiguous=False, subfiletype=flag, **page, **more)
                if subifd:
                    file.write(voxels[::2, ::2].copy(), subfiletype=1, metadata=more["metadata"])
        expected = [np.stack(found) for found in kinds.values() if found]
        if len(expected) == 1 and len(kinds["odd"]) == 0:
            source = open_source(path)
            assert np.array_equal(stack(source)[0], expected[0])
            assert np.array_equal(stack(second_reading(source))[0], expected[0])
            return
        if len(expected) == 2:
            with pytest.raises(InvalidArgumentError, match=":0 pages"):
                open_source(path)
            found = {stack(open_source(f"{path}:{n}"))[0].tobytes() for n in range(2)}
            assert found == {voxels.tobytes() for voxels in expected}


@settings(deadline=None, max_examples=25)
@given(
    zarr_format=st.sampled_from([2, 3]),
    chunks=st.tuples(*[st.integers(4, 20)] * 3),
    separator=st.sampled_from("./"),
    forgotten=st.booleans(),
    absent=st.booleans(),
)
def test_every_chunk_of_a_zarr_is_found(zarr_format, chunks, separator, forgotten, absent):
    voxels = PLANES[:5]
    name = "v2" if zarr_format == 2 else "default"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zarr"
        stored = zarr.create_array(
            path,
            shape=voxels.shape,
            dtype=voxels.dtype,
            chunks=chunks,
            zarr_format=zarr_format,
            chunk_key_encoding={"name": name, "separator": separator},
        )
        stored[...] = 0 if absent else voxels
        if forgotten and zarr_format == 2:
            metadata = json.loads((path / ".zarray").read_text())
            metadata.pop("dimension_separator")
            (path / ".zarray").write_text(json.dumps(metadata))
        if absent:
            with pytest.raises(InvalidArgumentError, match="none of its chunks"):
                open_source(path)
        else:
            assert np.array_equal(stack(open_source(path))[0], voxels)


@settings(deadline=None, max_examples=25)
@given(
    chunks=st.none() | st.tuples(*[st.integers(1, 5)] * 3),
    compression=st.sampled_from([None, "gzip", "lzf"]),
    order=st.permutations("zyx"),
    padded=st.booleans(),
)
def test_every_layout_of_an_hdf5_dataset_is_read(chunks, compression, order, padded):
    voxels = PLANES[:5]
    turned = voxels.transpose(["zyx".index(axis) for axis in order])
    if padded:
        order, turned = "zyx", np.pad(voxels, ((0, 3), (0, 1), (0, 7)), constant_values=9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        with h5py.File(path, "w") as file:
            options = {"compression": compression} if chunks else {}
            raw = file.create_dataset("a/raw", data=turned, chunks=chunks, **options)
            for dimension, axis in zip(raw.dims, order, strict=True):
                dimension.label = axis
            for axis, size in zip("ZYX", voxels.shape, strict=True):
                if padded:
                    file["a"].attrs[f"ImageSize{axis}"] = size
        assert np.array_equal(stack(open_source(path))[0], voxels)
