"""TIFF files as programs write them: whole stacks, and such in which pages would be left out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

STACK = np.random.default_rng(3).integers(1, 60_000, (6, 20, 24), dtype=np.uint16)
PREVIEW = STACK[0, ::3, ::3].copy()


def write(
    path: Path, planes: Sequence[Any], options: Sequence[Mapping[str, Any]] = ({},), **more: Any
) -> None:
    """Write planes page by page, each with its own options, as programs that append do."""
    with tifffile.TiffWriter(path, bigtiff=more.pop("bigtiff", False)) as file:
        for n, plane in enumerate(planes):
            each = {"metadata": None} | more | options[n * len(options) // len(planes)]
            file.write(plane, contiguous=False, photometric=each.pop("photometric", 1), **each)


def with_subifds(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        for plane in STACK:
            file.write(plane, subifds=1, metadata=None, photometric=1)
            file.write(plane[::2, ::2].copy(), subfiletype=1, metadata=None, photometric=1)


def imagej(path: Path, tags: Mapping[int, float] | None = None) -> None:
    """As ImageJ writes; without a scale there are no tags of resolution."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[270] = "ImageJ=1.53t\nimages=6\nslices=6\nloop=false\n"
    for tag, value in (tags or {}).items():
        info[tag] = value
    first, *rest = [Image.fromarray(plane) for plane in STACK]
    first.save(path, save_all=True, append_images=rest, tiffinfo=info)


def one_header(path: Path, planes: int = 6) -> None:
    """As ImageJ writes above 4 GB: one page header, in front of all planes."""
    description = "ImageJ=1.53t\nimages=6\nslices=6\n"
    tifffile.imwrite(path, STACK[0], description=description, metadata=None, photometric=1)
    with path.open("ab") as file:
        file.write(STACK[1:planes].tobytes())


DEFLATED: Sequence[Mapping[str, Any]] = ({}, {"compression": "zlib"})
WHOLE: dict[str, Callable[[Path], None]] = {
    "equal pages": lambda path: write(path, STACK),
    "pages of a program that names axes": lambda path: write(
        path, STACK, compression="zlib", metadata={}
    ),
    "appended with another compression": lambda path: write(path, STACK, DEFLATED),
    "appended with other strips": lambda path: write(path, STACK, ({}, {"rowsperstrip": 7})),
    "appended with another photometric": lambda path: write(path, STACK, ({}, {"photometric": 0})),
    "appended in a BigTIFF": lambda path: write(path, STACK, DEFLATED, bigtiff=True),
    "a preview that says so": lambda path: write(
        path, [PREVIEW, *STACK], [{"subfiletype": 1}, *[{}] * 6]
    ),
    "SubIFDs": with_subifds,
    "BigTIFF": lambda path: write(path, STACK, bigtiff=True),
    "LZW": lambda path: write(path, STACK, compression="lzw"),
    "ImageJ without a scale": imagej,
    "ImageJ with a scale": lambda path: imagej(path, {282: 4.0, 283: 4.0}),
    "ImageJ with one header": one_header,
}

LEFT_OVER: dict[str, tuple[list[NDArray[Any]], str]] = {
    "preview first": ([PREVIEW, *STACK], r":0 pages 0 \(8x7 uint16\), :1 pages 1-6 \(24x20 uint16"),
    "odd page in the middle": ([*STACK[:3], PREVIEW, *STACK[3:]], ":0 pages 0-2, 4-6 .*:1 pages 3"),
    "other dtype": ([*STACK, STACK[0].astype(np.uint8)], r":1 pages 6 \(24x20 uint8\)"),
}


def ome(path: Path, files: Sequence[str], pages: int = 3, images: int = 1) -> str:
    """An OME-TIFF file of planes; its XML may name other files for some of them."""
    data = "".join(
        f'<TiffData FirstZ="{n * pages}" FirstT="0" FirstC="0" IFD="0" PlaneCount="{pages}">'
        f'<UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for n, name in enumerate(files)
    )
    image = (
        '<Image ID="Image:{}"><Pixels ID="P" DimensionOrder="XYZCT" Type="uint16" SizeX="24" '
        f'SizeY="20" SizeZ="{pages * len(files)}" SizeC="1" SizeT="1" PhysicalSizeX=\'40\' '
        'PhysicalSizeXUnit="nm" PhysicalSizeY="40" PhysicalSizeYUnit="&#110;m">'
        '<Channel ID="C" SamplesPerPixel="1"/>{}</Pixels></Image>'
    )
    content = image.format(0, data)
    for n in range(1, images):
        content += image.format(n, f'<TiffData FirstZ="0" IFD="{pages * n}" PlaneCount="{pages}"/>')
    return wrapped(content, path.name)


def wrapped(content: str, name: str, before: str = "") -> str:
    return (
        f'{before}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="urn:uuid:{name}">{content}</OME>'
    )


def write_described(path: Path, planes: Sequence[Any], xml: str) -> None:
    write(
        path,
        planes,
        [{"description": xml.encode()}, *[{"compression": "zlib"}] * 100][: len(planes)],
    )
