"""The body of a request that is judged by its head: reading it ends the judgement."""

import io
from typing import NoReturn


class BodyNeeded(BaseException):
    """Raised where a view reads a body that has not been received."""


class WithheldBody(io.RawIOBase):
    """Stands for a body that has not been received."""

    def readable(self) -> bool:
        """Return that it can be read, which ends the judgement."""
        return True

    def readinto(self, _buffer: object) -> NoReturn:
        """Raise ``BodyNeeded``."""
        raise BodyNeeded

    def readall(self) -> NoReturn:
        """Raise ``BodyNeeded``."""
        raise BodyNeeded
