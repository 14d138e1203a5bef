"""The user for whom files are dropped, and what this user may fill."""

from collections.abc import Callable

from ingest_queue.drop.creation import destination_of
from ingest_queue.requests.manifest import Manifest
from ndlambda.errors import DatasetNotFoundError, ProjectNotFoundError, TokenNotFoundError
from ndlambda.model.principal import Principal
from ndlambda.services.access.service import Access
from ndlambda.services.catalog.service import Catalog


class DropOwner:
    """The owner of what is dropped.

    Parameters
    ----------
    catalog, access
        What exists, and who may write to it.
    principal
        Returns the user; raises ``NotFoundError`` if there is none of this name.
    """

    def __init__(
        self, catalog: Catalog, access: Access, principal: Callable[[], Principal]
    ) -> None:
        self._catalog = catalog
        self._access = access
        self._principal = principal

    @property
    def id(self) -> int:
        """The user's id.

        Raises
        ------
        NotFoundError
            There is no such user.
        """
        return self._access.owner_id_of(self._principal())

    def check(self, names: tuple[str, str], manifest: Manifest) -> None:
        """Check that the user may fill a channel, and may make what is missing above it.

        The rules are those of requests with the user's key.

        Parameters
        ----------
        names
            Of the token and of the channel.

        Raises
        ------
        PermissionDeniedError, ProjectNotFoundError, DatasetNotFoundError
            Something of another user is in the way.
        """
        principal, (token, channel) = self._principal(), names
        try:
            self._catalog.project_view(token, fresh=True)
        except TokenNotFoundError:
            self._check_missing_token(token, manifest, principal)
            return
        view = self._access.open(token, principal, write=True)
        if channel not in {known.name for known in view.channels}:
            self._access.open_to_manage(token, principal)

    def _check_missing_token(self, token: str, manifest: Manifest, principal: Principal) -> None:
        dataset, project = destination_of(token, manifest)
        try:
            known = self._catalog.get_project(project)
        except ProjectNotFoundError:
            try:
                self._catalog.get_dataset(dataset)
            except DatasetNotFoundError:
                return
            self._access.check_create_project(dataset, principal)
        else:
            self._access.check_manage_project(known.dataset, project, principal)
