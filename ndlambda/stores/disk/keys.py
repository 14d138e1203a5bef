"""Object keys as paths below a folder, and their listing in key order."""

import os
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from ndlambda.errors import InvalidArgumentError
from ndlambda.stores.ports import ObjectInfo

MAX_KEY_BYTES = 1024
MAX_NAME_BYTES = 255
LOCKS_NAME = ".locks"
TEMPORARY_NAME = ".temp"
_RESERVED_NAMES = frozenset({LOCKS_NAME, TEMPORARY_NAME})
"""Folders at the top that hold the store's own files."""


def check_key(key: str) -> str:
    """Give the key back if it can be a path of its own inside a folder.

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


def list_files(root: Path, prefix: str, after: str) -> Iterator[ObjectInfo]:
    """Iterate in key order over the files below root whose keys have the prefix and are > after.

    Python compares strings by code point, which is the order of their UTF-8 bytes, S3's order.
    Only folders that can hold such keys are read.
    """
    folder = prefix[: prefix.rfind("/") + 1]
    if not folder or _can_be_path(folder[:-1]):
        yield from _walk(root, folder, prefix, after)


def _walk(root: Path, folder: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
    try:
        with os.scandir(root / folder) as entries:
            # "a/" sorts behind "a!" and before "a0": only with its slash does a folder stand
            # where the keys in it stand.
            found = {folder + entry.name + "/" * entry.is_dir(): entry for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return
    for key, entry in sorted(found.items(), key=itemgetter(0)):
        if not key.startswith(prefix) or (not folder and entry.name in _RESERVED_NAMES):
            continue
        if key.endswith("/"):
            if key > after or after.startswith(key):
                yield from _walk(root, key, prefix, after)
        elif key > after:
            try:
                size = entry.stat().st_size
            except FileNotFoundError:
                continue
            yield ObjectInfo(key, size)


def _can_be_path(text: str) -> bool:
    names = text.split("/")
    return (
        names[0] not in _RESERVED_NAMES
        and "\0" not in text
        and not any(name in {"", ".", ".."} for name in names)
    )
