"""Ports whose calls are counted."""

from collections import Counter
from typing import Any


class Counted:
    """A port whose calls are counted by name, and the rows that its queries return."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.calls: Counter[str] = Counter()
        self.rows = 0

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            found = getattr(self._port, name)(*args, **kwargs)
            self.rows += len(getattr(found, "rows", ()))
            return found

        return call

    def clear(self) -> None:
        self.calls.clear()
        self.rows = 0
