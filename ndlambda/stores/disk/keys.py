"""Maps object keys to paths in a folder, and lists them in key order."""

import os
import stat
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from ndlambda.errors import InvalidArgumentError
from ndlambda.stores.disk.identity import IDENTITY_NAME
from ndlambda.stores.links import DropLinks
from ndlambda.stores.ports import ObjectInfo

MAX_KEY_BYTES = 1024
MAX_NAME_BYTES = 255
LOCKS_NAME = ".locks"
TEMPORARY_NAME = ".temp"
ASIDE = "drop/.deleted/"
"""Where dropped files of deleted channels are until they are deleted, too."""
_RESERVED_NAMES = frozenset({LOCKS_NAME, TEMPORARY_NAME, IDENTITY_NAME})
"""Top-level names of the store's own."""
_MAX_DEPTH = 8
"""Depth of keys in foreign folders, which bounds links to a folder above."""


def check_key(key: str) -> str:
    """Return the key if it is a valid path inside a folder.

    Raises
    ------
    InvalidArgumentError
        It is empty or too long (1024 bytes as on S3, 255 a name), has an empty, ``.`` or ``..``
        segment, a NUL or a lone surrogate, or starts with a reserved name.
    """
    names = key.split("/")
    try:
        too_long = len(key.encode()) > MAX_KEY_BYTES or any(
            len(name.encode()) > MAX_NAME_BYTES for name in names
        )
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"The key {key!r} is not Unicode text.", key=key) from None
    if too_long:
        raise InvalidArgumentError(
            f"The key {key[:80]!r}... is too long: {MAX_KEY_BYTES} bytes, {MAX_NAME_BYTES} a name.",
            key=key,
        )
    if not _can_be_path(key):
        raise InvalidArgumentError(f"The key {key!r} cannot be the name of a file.", key=key)
    return key


def list_files(
    root: Path, prefix: str, after: str, *, foreign: bool = False
) -> Iterator[ObjectInfo]:
    """Iterate in key order over the files below root whose keys have the prefix and are > after.

    Python compares strings by code point, which is the order of their UTF-8 bytes, S3's order.
    Only folders that can hold such keys are read.

    Parameters
    ----------
    foreign
        Whether others write files there, too: names that are not keys, unreadable folders and
        links that are not followed are then left out. Else they are errors.
    """
    folder = prefix[: prefix.rfind("/") + 1]
    if foreign and not DropLinks(root).is_inside(folder):
        return
    if not folder or _can_be_path(folder[:-1]):
        yield from _walk(root, folder, prefix, after, foreign)


def _walk(root: Path, folder: str, prefix: str, after: str, foreign: bool) -> Iterator[ObjectInfo]:
    links = DropLinks(root)
    for key, entry in _entries(root, folder, foreign):
        is_link = foreign and entry.is_symlink()
        if is_link and not links.are_followed(key, is_folder=key.endswith("/")):
            continue
        if not key.startswith(prefix) or (not folder and entry.name in _RESERVED_NAMES):
            continue
        if key.endswith("/"):
            if key > after or after.startswith(key):
                yield from _walk(root, key, prefix, after, foreign)
        elif key > after:
            size = _size(entry, foreign)
            if size is not None:
                yield ObjectInfo(key, size)


def _entries(root: Path, folder: str, foreign: bool) -> list[tuple[str, "os.DirEntry[str]"]]:
    try:
        with os.scandir(root / folder) as entries:
            # "a/" sorts after "a!" and before "a0": only with its slash does a folder sort like
            # the keys in it.
            found = {folder + entry.name + "/" * _is_folder(entry): entry for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        if not foreign:
            raise
        return []
    return sorted(
        (item for item in found.items() if not foreign or _is_near_key(item[0])), key=itemgetter(0)
    )


def _size(entry: "os.DirEntry[str]", foreign: bool) -> int | None:
    """Return the length of a regular file, None for anything else."""
    try:
        status = entry.stat()
    except FileNotFoundError:
        return None
    except OSError:
        if not foreign:
            raise
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_near_key(text: str) -> bool:
    if text == ASIDE or text.count("/") > _MAX_DEPTH:
        return False
    try:
        check_key(text.removesuffix("/"))
    except InvalidArgumentError:
        return False
    return True


def _can_be_path(text: str) -> bool:
    names = text.split("/")
    return (
        names[0] not in _RESERVED_NAMES
        and "\0" not in text
        and not any(name in {"", ".", ".."} for name in names)
    )
