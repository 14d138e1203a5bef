"""Decodes pages of TIFF files by Pillow and its libtiff: where imagecodecs is not, and to verify.

Pillow shows an image rather than its samples: it inverts, scales, turns and mixes colours. Hence
only what is known to come out as stored is taken from it; a test compares both decoders over all
kinds of pages.
"""

from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.tiff_chain import FromPage

_RAW_MODES: Final = {
    "1": "|b1",
    "1;I": "|b1",
    "L": "|u1",
    "L;I": "|u1",
    "I;16": "<u2",
    "I;16B": ">u2",
    "I;16N": "=u2",
    "I;32S": "<i4",
    "F;32F": "<f4",
    "RGB": "|u1",
    "RGBA": "|u1",
    "RGBX": "|u1",
}
"""Pillow's ways of unpacking that change no sample, or invert it (``;I``), and their dtypes."""
_PREDICTED: Final = frozenset({1, 5, 8, 32946, 34925, 50000})
"""Compressions for which libtiff applies a predictor: LZW, deflate, LZMA and Zstd."""
_ORIENTATION: Final = 274


def decode_by_pillow(page: Any) -> NDArray[Any] | None:
    """Decode a tifffile page to its samples as stored; None if Pillow is not known to do so."""
    from PIL.TiffImagePlugin import TiffImageFile

    predicted = page.predictor != 1 and int(page.compression) not in _PREDICTED
    turned = page.tags.valueof(_ORIENTATION, 1) != 1
    misread = page.parent.is_bigtiff and page.parent.byteorder == ">"
    apart = page.axes == "SYX"  # planes of colours, which Pillow returns together
    sampled = page.photometric == 6 and int(page.compression) != 7
    if predicted or turned or misread or apart or sampled:
        return None
    try:
        file = cast(BinaryIO, FromPage(page.parent.filehandle, page.offset))
        image = TiffImageFile(file)
        raw_modes = {
            str(tile.args if isinstance(tile.args, str) else tile.args[0])
            for tile in image.tile
            if tile.args
        }
        samples = np.asarray(image)
    except (OSError, SyntaxError, LookupError, TypeError):
        return None
    if len(raw_modes) != 1:
        return None
    (raw_mode,) = raw_modes
    stored = np.dtype(_RAW_MODES.get(raw_mode, "V1"))
    # libtiff swaps bytes, Pillow then swaps those of 4-byte samples again.
    swapped = page.parent.byteorder == ">" and page.dtype.itemsize > 2
    if swapped or stored.newbyteorder("=") != page.dtype.newbyteorder("="):
        return None
    if samples.shape != page.shape:
        return None
    native = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    return np.invert(native) if raw_mode.endswith(";I") else native
