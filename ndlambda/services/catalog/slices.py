"""Lists the catalogue slice by slice, each with a constant number of requests to the table."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.principal import Principal
from ndlambda.services.catalog import keys
from ndlambda.services.catalog.keys import Listed
from ndlambda.services.support.paging import Key, Slice, slice_of
from ndlambda.stores.ports import Row, Table

T = TypeVar("T")

Place = tuple[str, str, str]
"""Names of a dataset, a project and a channel."""


class CatalogSlices:
    """Things in alphabetical order, as one principal may see them, without a cache.

    A slice has up to ``limit`` things whose names come behind ``after``.

    Parameters
    ----------
    table
        The rows of the catalogue.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def datasets(self, principal: Principal, after: str, limit: int) -> Slice[Dataset]:
        """Return datasets that a principal may see."""
        lines = self._lines(keys.DATASETS, "", principal, after, limit)
        return lines.map(lambda names: self._living(names, keys.dataset_key, keys.to_dataset))

    def projects(
        self, dataset: str, principal: Principal, after: str, limit: int
    ) -> Slice[Project]:
        """Return projects of a dataset that a principal may see."""
        lines = self._lines(keys.dataset_key(dataset)[0], "project#", principal, after, limit)
        return lines.map(lambda names: self._living(names, keys.project_key, keys.to_project))

    def channels(self, project: str, after: str, limit: int) -> Slice[Channel]:
        """Return channels of a project; those of a slice in the order of their creation."""
        pk, prefix = keys.channel_key(project, "")
        rows = slice_of(self._table, pk, limit, prefix=prefix, after=after)
        return rows.map(
            lambda found: sorted(map(keys.to_channel, found), key=lambda channel: channel.id)
        )

    def tokens_of(self, project: str, principal: Principal, after: str, limit: int) -> Slice[Token]:
        """Return tokens of a project that a principal may see."""
        pk, prefix = keys.token_of_project_key(project, "")
        rows = slice_of(self._table, pk, limit, prefix=prefix, after=after)

        def visible(found: Sequence[Row]) -> list[Token]:
            names = list(map(keys.name_of_child, found))
            tokens = self._living(names, keys.token_key, keys.to_token)
            return [token for token in tokens if Listed.of(token).is_visible_to(principal)]

        return rows.map(visible)

    def tokens(self, principal: Principal, after: str, limit: int) -> Slice[tuple[Token, Project]]:
        """Return tokens that a principal may use for reading, with their projects."""
        lines = self._lines(keys.TOKENS, "", principal, after, limit)
        return lines.map(self._opened)

    def channels_at(self, places: Collection[Place]) -> Mapping[Place, tuple[Dataset, Channel]]:
        """Return the channels that exist at some places, with their datasets."""
        keys_of = {
            place: (
                keys.dataset_key(place[0]),
                keys.project_key(place[1]),
                keys.channel_key(*place[1:]),
            )
            for place in places
        }
        rows = self._rows([key for each in keys_of.values() for key in each])
        return {
            place: (keys.to_dataset(rows[dataset]), keys.to_channel(rows[channel]))
            for place, (dataset, project, channel) in keys_of.items()
            if {dataset, project, channel} <= rows.keys()
        }

    def _opened(self, names: Sequence[str]) -> list[tuple[Token, Project]]:
        tokens = self._living(names, keys.token_key, keys.to_token)
        owners = list({token.project for token in tokens})
        projects = {
            project.name: project
            for project in self._living(owners, keys.project_key, keys.to_project)
        }
        datasets = self._rows([keys.dataset_key(each.dataset) for each in projects.values()])
        return [
            (token, project)
            for token in tokens
            if (project := projects.get(token.project)) is not None
            and keys.dataset_key(project.dataset) in datasets
        ]

    def _lines(
        self, pk: str, prefix: str, principal: Principal, after: str, limit: int
    ) -> Slice[str]:
        def is_shown(row: Row) -> bool:
            line = Listed.from_row(row)
            return not line.deleting and line.is_visible_to(principal)

        rows = slice_of(self._table, pk, limit, prefix=prefix, after=after, is_shown=is_shown)
        return rows.map(lambda found: [Listed.from_row(row).name for row in found])

    def _living(
        self, names: Sequence[str], key_of: Callable[[str], Key], value_of: Callable[[Row], T]
    ) -> list[T]:
        """Return what the names still name, in their order."""
        rows = self._rows([key_of(name) for name in names])
        return [value_of(rows[key]) for key in map(key_of, names) if key in rows]

    def _rows(self, wanted: Sequence[Key]) -> dict[Key, Row]:
        rows = self._table.batch_get(list(dict.fromkeys(wanted))) if wanted else {}
        return {key: row for key, row in rows.items() if not keys.is_deleting(row)}
