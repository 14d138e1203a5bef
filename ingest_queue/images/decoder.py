"""Decodes image files of one plane to arrays.

Pillow reads PNG, JPEG, WebP and JPEG 2000, tifffile reads TIFF. imagecodecs (80 MB unpacked, too
much for a Lambda) is needed only for what neither can: see :mod:`ingest_queue.images.jpeg2000` and
:mod:`ingest_queue.images.tiff`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images import jpeg2000, png, webp
from ingest_queue.images.colours import as_voxels, packed
from ingest_queue.images.damage import needing, reading
from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError, UnknownNameError

_COLOUR: Final = np.dtype("<u4")
_DTYPES: Final[dict[str, np.dtype]] = {
    "1": np.dtype(np.uint8),
    "L": np.dtype(np.uint8),
    "I;16": np.dtype("<u2"),
    "I;16B": np.dtype("<u2"),
    "I": np.dtype("<u2"),  # Pillow's other mode of 16-bit grey PNG
    "RGB": _COLOUR,
    "RGBA": _COLOUR,
}
"""Voxel dtypes of Pillow's modes; palettes, grey with alpha and CMYK are not read."""


class Header(NamedTuple):
    """Shape and dtype of an image, read from its header."""

    shape_yx: tuple[int, int]
    dtype: np.dtype

    @property
    def size_bytes(self) -> int:
        """Size of the decoded plane."""
        return self.shape_yx[0] * self.shape_yx[1] * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class OpenImage:
    """An image of which only the header has been read.

    Attributes
    ----------
    header
        Shape (y, x) and dtype of the decoded plane.
    lossy
        Whether voxels are not those that were saved, which corrupts labels: the format may have
        changed them, or samples of a few bits are shown as 0 to 255. A lossless JPEG 2000
        truncated by its writer cannot be told from a complete one.
    decode
        Returns the plane; raises whatever the decoder does.
    decode_again
        Likewise by another way, to verify by; None if there is none.
    """

    header: Header
    lossy: bool
    decode: Callable[[], NDArray[np.generic]]
    decode_again: Callable[[], NDArray[np.generic]] | None = None


def read_image(body: bytes | memoryview, name: str, limit_bytes: int) -> NDArray[np.generic]:
    """Decode one plane (y, x), little endian; colour is one uint32 a voxel, R the low byte.

    Bilevel images are 0 and 255. Grey values of a TIFF are returned as stored, whatever its
    photometric interpretation.

    Parameters
    ----------
    body, name
        Content of an image file, and its name, whose suffix selects the format.
    limit_bytes
        Bound on the decoded plane, checked before anything is decoded.

    Raises
    ------
    UnknownNameError
        The format is unknown.
    MalformedBodyError
        The file is damaged.
    InvalidArgumentError
        The pixel format is not supported: a palette, CMYK, 16-bit colours, several pages.
    PayloadTooLargeError
        The image is larger than the limit.
    """
    return read_plane(io.BytesIO(body), name, limit_bytes)


def read_plane(
    file: BinaryIO, where: str, limit_bytes: int | None = None, *, again: bool = False
) -> NDArray[np.generic]:
    """Decode the image in a file; see :func:`read_image`.

    Parameters
    ----------
    where
        Name or path, for its suffix and for messages.
    limit_bytes
        None trusts the header.
    again
        Whether to decode by another way than at first, where there is one.
    """
    image = open_image(file, where)
    if again and image.decode_again is not None:
        image = replace(image, decode=image.decode_again)
    header = image.header
    if limit_bytes is not None and header.size_bytes > limit_bytes:
        height, width = header.shape_yx
        raise PayloadTooLargeError(
            f"{where} is {width}x{height} voxels of {header.dtype.name}, {header.size_bytes} "
            f"bytes; at most {limit_bytes} are read.",
            limit=limit_bytes,
        )
    return decode(image, where)


def decode(image: OpenImage, where: str) -> NDArray[np.generic]:
    """Return the plane (y, x) of an opened image; see :func:`read_image`.

    Raises
    ------
    MalformedBodyError
        The file is damaged.
    """
    with reading(where):
        plane, header = image.decode(), image.header
        if plane.shape != header.shape_yx:
            message = f"{plane.shape} pixels (y, x) behind a header of {header.shape_yx}"
            raise ValueError(message)
        return np.ascontiguousarray(plane, header.dtype)


def image_header(body: bytes | memoryview, name: str) -> Header:
    """Return the shape (y, x) and dtype that :func:`read_image` returns; decodes nothing.

    Raises
    ------
    UnknownNameError, MalformedBodyError, InvalidArgumentError
        As :func:`read_image`.
    """
    return open_image(io.BytesIO(body), name).header


def open_image(file: BinaryIO, where: str) -> OpenImage:
    """Read the header of an image; ``file`` must stay open until it is decoded.

    Raises
    ------
    UnknownNameError, MalformedBodyError, InvalidArgumentError
        As :func:`read_image`.
    """
    suffix = PurePath(where).suffix.lower()
    if suffix not in _OPENERS:
        raise UnknownNameError("image format", suffix, SUFFIXES)
    with needing("Pillow and tifffile", "Reading images"), reading(where):
        image = _OPENERS[suffix](file, where)
    if 0 in image.header.shape_yx:
        raise InvalidArgumentError(f"{where} has no pixels.")
    return image


def _open_png(file: BinaryIO, where: str) -> OpenImage:
    from PIL.PngImagePlugin import PngImageFile

    layout = png.read_layout(file, where)
    # Not Image.open: its guard against huge images refuses electron-microscopy slices.
    image = PngImageFile(file)

    def decode() -> NDArray[np.generic]:
        return _pixels(np.asarray(PngImageFile(png.inflated(file, layout))))

    header = _header(image.mode, image.size, where)
    return OpenImage(header, layout.is_scaled, decode, lambda: _pixels(np.asarray(image)))


def _open_jpeg(file: BinaryIO, where: str) -> OpenImage:
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(file)
    header = _header(image.mode, image.size, where)
    return OpenImage(header, lossy=True, decode=lambda: _pixels(np.asarray(image)))


def _open_webp(file: BinaryIO, where: str) -> OpenImage:
    found = webp.read_header(file, where)

    def decode() -> NDArray[np.generic]:
        from PIL.WebPImagePlugin import WebPImageFile

        # Opening allocates the whole canvas, so it must follow the check of the header.
        file.seek(0)
        return _pixels(np.asarray(WebPImageFile(file)))

    return OpenImage(Header(found.shape_yx, _COLOUR), found.lossy, decode)


def _open_jpeg2000(file: BinaryIO, where: str) -> OpenImage:
    found = jpeg2000.read_header(file, where)
    header = Header(found.shape_yx, found.dtype)
    return OpenImage(header, found.lossy, lambda: _pixels(jpeg2000.decode(file, found, where)))


def _open_tiff(file: BinaryIO, where: str) -> OpenImage:
    import tifffile

    from ingest_queue.images import tiff

    with tifffile.TiffFile(file) as image:
        facts, count = tiff.describe(image.pages[0], where), tiff.count_planes(image, file)
    if count != 1:
        raise InvalidArgumentError(
            f"{where} has {count} planes; a slice is one (a multi-page file can be put by itself)."
        )

    def decode_by(way: Callable[[Any, str], NDArray[np.generic]]) -> NDArray[np.generic]:
        file.seek(0)
        with tifffile.TiffFile(file) as opened:
            return way(opened.pages[0], where)

    return OpenImage(
        Header(facts.shape_yx, facts.dtype),
        facts.lossy,
        partial(decode_by, tiff.decode),
        partial(decode_by, tiff.decode_again),
    )


def _header(mode: str, size_xy: tuple[int, int], where: str) -> Header:
    if mode not in _DTYPES:
        raise InvalidArgumentError(
            f"{where} is neither a grey nor an RGB image (mode {mode}); convert it to one of them."
        )
    return Header((size_xy[1], size_xy[0]), _DTYPES[mode])


def _pixels(samples: NDArray[np.generic]) -> NDArray[np.generic]:
    return packed(samples.astype(np.uint8)) if samples.ndim == 3 else as_voxels(samples)


_OPENERS: Final[dict[str, Callable[[BinaryIO, str], OpenImage]]] = {
    ".png": _open_png,
    ".tif": _open_tiff,
    ".tiff": _open_tiff,
    ".jpg": _open_jpeg,
    ".jpeg": _open_jpeg,
    ".webp": _open_webp,
    ".jp2": _open_jpeg2000,
    ".j2k": _open_jpeg2000,
}

SUFFIXES: Final = tuple(_OPENERS)
"""Suffixes of image files."""
