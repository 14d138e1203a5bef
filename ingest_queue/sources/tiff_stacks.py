"""Finds the stacks in a TIFF file, and proves that no page is left out of the one that is read.

tifffile sorts pages into series by how they are stored: a stack that two programs have written, or
one behind a preview, is several series. Here pages of one size and dtype are one stack, unless the
file itself describes its axes; the pages are counted without tifffile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ingest_queue.images import tiff
from ingest_queue.images.tiff_chain import page_offsets
from ndlambda.batches import ranges_text
from ndlambda.errors import InvalidArgumentError

_MAX_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class PageStack:
    """Pages that can be read as one volume.

    Attributes
    ----------
    text
        For messages.
    series
        tifffile's series, which knows its axes; None for planes in the order of the file.
    offsets, header
        Of these planes: where each page begins, and its size and dtype.
    """

    text: str
    series: Any = None
    offsets: tuple[int, ...] = ()
    header: tiff.PageHeader | None = None


def find_stack(where: str, file: Any, chosen: str) -> PageStack:
    """Return the stack of an open file: its only one, or the one of the chosen number.

    Raises
    ------
    ValueError
        The list of pages is broken, or lacks pages that the file declares.
    InvalidArgumentError
        Pages would be left out: there are several stacks; none of this number.
    """
    chain = _chain(file.filehandle.path)
    every = _series_of(file)
    if not chosen:
        _check_declared(file, every, len(chain))
    left: dict[Path, list[int]] = {}
    if not chosen and every:
        series = next((each for each in every if not each.keyframe.is_reduced), every[0])
        left = _left_out(series, Path(file.filehandle.path), chain)
        if not left:
            return PageStack("", series)
    plain = _is_plain(every)
    stacks = _by_kind(where, file, chain) if plain else _declared(every)
    if chosen:
        if not chosen.isdigit() or int(chosen) >= len(stacks):
            raise InvalidArgumentError(f"{where}: there are {_listed(stacks)}.")
        return stacks[int(chosen)]
    if plain and len(stacks) == 1:
        return stacks[0]
    what = "pages of several kinds, which are not one stack"
    if not plain:
        rest = "; ".join(
            f"pages {ranges_text(pages, _MAX_LISTED)} of {path.name}"
            for path, pages in left.items()
        )
        what = f"more than its first stack ({rest})"
    raise InvalidArgumentError(
        f"{where} has {what}: {_listed(stacks)}. Name one, as in {where}:0, or save the stack "
        "alone."
    )


def page_at(file: Any, offset: int) -> Any:
    """Return the tifffile page at an offset.

    Pages are not asked for by number: that reads all headers before, and levels have no numbers.
    """
    import tifffile

    file.filehandle.seek(offset)
    return tifffile.TiffPage(file, 0)


def _chain(path: str) -> list[int]:
    with Path(path).open("rb") as opened:
        return page_offsets(opened)


def _series_of(file: Any) -> Sequence[Any]:
    """Return tifffile's series, none if it took pages for alike that are not.

    It compares a few of the pages of a file that describes nothing.
    """
    try:
        return list(file.series)
    except RuntimeError:
        return ()


def _check_declared(file: Any, every: Sequence[Any], pages: int) -> None:
    """Check that tifffile could follow what the file says of itself; else it forgets it."""
    undescribed = not every or every[0].kind in {"generic", "uniform"}
    if undescribed and file.is_ome and pages > 1:
        message = "its OME-XML does not describe its pages"
        raise ValueError(message)
    images = (file.imagej_metadata or {}).get("images", 1) if undescribed else 1
    if images > pages:
        message = f"it declares {images} images and holds {pages}: it is cut off"
        raise ValueError(message)


def _left_out(series: Any, path: Path, chain: list[int]) -> dict[Path, list[int]]:
    """Return the numbers of pages, by file, that are no plane of a series nor of its levels."""
    if series.dataoffset is not None and len(series) == len(chain):
        return {}
    taken: dict[Path, set[int]] = {path: set()}
    parents = {path: series.keyframe.parent}
    for page in (page for level in series.levels for page in level if page is not None):
        own = Path(page.parent.filehandle.path)
        parents[own] = page.parent
        taken.setdefault(own, set()).add(int(page.offset))
    left = {}
    for own, offsets in taken.items():
        every = chain if own == path else _chain(str(own))
        rest = [number for number, offset in enumerate(every) if offset not in offsets]
        if rest:
            import tifffile

            with tifffile.TiffFile(own) as opened:
                size = series.keyframe.size
                rest = [n for n in rest if not _is_preview(page_at(opened, every[n]), size)]
        if rest:
            left[own] = rest
    return left


def _is_preview(page: Any, size: int) -> bool:
    """Whether a page says that it is a mask, or a smaller copy of a page of some size."""
    return bool(page.is_mask or (page.is_reduced and page.size < size))


def _is_plain(every: Sequence[Any]) -> bool:
    """Whether pages have no order but that of the file, and each plane is a page."""
    return all(
        series.kind in {"generic", "uniform", "shaped", "imagej"}
        and series.size == len(series) * series.keyframe.size
        and all(
            size == 1 or axis in "IQZYXS"
            for axis, size in zip(series.axes, series.shape, strict=True)
        )
        and len([axis for axis in series.axes if axis in "IQZ"]) <= 1
        for series in every
    )


def _by_kind(where: str, file: Any, chain: list[int]) -> list[PageStack]:
    """Return the stacks of pages of one size and dtype, in the order of their first pages."""
    largest = max(page_at(file, offset).size for offset in chain)
    kinds: dict[tuple[Any, ...], list[tuple[int, tiff.PageHeader]]] = {}
    for number, offset in enumerate(chain):
        page = page_at(file, offset)
        if not _is_preview(page, largest):
            header = tiff.describe(page, f"{where}, page {number}")
            kinds.setdefault((header.shape_yx, header.dtype), []).append((number, header))
    stacks = []
    for (shape_yx, dtype), found in kinds.items():
        numbers = [number for number, _ in found]
        text = (
            f"pages {ranges_text(numbers, _MAX_LISTED)} ({shape_yx[1]}x{shape_yx[0]} {dtype.name})"
        )
        lossy = any(header.lossy for _, header in found)
        header = tiff.PageHeader(shape_yx, dtype, lossy)
        stacks.append(PageStack(text, None, tuple(chain[number] for number in numbers), header))
    return stacks


def _declared(every: Sequence[Any]) -> list[PageStack]:
    return [
        PageStack(f"{series.axes} {'x'.join(map(str, series.shape))} {series.dtype}", series)
        for series in every
    ]


def _listed(stacks: list[PageStack]) -> str:
    texts = [f":{number} {stack.text}" for number, stack in enumerate(stacks[:_MAX_LISTED])]
    return ", ".join(texts) + (", ..." if len(stacks) > _MAX_LISTED else "")
