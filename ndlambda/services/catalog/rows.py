"""Rows of what is there; what is being deleted is not found, unless that is asked for."""

from ndlambda.errors import ChannelNotFoundError, DatasetNotFoundError, ProjectNotFoundError
from ndlambda.model.catalog import Dataset
from ndlambda.services.catalog import keys
from ndlambda.stores.ports import Row, Table


class CatalogRows:
    """Reads rows, each time anew."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def dataset(self, name: str, *, even_deleting: bool = False) -> Row:
        """Return the row of a dataset.

        Raises
        ------
        DatasetNotFoundError
            There is none.
        """
        row = self._table.get(*keys.dataset_key(name))
        if row is None or (keys.is_deleting(row) and not even_deleting):
            raise DatasetNotFoundError(f"Dataset {name!r} does not exist.", dataset=name)
        return row

    def project(self, name: str, *, even_deleting: bool = False) -> tuple[Row, Row]:
        """Return the rows of a project and of its dataset.

        Raises
        ------
        ProjectNotFoundError
            There is none.
        """
        row = self._table.get(*keys.project_key(name))
        if row is not None and (even_deleting or not keys.is_deleting(row)):
            dataset = self._table.get(*keys.dataset_key(keys.to_project(row).dataset))
            if dataset is not None and (even_deleting or not keys.is_deleting(dataset)):
                return row, dataset
        raise ProjectNotFoundError(f"Project {name!r} does not exist.", project=name)

    def dataset_of(self, project: str) -> Dataset:
        """Return the dataset of a project.

        Raises
        ------
        ProjectNotFoundError
            There is no such project.
        """
        return keys.to_dataset(self.project(project)[1])

    def channel(self, project: str, name: str) -> Row:
        """Return the row of a channel.

        Raises
        ------
        ChannelNotFoundError
            The project has none of this name.
        """
        row = self._table.get(*keys.channel_key(project, name))
        if row is None:
            raise ChannelNotFoundError(
                f"Channel {name!r} does not exist in project {project!r}.", channel=name
            )
        return row
