"""Lists of what is in the catalogue, for everybody or as one principal may see it."""

from collections.abc import Callable

from ndlambda.model.catalog import Channel
from ndlambda.model.principal import Principal
from ndlambda.services.catalog import keys
from ndlambda.services.catalog.keys import Listed
from ndlambda.services.support.cache import TimedCache
from ndlambda.services.support.paging import children
from ndlambda.stores.ports import Table

_LISTS = 64


class Lists:
    """Names in alphabetical order; remembered for ``cache_s``, as every client pings with one.

    Things under a dataset or project that is just being deleted may be listed until they are
    removed themselves.
    """

    def __init__(self, table: Table, *, cache_s: float, clock: Callable[[], float]) -> None:
        self._table = table
        self._cache: TimedCache[tuple[str, str | None], tuple[Listed, ...]] = TimedCache(
            cache_s, _LISTS, clock
        )

    def public_datasets(self) -> list[str]:
        """Return the names of public datasets."""
        return [line.name for line in self._lines(keys.DATASETS) if line.public]

    def public_tokens(self) -> list[str]:
        """Return the names of public tokens."""
        return [line.name for line in self._lines(keys.TOKENS) if line.public]

    def datasets(self, principal: Principal) -> list[str]:
        """Return the names of the datasets that a principal may see."""
        return _visible(self._lines(keys.DATASETS), principal)

    def tokens(self, principal: Principal) -> list[str]:
        """Return the names of the tokens that a principal may read by."""
        return _visible(self._lines(keys.TOKENS), principal)

    def projects_of(self, dataset: str, principal: Principal) -> list[str]:
        """Return the names of the projects of a dataset that a principal may see.

        Empty where there is no such dataset.
        """
        return _visible(self._projects(dataset), principal)

    def owners_of_projects(self, dataset: str) -> set[int]:
        """Return the ids of the users whose projects are on a dataset."""
        return {line.user_id for line in self._projects(dataset)}

    def tokens_of(self, project: str) -> list[str]:
        """Return the names of all tokens of a project."""
        found = children(self._table, keys.project_key(project)[0], "token")
        return [keys.name_of_child(row) for row in found]

    def channels_of(self, project: str) -> list[Channel]:
        """Return the channels of a project in the order of their creation."""
        found = children(self._table, keys.project_key(project)[0], "channel")
        return sorted(map(keys.to_channel, found), key=lambda channel: channel.id)

    def forget(self) -> None:
        """Read again next time."""
        self._cache.forget()

    def _projects(self, dataset: str) -> tuple[Listed, ...]:
        return self._lines(keys.dataset_key(dataset)[0], "project")

    def _lines(self, pk: str, kind: str | None = None) -> tuple[Listed, ...]:
        def load() -> tuple[Listed, ...]:
            lines = map(Listed.from_row, children(self._table, pk, kind))
            return tuple(line for line in lines if not line.deleting)

        return self._cache.get((pk, kind), load)


def _visible(lines: tuple[Listed, ...], principal: Principal) -> list[str]:
    return [
        line.name
        for line in lines
        if line.public or principal.superuser or line.user_id == principal.user_id
    ]
