import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from ingest_queue.build.parts import PartReader
from ingest_queue.jobs.chunk_state import Part
from ingest_queue.jobs.grid import Chunk
from ndlambda.errors import DataTypeMismatchError
from ndlambda.local.synthetic import em_stack
from ndlambda.model.catalog import Channel
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.space.box import Box
from ndlambda.stores.disk import DiskObjectStore
from ndlambda.stores.ports import Overwrite

COLOURS = np.random.default_rng(3).integers(0, 255, (8, 9, 4), dtype=np.uint8)


def test_signed_labels_are_read_where_every_one_fits(tmp_path):
    """Seen to fail: dropped slices of int32 were refused, whatever their values."""
    drop = DiskObjectStore(tmp_path, fsync=False)
    chunk = Chunk(0, 0, Box.at((0, 0, 0), (9, 8, 1)), range(1))
    reader = PartReader(drop, Channel("p", "c", ChannelType.ANNOTATION, DataType.UINT32), chunk)
    labels = np.arange(72, dtype=np.int32).reshape(8, 9)
    for name, least in (("fine", 0), ("negative", -1)):
        labels[0, 0] = least
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, labels, photometric="minisblack")
        key = f"drop/t/c/{name}.tif"
        part = Part(0, key, drop.put(key, buffer.getvalue(), Overwrite()))
        if least < 0:
            with pytest.raises(DataTypeMismatchError, match=r"negative\.tif has the value -1"):
                reader.plane(part)
        else:
            plane = reader.plane(part)
            assert (plane.dtype, np.array_equal(plane, labels)) == (np.uint32, True)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("kind", [ChannelType.IMAGE, ChannelType.ANNOTATION])
def test_slices_of_labels_must_not_be_lossy(tmp_path, lossless, kind):
    """Seen to fail with the look at ``lossy`` taken out: other labels were read."""
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, "WEBP", lossless=lossless, exact=True)
    drop = DiskObjectStore(tmp_path, fsync=False)
    etag = drop.put("drop/t/c/0000.webp", buffer.getvalue(), Overwrite())
    chunk = Chunk(0, 0, Box.at((0, 0, 0), (9, 8, 1)), range(1))
    reader = PartReader(drop, Channel("p", "c", kind, DataType.UINT32), chunk)
    part = Part(0, "drop/t/c/0000.webp", etag)
    if kind is ChannelType.ANNOTATION and not lossless:
        with pytest.raises(DataTypeMismatchError, match="lossy"):
            reader.plane(part)
    else:
        plane = reader.plane(part)
        assert np.array_equal(plane, COLOURS.view("<u4")[..., 0]) == lossless


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("kind", [ChannelType.IMAGE, ChannelType.ANNOTATION])
def test_a_slice_of_grey_values_is_stored_as_labels_only_if_that_is_said(tmp_path, said, kind):
    """Seen to fail: it was stored as labels without a word."""
    buffer = io.BytesIO()
    grey = em_stack((1, 256, 300))[0]
    Image.fromarray(grey).save(buffer, "PNG")
    drop = DiskObjectStore(tmp_path, fsync=False)
    part = Part(0, "drop/t/c/0.png", drop.put("drop/t/c/0.png", buffer.getvalue(), Overwrite()))
    dtype = DataType.UINT32 if kind is ChannelType.ANNOTATION else DataType.UINT8
    chunk = Chunk(0, 0, Box.at((0, 0, 0), (300, 256, 1)), range(1))
    reader = PartReader(drop, Channel("p", "c", kind, dtype), chunk, labels=said)
    if kind is ChannelType.ANNOTATION and not said:
        with pytest.raises(DataTypeMismatchError, match='"labels": true'):
            reader.plane(part)
    else:
        assert np.array_equal(reader.plane(part), grey)
