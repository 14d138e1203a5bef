"""Lists the catalogue, publicly or as one principal may see it."""

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
    """Names in alphabetical order, cached for ``cache_s``, as clients request a list as a ping.

    Children of a dataset or project that is being deleted may be listed until they are deleted
    themselves.
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

    def projects_of(self, dataset: str, principal: Principal) -> list[str]:
        """Return the names of the projects of a dataset that a principal may see.

        Empty if there is no such dataset.
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

    def clear_cache(self) -> None:
        """Read the rows again at the next call."""
        self._cache.clear()

    def _projects(self, dataset: str) -> tuple[Listed, ...]:
        return self._lines(keys.dataset_key(dataset)[0], "project")

    def _lines(self, pk: str, kind: str | None = None) -> tuple[Listed, ...]:
        def load() -> tuple[Listed, ...]:
            lines = map(Listed.from_row, children(self._table, pk, kind))
            return tuple(line for line in lines if not line.deleting)

        return self._cache.get((pk, kind), load)


def _visible(lines: tuple[Listed, ...], principal: Principal) -> list[str]:
    return [line.name for line in lines if line.is_visible_to(principal)]
