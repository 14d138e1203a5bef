"""Who asks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """A user who proved to hold a key, or nobody (``user_id`` None)."""

    user_id: int | None
    name: str
    superuser: bool = False

    @property
    def anonymous(self) -> bool:
        """Whether no key was shown."""
        return self.user_id is None


ANONYMOUS = Principal(user_id=None, name="anonymous")
