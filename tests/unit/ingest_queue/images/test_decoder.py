import io
import itertools
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from ingest_queue.images.decoder import SUFFIXES, image_header, open_image, read_image
from ndlambda.errors import (
    InvalidArgumentError,
    MalformedBodyError,
    NDLambdaError,
    PayloadTooLargeError,
    UnknownNameError,
)

MANY = 1 << 30
RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 255, (37, 41), dtype=np.uint8)
DEEP = RNG.integers(0, 65535, (37, 41), dtype=np.uint16)
RGB = RNG.integers(0, 255, (37, 41, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 255, (37, 41, 4), dtype=np.uint8)


def pillow(array, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(array, **options):
    buffer = io.BytesIO()
    colour = "rgb" if array.ndim == 3 else "minisblack"
    tifffile.imwrite(buffer, array, **{"photometric": colour} | options)
    return buffer.getvalue()


def pack(colours):
    alpha = colours[..., 3] if colours.shape[-1] == 4 else np.uint32(255)
    r, g, b = (colours[..., n].astype(np.uint32) for n in range(3))
    return r | g << 8 | b << 16 | np.uint32(alpha) << 24


def png(width, height, raw, depth=8, colour=0):
    """A PNG file made by hand around any stream of rows."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def single_ifd(planes):
    """What ImageJ writes above 4 GB: one page header, in front of all planes."""
    described = f"ImageJ=1.53t\nimages={planes}\nslices={planes}\n"
    return tiff(GREY, description=described, metadata=None) + GREY.tobytes() * (planes - 1)


LOSSLESS = {
    "grey.png": (pillow(GREY, "PNG"), GREY),
    "deep.png": (pillow(DEEP, "PNG"), DEEP),
    "rgb.png": (pillow(RGB, "PNG"), pack(RGB)),
    "rgba.png": (pillow(RGBA, "PNG"), pack(RGBA)),
    "bilevel.png": (pillow(GREY > 99, "PNG"), (GREY > 99) * np.uint8(255)),
    "libpng.png": (imagecodecs.png_encode(DEEP), DEEP),
    "rgb.webp": (pillow(RGB, "WEBP", lossless=True), pack(RGB)),
    "rgba.webp": (pillow(RGBA, "WEBP", lossless=True, exact=True), pack(RGBA)),
    "grey.jp2": (pillow(GREY, "JPEG2000"), GREY),
    "deep.jp2": (pillow(DEEP, "JPEG2000"), DEEP),
    "rgb.jp2": (pillow(RGB, "JPEG2000"), pack(RGB)),
    "rgba.jp2": (pillow(RGBA, "JPEG2000"), pack(RGBA)),
    "twelve.jp2": (
        imagecodecs.jpeg2k_encode(DEEP >> 4, bitspersample=12, reversible=True, level=0),
        DEEP >> 4,
    ),
    "stream.j2k": (imagecodecs.jpeg2k_encode(GREY, codecformat="j2k", reversible=True), GREY),
    "plain.tif": (tiff(GREY), GREY),
    "big.TIFF": (tiff(DEEP, bigtiff=True), DEEP),
    "swapped.tif": (tiff(DEEP, byteorder=">"), DEEP),
    "float.tif": (tiff(DEEP.astype(np.float32) / 7), DEEP.astype(np.float32) / 7),
    "labels.tif": (tiff(DEEP.astype(np.uint32) << 9), DEEP.astype(np.uint32) << 9),
    "wide.tif": (tiff(DEEP.astype(np.uint64) << 40), DEEP.astype(np.uint64) << 40),
    "deflate.tif": (tiff(DEEP, compression="zlib", predictor=True, rowsperstrip=5), DEEP),
    "lzw.tif": (tiff(DEEP, compression="lzw", predictor=True), DEEP),
    "packbits.tif": (tiff(GREY, compression="packbits"), GREY),
    "tiles.tif": (tiff(DEEP, tile=(16, 32), compression="zstd"), DEEP),
    "rgb.tif": (tiff(RGB, compression="zlib"), pack(RGB)),
    "planar.tif": (tiff(np.moveaxis(RGB, 2, 0), planarconfig="separate"), pack(RGB)),
    "rgba.tif": (tiff(RGBA), pack(RGBA)),
    "bilevel.tif": (tiff(GREY > 99), (GREY > 99) * np.uint8(255)),
}
LOSSY = {
    "grey.jpg": (pillow(GREY, "JPEG", quality=100), GREY.dtype, GREY.shape),
    "rgb.jpeg": (pillow(RGB, "JPEG"), np.dtype(np.uint32), GREY.shape),
    "rgb.webp": (pillow(RGB, "WEBP"), np.dtype(np.uint32), GREY.shape),
    "rgba.webp": (pillow(RGBA, "WEBP"), np.dtype(np.uint32), GREY.shape),
    "grey.jp2": (pillow(GREY, "JPEG2000", irreversible=True), GREY.dtype, GREY.shape),
    "jpeg.tif": (tiff(GREY, compression="jpeg"), GREY.dtype, GREY.shape),
    "jpeg_rgb.tif": (tiff(RGB, compression="jpeg"), np.dtype(np.uint32), GREY.shape),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_images_are_read_voxel_by_voxel(name):
    body, expected = LOSSLESS[name]
    header = image_header(body, name)
    plane = read_image(memoryview(body), name, expected.nbytes)
    assert (plane.shape, plane.dtype) == (header.shape_yx, header.dtype)
    assert plane.dtype == expected.dtype
    assert np.array_equal(plane, expected)
    assert open_image(io.BytesIO(body), name).lossy == name.startswith("bilevel")


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_images_are_read_and_known_as_such(name):
    body, dtype, shape = LOSSY[name]
    assert image_header(body, name) == (shape, dtype)
    plane = read_image(body, name, MANY)
    assert (plane.shape, plane.dtype) == (shape, dtype)
    assert open_image(io.BytesIO(body), name).lossy


def test_a_jpeg_of_good_quality_is_almost_what_it_was():
    body, _, _ = LOSSY["grey.jpg"]
    difference = read_image(body, "a.jpg", MANY).astype(int) - GREY
    assert np.abs(difference).max() < 8


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_of_few_bits_is_scaled_as_viewers_do_and_no_labels(depth):
    """Seen to fail: ids of labels came multiplied by 255, 85 or 17, and no word."""
    body = png(8, 1, b"\0" + bytes([0xFF] * depth), depth=depth)
    assert open_image(io.BytesIO(body), "a.png").lossy
    assert read_image(body, "a.png", MANY).tolist() == [[255] * 8]


def test_interlaced_png_is_read():
    adam7 = bytes.fromhex(  # 5x3 grey, rows 0..4, 5..9, 10..14, written pass by pass
        "0000"  # pass 1: x0
        "0004"  # pass 2: x4
        # pass 3 has no rows; pass 4: x2
        "0002"
        "000a0c0e"  # pass 5: row 2, x0 x2 x4
        "000103"  # pass 6: row 0, x1 x3
        "000b0d"  # pass 6: row 2, x1 x3
        "000506070809"  # pass 7: row 1
    )
    body = bytearray(png(5, 3, adam7))
    body[28] = 1
    body[29:33] = struct.pack(">I", zlib.crc32(bytes(body[12:29])))
    expected = np.arange(15, dtype=np.uint8).reshape(3, 5)
    assert np.array_equal(read_image(bytes(body), "a.png", MANY), expected)


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_png_that_ends_early_is_refused_where_pillow_gives_zeros(rows):
    """Seen to fail with the check of length taken out: nothing said how much there was.

    Pillow refuses what is written anew then, and streams that are cut off. Of one that ends
    properly after 1 or 9 rows, given to it as it is, it makes zeros of the others.
    """
    whole = b"".join(b"\0" + bytes([7]) * 10 for _ in range(10))
    assert read_image(png(10, 10, whole), "a.png", MANY).min() == 7
    with pytest.raises(MalformedBodyError, match=rf"a\.png.*ends after {11 * rows} of 110 bytes"):
        read_image(png(10, 10, whole[: 11 * rows]), "a.png", MANY)


def test_a_png_whose_rows_do_not_match_their_checksum_is_refused():
    rows = b"".join(b"\0" + bytes([7]) * 10 for _ in range(10))
    stream = zlib.compress(rows)
    damaged = png(10, 10, rows).replace(stream[-4:], bytes(byte ^ 1 for byte in stream[-4:]))
    with pytest.raises(MalformedBodyError, match=r"a\.png"):
        read_image(damaged, "a.png", MANY)


def test_what_follows_the_rows_of_a_png_is_left():
    rows = np.arange(110, dtype=np.uint8).reshape(10, 11)
    rows[:, 0] = 0  # no filter
    found = read_image(png(10, 4, rows.tobytes()), "a.png", MANY)
    assert np.array_equal(found, rows[:4, 1:])


def test_a_png_of_more_than_one_stored_block_is_read():
    deep = np.arange(300 * 200, dtype="<u2").reshape(300, 200)
    assert np.array_equal(read_image(pillow(deep, "PNG"), "a.png", MANY), deep)


@pytest.mark.parametrize("name", ["deflate.tif", "tiles.tif"])
def test_a_tiff_without_some_of_its_strips_is_refused_where_tifffile_gives_zeros(name):
    """Seen to fail with the check of segments taken out: the strip came out as zeros."""
    body, _ = LOSSLESS[name]
    buffer = io.BytesIO(body)
    with tifffile.TiffFile(buffer) as file:
        tag = "TileByteCounts" if "tiles" in name else "StripByteCounts"
        counts = file.pages[0].tags[tag]
        at, width = counts.valueoffset, {3: 2, 4: 4, 16: 8}[counts.dtype.value]
    changed = bytearray(body)
    changed[at : at + width] = bytes(width)
    with pytest.raises(MalformedBodyError, match="strip or tile"):
        read_image(bytes(changed), name, MANY)


@pytest.mark.parametrize("name", [*LOSSLESS, *(f"lossy {name}" for name in LOSSY)])
def test_every_image_cut_short_is_refused(name):
    body = LOSSY[name[6:]][0] if name.startswith("lossy ") else LOSSLESS[name][0]
    for length in (0, 1, 10, 40, len(body) // 2, len(body) - 30):
        with pytest.raises(MalformedBodyError, match="cannot be read"):
            read_image(body[:length], name, MANY)


@pytest.mark.parametrize("name", LOSSLESS)
def test_changed_bytes_give_an_error_of_ours_or_a_plane_as_the_header_says(name):
    body, _ = LOSSLESS[name]
    dice = random.Random(name)
    for _ in range(40):
        changed = bytearray(body)
        for _ in range(dice.randint(1, 6)):
            changed[dice.randrange(min(len(body), dice.choice([60, 300, len(body)])))] = (
                dice.randrange(256)
            )
        try:
            plane = read_image(bytes(changed), name, 1 << 22)
        except NDLambdaError:
            continue
        assert (plane.shape, plane.dtype) == image_header(bytes(changed), name)
        assert plane.nbytes <= 1 << 22


def bombs():
    wide = 30_000
    yield "png", png(wide, wide, b"\0" * 100), "a.png"
    sof = LOSSY["grey.jpg"][0]
    at = sof.index(b"\xff\xc0") + 5
    yield "jpeg", sof[:at] + struct.pack(">HH", wide, wide) + sof[at + 4 :], "a.jpg"
    vp8 = bytearray(LOSSY["rgb.webp"][0])
    at = vp8.index(b"\x9d\x01\x2a") + 3
    vp8[at : at + 4] = struct.pack("<HH", 16383, 16383)
    yield "webp", bytes(vp8), "a.webp"
    jp2 = bytearray(LOSSLESS["stream.j2k"][0])
    jp2[8:16] = struct.pack(">II", wide, wide)
    yield "jpeg 2000", bytes(jp2), "a.j2k"
    buffer = io.BytesIO(tiff(GREY, compression="zlib"))
    with tifffile.TiffFile(buffer) as file:
        places = [file.pages[0].tags[tag].valueoffset for tag in ("ImageWidth", "ImageLength")]
    bomb = bytearray(buffer.getvalue())
    for at in places:
        bomb[at : at + 2] = struct.pack("<H", wide)
    yield "tiff", bytes(bomb), "a.tif"


@pytest.mark.parametrize(
    ("kind", "body", "name"), list(bombs()), ids=["png", "jpeg", "webp", "jp2", "tiff"]
)
def test_images_larger_than_the_limit_are_refused_before_anything_is_allocated(kind, body, name):
    """Seen to fail with the comparison taken out: hundreds of megabytes, or other errors."""
    read_image(LOSSLESS["grey.png"][0], "warm.png", MANY)
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLargeError, match="at most 1000000 are read") as caught:
            read_image(body, name, 1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.details["limit"] == 1_000_000
    assert peak < 5_000_000


def test_a_tile_far_larger_than_its_image_is_refused():
    body = tiff(GREY, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(io.BytesIO(body)) as file:
        places = [file.pages[0].tags[tag].valueoffset for tag in ("TileWidth", "TileLength")]
    bomb = bytearray(body)
    for at in places:
        bomb[at : at + 2] = struct.pack("<H", 60_000)
    with pytest.raises(MalformedBodyError, match="one tile of"):
        read_image(bytes(bomb), "a.tif", MANY)


@pytest.mark.parametrize(
    ("body", "name", "reason"),
    [
        (pillow(np.zeros((4, 4, 2), np.uint8), "PNG"), "a.png", "mode LA"),
        (png(4, 4, bytes(100), depth=16, colour=2), "a.png", "16 bits a colour"),
        (tiff(RGB.astype(np.uint16)), "a.tif", "8 bits a colour"),
        (tiff(RGBA, photometric="separated"), "a.tif", "as SEPARATED"),
        (tiff(RGB, photometric="ycbcr"), "a.tif", "as YCBCR"),
        (tiff(np.stack([GREY, GREY]), photometric="minisblack"), "a.tif", "2 planes"),
        (tiff(np.stack([DEEP] * 3), imagej=True, photometric="minisblack"), "a.tif", "3 planes"),
        (single_ifd(3), "a.tif", "3 planes"),
        (
            tiff(GREY, photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
            "a.tif",
            "palette",
        ),
    ],
)
def test_pixels_that_are_no_voxels_are_refused_with_the_reason(body, name, reason):
    with pytest.raises(InvalidArgumentError, match=reason):
        read_image(body, name, MANY)


def test_other_modes_and_animations_are_refused():
    for mode, kind in (("P", "PNG"), ("CMYK", "JPEG")):
        buffer = io.BytesIO()
        Image.new(mode, (4, 4)).save(buffer, kind)
        with pytest.raises(InvalidArgumentError, match=f"mode {mode}"):
            read_image(buffer.getvalue(), f"a.{kind.lower()}", MANY)
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), (n, 0, 0)) for n in range(3)]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(InvalidArgumentError, match="animation"):
        read_image(buffer.getvalue(), "a.webp", MANY)


def test_unknown_suffixes_list_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"\.png"):
        read_image(b"x", "a.gif", MANY)
    assert {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".jp2"} <= set(SUFFIXES)


def test_compressed_tiff_is_read_without_imagecodecs_or_says_what_is_missing(tmp_path):
    """On Lambda there is Pillow's libtiff, and no imagecodecs."""
    samples = {
        "lzw": tiff(DEEP, compression="lzw", predictor=True),
        "zlib": tiff(DEEP, compression="zlib"),
        "float": tiff(DEEP.astype(np.float32), compression="lzw"),
        "rgb": tiff(RGB, compression="lzw"),
    }
    for name, body in samples.items():
        (tmp_path / f"{name}.tif").write_bytes(body)
    (tmp_path / "wide.tif").write_bytes(tiff(DEEP.astype(np.uint64), compression="lzw"))
    (tmp_path / "twelve.jp2").write_bytes(LOSSLESS["twelve.jp2"][0])
    code = """
import sys
sys.modules["imagecodecs"] = None
from pathlib import Path
from ingest_queue.images.decoder import read_image
from ndlambda.errors import InvalidArgumentError
import numpy as np
folder = Path(sys.argv[1])
for name in ("lzw", "zlib", "float", "rgb"):
    np.save(folder / name, read_image((folder / f"{name}.tif").read_bytes(), "a.tif", 1 << 20))
for name in ("wide.tif", "twelve.jp2"):
    try:
        read_image((folder / name).read_bytes(), name, 1 << 20)
    except InvalidArgumentError as error:
        assert "pip install 'ndlambda[ingest]'" in error.message, error
    else:
        raise SystemExit(name)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    for name, expected in {"lzw": DEEP, "zlib": DEEP, "float": DEEP, "rgb": pack(RGB)}.items():
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), expected)


def tiff_pages():
    """Pages of all kinds that both tifffile's options and Pillow's libtiff may take differently."""
    planes = {
        "bilevel": GREY > 99,
        "u1": GREY,
        "u2": DEEP,
        "i2": DEEP.astype(np.int16),
        "i4": DEEP.astype(np.int32) << 12,
        "f4": DEEP.astype(np.float32) / 7,
    }
    for compression in (None, "zlib", "lzw", "packbits", "zstd", "lzma", "jpeg"):
        for (kind, plane), photometric, order, predictor, tile in itertools.product(
            planes.items(), ("minisblack", "miniswhite"), "<>", (False, True), (None, (16, 16))
        ):
            options = {"photometric": photometric, "byteorder": order, "predictor": predictor}
            yield f"{kind} {options} {tile}", plane, options | {"tile": tile}, compression
        for photometric, planar, predictor, tile in itertools.product(
            ("rgb", "ycbcr"), ("contig", "separate"), (False, True), (None, (16, 16))
        ):
            options = {"photometric": photometric, "planarconfig": planar, "predictor": predictor}
            for name, colours in (("", RGB), (" square", RGB[:3, :3])):
                stored = colours if planar == "contig" else np.moveaxis(colours, 2, 0)
                given = options | {"tile": tile}
                yield f"{given}{name}", np.ascontiguousarray(stored), given, compression
    for bits in (2, 4, 12):
        for photometric in ("minisblack", "miniswhite"):
            options = {"photometric": photometric, "bitspersample": bits}
            dtype = np.uint8 if bits < 8 else np.uint16
            yield f"{options}", (DEEP & (1 << bits) - 1).astype(dtype), options, None
    for turned in (3, 6):
        yield f"turned {turned}", GREY, {"extratags": [(274, "H", 1, turned, True)]}, "lzw"


def read_or_reason(body):
    try:
        return read_image(body, "a.tif", 1 << 20)
    except InvalidArgumentError as error:
        return error.message


def test_tiff_is_decoded_alike_with_and_without_imagecodecs_or_refused(tmp_path):
    """Seen to fail where Pillow decoded whatever had the right mode.

    Bilevel and 8-bit greys of ``miniswhite`` came inverted, 4-byte samples of big-endian files with
    their bytes swapped, predicted PackBits as noise, YCbCr with its samples mixed, turned pages
    turned. Samples of few bits were called damaged.
    """
    bodies = {}
    for name, plane, options, compression in tiff_pages():
        with suppress(ValueError, TypeError, NotImplementedError, RuntimeError, KeyError):
            bodies[f"{name} {compression}"] = tiff(plane, compression=compression, **options)
    assert len(bodies) > 150
    (tmp_path / "bodies").write_bytes(pickle.dumps(bodies))
    code = """
import pickle, sys
sys.modules["imagecodecs"] = None
from pathlib import Path
from ingest_queue.images.decoder import read_image
from ndlambda.errors import InvalidArgumentError
folder, found = Path(sys.argv[1]), {}
for name, body in pickle.loads((folder / "bodies").read_bytes()).items():
    try:
        found[name] = read_image(body, "a.tif", 1 << 20)
    except InvalidArgumentError as error:
        found[name] = error.message
(folder / "found").write_bytes(pickle.dumps(found))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    found = pickle.loads((tmp_path / "found").read_bytes())
    compared = 0
    for name, body in bodies.items():
        if isinstance(found[name], str) and "needs imagecodecs" in found[name]:
            continue
        assert np.array_equal(found[name], read_or_reason(body)), name
        compared += not isinstance(found[name], str)
    assert compared > 100
