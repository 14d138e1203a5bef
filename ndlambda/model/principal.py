"""The authenticated caller of a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """A user who presented a valid key, or the anonymous caller (``user_id`` None)."""

    user_id: int | None
    name: str
    superuser: bool = False

    @property
    def anonymous(self) -> bool:
        """Whether no key was presented."""
        return self.user_id is None


ANONYMOUS = Principal(user_id=None, name="anonymous")
