"""Which links in the drop folder of a laptop are followed."""

import os
from pathlib import Path
from typing import Final

_MAX_DEPTH: Final = 4
"""Names in ``drop/TOKEN/CHANNEL/time0001``, the deepest folder of slices."""


class DropLinks:
    """The links that are followed: no deeper than folders of slices, and never out of the data.

    So a link to a folder above, or to ``/``, is no large folder.

    Parameters
    ----------
    data
        Folder of the disk stores, which contains the folder ``drop`` (perhaps a link itself).
    """

    def __init__(self, data: Path) -> None:
        self._data = data

    def are_followed(self, key: str, *, is_folder: bool) -> bool:
        """Return whether the link of a key is followed."""
        names = key.rstrip("/").count("/") + 1
        return (names <= _MAX_DEPTH or not is_folder) and self.is_inside(key)

    def is_inside(self, key: str) -> bool:
        """Return whether a key lies in the data folder when all links are followed."""
        real = os.path.realpath(self._data / key)
        roots = (self._data, self._data / "drop")
        return any(Path(real).is_relative_to(os.path.realpath(root)) for root in roots)
