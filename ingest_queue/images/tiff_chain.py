"""Follows the list of pages of a TIFF file, without a TIFF library; TIFF 6.0 section 2, BigTIFF.

tifffile ends a list that is broken, and says so in its log only: the later pages are lost then.
"""

import struct
from typing import BinaryIO, Final, NamedTuple

_ORDERS: Final = {b"II": "<", b"MM": ">"}
_TYPED_BYTES: Final = {42: 12, 43: 20}
"""Bytes of a tag in TIFF and BigTIFF, by the version in the file's header."""


class _Widths(NamedTuple):
    """Codes of :mod:`struct` for offsets and counts of tags, and the place of the first offset."""

    offset: str
    entries: str
    tag_bytes: int
    start: int


def read_format(header: bytes) -> _Widths:
    """Return the format that the first 4 bytes of a file declare.

    Raises
    ------
    ValueError
        It is no TIFF file.
    """
    order = _ORDERS.get(header[:2])
    version = struct.unpack(f"{order}H", header[2:4])[0] if order and len(header) >= 4 else 0
    if version not in _TYPED_BYTES:
        message = "not a TIFF file"
        raise ValueError(message)
    if version == 42:
        return _Widths(f"{order}I", f"{order}H", _TYPED_BYTES[version], 4)
    return _Widths(f"{order}Q", f"{order}Q", _TYPED_BYTES[version], 8)


def page_offsets(file: BinaryIO) -> list[int]:
    """Return the offset of every page header in the list of a file; SubIFDs are not in it.

    Raises
    ------
    ValueError
        The list leads out of the file or back into itself; later pages may be lost.
    """
    file.seek(0)
    layout = read_format(file.read(4))
    at, found, seen = layout.start, list[int](), set[int]()
    while offset := _unpack(file, at, layout.offset, len(found)):
        if offset in seen:
            message = f"after page {len(found) - 1} its list of pages leads back into itself"
            raise ValueError(message)
        seen.add(offset)
        count = _unpack(file, offset, layout.entries, len(found))
        at = offset + struct.calcsize(layout.entries) + count * layout.tag_bytes
        found.append(offset)
    return found


def _unpack(file: BinaryIO, at: int, code: str, page: int) -> int:
    size = struct.calcsize(code)
    file.seek(at)
    if len(body := file.read(size)) < size:
        message = f"its list of pages ends outside of the file at page {page}: it is cut off"
        raise ValueError(message)
    return int(struct.unpack(code, body)[0])


class FromPage:
    """A TIFF file whose header is read as if its list began with another page.

    It lets Pillow open a page by its offset, at once, and also one that is not in the list.
    """

    def __init__(self, file: BinaryIO, offset: int) -> None:
        file.seek(0)
        header = file.read(16)
        layout = read_format(header)
        patched = bytearray(header[: layout.start + struct.calcsize(layout.offset)])
        struct.pack_into(layout.offset, patched, layout.start, offset)
        self._file, self._header = file, bytes(patched)
        self.seek, self.tell = file.seek, file.tell
        file.seek(0)

    def fileno(self) -> int:
        """Return the file's descriptor, by which libtiff reads; OSError if it has none."""
        return self._file.fileno()

    def read(self, size: int = -1) -> bytes:
        """Read, with the other page's offset in place of the first one's."""
        at = self._file.tell()
        body = self._file.read(size)
        head = self._header[at : at + len(body)]
        return head + body[len(head) :]
