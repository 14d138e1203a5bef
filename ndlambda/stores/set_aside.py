"""The port by which files of deleted channels leave the drop folder."""

from typing import Protocol


class SetAside(Protocol):
    """Takes files out of drop folders before they are deleted for good."""

    def set_aside(self, folder: str, name: str, before: float) -> str:
        """Set aside what lies in a folder and was not changed since; idempotent.

        Parameters
        ----------
        folder
            Prefix of the keys, with a slash at the end.
        name
            Of the deleted channel's part of what is set aside.
        before
            Unix seconds of the deletion; what was dropped later stays.

        Returns
        -------
        str
            Where the files are now; empty if none is left.
        """
        ...

    def remove(self, name: str) -> None:
        """Delete what was set aside under a name; no error if nothing was."""
        ...
