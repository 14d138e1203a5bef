"""Authorizes access. Responses do not distinguish unknown from forbidden things.

There are two rules. *Tokens* open data: a public one to every reader, every one to its owner and to
superusers. *Resources* (the catalogue itself) belong to their creators. With ``anonymous_write``,
as on ndstore, every client may write through public tokens, and acts as user 0 ("neurodata") on
resources; deleting resources so needs ``anonymous_delete`` besides.
"""

from contextlib import suppress

from ndlambda.errors import (
    AuthenticationError,
    DatasetNotFoundError,
    InvalidStateError,
    NDLambdaError,
    PermissionDeniedError,
    ProjectNotFoundError,
    TokenNotFoundError,
)
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.principal import Principal
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.catalog.service import Catalog

NEURODATA_ID = 0
"""Owner of resources that are created without a key."""


class Access:
    """Checks what a principal may do with the catalogue.

    Parameters
    ----------
    catalog
        The catalogue.
    anonymous_write
        Whether every client may write to public tokens and create resources, as ndstore allowed.
    anonymous_delete
        Whether every client may then delete such resources, too, with their voxels.
    """

    def __init__(
        self, catalog: Catalog, *, anonymous_write: bool, anonymous_delete: bool = False
    ) -> None:
        self._catalog = catalog
        self._anonymous_write = anonymous_write
        self._anonymous_delete = anonymous_write and anonymous_delete

    # data

    def open(self, token: str, principal: Principal, *, write: bool = False) -> ProjectView:
        """Return the project of a token, if the principal may read (or write) it.

        Raises
        ------
        AuthenticationError, PermissionDeniedError
            The principal (anonymous or known) may not, or there is no such token, with the same
            message.
        TokenNotFoundError
            There is no such token; raised for superusers only.
        """
        try:
            view = self._catalog.project_view(token, fresh=write)
        except TokenNotFoundError:
            if principal.superuser:
                raise
            raise _closed(token, principal) from None
        own = principal.superuser or view.token.user_id == principal.user_id
        if not own and not view.token.public:
            raise _closed(token, principal)
        if write and not own and not self._anonymous_write:
            raise _denied(f"Token {token!r} is public for reading only.", principal)
        return view

    def open_channel(
        self, token: str, channel: str, principal: Principal, *, write: bool = False
    ) -> tuple[ProjectView, Channel]:
        """Return what a token opens, and one of its channels.

        Raises
        ------
        AuthenticationError, PermissionDeniedError, TokenNotFoundError
            As ``open``.
        ChannelNotFoundError
            The project has no such channel.
        """
        view = self.open(token, principal, write=write)
        (chosen,) = view.channels_named([channel])
        return view, chosen

    def open_project(self, dataset: str, project: str, principal: Principal) -> ProjectView:
        """Return a project that the principal may write to by one of its tokens, or as its owner.

        Raises
        ------
        ProjectNotFoundError
            There is no such project in the dataset, it belongs to another user, and none of its
            tokens allows it.
        """
        for token in self._catalog.lists.tokens_of(project):
            try:
                view = self.open(token, principal, write=True)
            except (AuthenticationError, PermissionDeniedError, TokenNotFoundError):
                continue
            if view.dataset.name == dataset:
                return view
        with suppress(ProjectNotFoundError):
            view = self._catalog.view_without_token(project)
            if view.dataset.name == dataset and self.may_manage(principal, view.project.user_id):
                return view
        raise ProjectNotFoundError(
            f"Project {project!r} of dataset {dataset!r} does not exist or is not open to you.",
            project=project,
        )

    # reading resources

    def dataset(self, name: str, principal: Principal) -> Dataset:
        """Return a dataset that is public or the principal's.

        Raises
        ------
        DatasetNotFoundError
            There is none visible to this principal.
        """
        dataset = self._catalog.get_dataset(name)
        if dataset.public or self.may_manage(principal, dataset.user_id):
            return dataset
        raise DatasetNotFoundError(f"Dataset {name!r} does not exist.", dataset=name)

    def project(self, dataset: str, name: str, principal: Principal) -> Project:
        """Return a project of a dataset that is public or the principal's.

        Raises
        ------
        ProjectNotFoundError
            There is none visible to this principal in the dataset.
        """
        project = self._catalog.get_project(name)
        visible = project.public or self.may_manage(principal, project.user_id)
        if visible and project.dataset == dataset:
            return project
        raise ProjectNotFoundError(f"Project {name!r} does not exist.", project=name)

    def channel(self, dataset: str, project: str, name: str, principal: Principal) -> Channel:
        """Return a channel of a project that is public or the principal's.

        Raises
        ------
        ProjectNotFoundError
            As ``project``.
        ChannelNotFoundError
            The project has no such channel.
        """
        self.project(dataset, project, principal)
        return self._catalog.get_channel(project, name)

    def token(self, dataset: str, project: str, name: str, principal: Principal) -> Token:
        """Return a token of a project, if the token is public or the principal's.

        Raises
        ------
        TokenNotFoundError
            There is none visible to this principal in the project of the dataset.
        """
        view = self._catalog.project_view(name)
        visible = view.token.public or self.may_manage(principal, view.token.user_id)
        if visible and (view.dataset.name, view.project.name) == (dataset, project):
            return view.token
        raise TokenNotFoundError(f"Token {name!r} does not exist.", token=name)

    # creating and deleting resources

    def may_manage(self, principal: Principal, owner_id: int) -> bool:
        """Return whether a principal may read and fill resources of a user."""
        if principal.superuser or owner_id == principal.user_id:
            return True
        return self._anonymous_write and owner_id == NEURODATA_ID

    def owner_id_of(self, principal: Principal) -> int:
        """Return the user who will own resources that a principal creates.

        Raises
        ------
        AuthenticationError
            This server requires a key for creating resources.
        """
        if principal.user_id is not None:
            return principal.user_id
        if self._anonymous_write:
            return NEURODATA_ID
        raise AuthenticationError("A key is required, since this belongs to a user.")

    def check_create_project(self, dataset: str, principal: Principal) -> int:
        """Return the owner of a new project on a dataset, which must be public or own.

        Raises
        ------
        AuthenticationError
            As ``owner_id_of``.
        DatasetNotFoundError
            As ``dataset``.
        """
        owner_id = self.owner_id_of(principal)
        self.dataset(dataset, principal)
        return owner_id

    def check_manage_project(self, dataset: str, project: str, principal: Principal) -> int:
        """Return the owner of new resources in a project.

        Raises
        ------
        ProjectNotFoundError
            As ``project``.
        AuthenticationError, PermissionDeniedError
            The project is public but belongs to another user.
        """
        found = self.project(dataset, project, principal)
        self._check_owner(f"Project {project!r}", found.user_id, principal)
        return self.owner_id_of(principal)

    def open_to_manage(
        self, token: str, principal: Principal, *, delete: bool = False
    ) -> ProjectView:
        """Return the project of a token, if the principal may create (or delete) channels in it.

        That is the project's owner, and with ``anonymous_write`` (and ``anonymous_delete``) every
        client with a public token, for ndstore's ``createChannel`` and ``deleteChannel``.

        Raises
        ------
        AuthenticationError, PermissionDeniedError, TokenNotFoundError
            As ``open``.
        """
        view = self.open(token, principal, write=True)
        what, owner_id = f"The project of token {token!r}", view.project.user_id
        if delete:
            if not (self._anonymous_delete and view.token.public):
                self._check_deletes(what, owner_id, principal)
        elif not (self._anonymous_write and view.token.public):
            self._check_owner(what, owner_id, principal)
        return view

    def check_delete_channel(self, dataset: str, project: str, principal: Principal) -> None:
        """Allow a project's owner to delete channels in it.

        Raises
        ------
        ProjectNotFoundError
            As ``project``.
        AuthenticationError, PermissionDeniedError
            The project is public but belongs to another user.
        """
        found = self.project(dataset, project, principal)
        self._check_deletes(f"Project {project!r}", found.user_id, principal)

    def check_delete_dataset(self, name: str, principal: Principal) -> None:
        """Allow a dataset's owner to delete it, also after an interrupted deletion.

        Raises
        ------
        DatasetNotFoundError
            There is none visible to this principal.
        AuthenticationError, PermissionDeniedError
            It is public but belongs to another user.
        InvalidStateError
            It has projects of other users, which would be deleted, too; superusers may do that.
        """
        dataset = self._catalog.get_dataset(name, even_deleting=True)
        if not (dataset.public or self.may_manage(principal, dataset.user_id)):
            raise DatasetNotFoundError(f"Dataset {name!r} does not exist.", dataset=name)
        self._check_deletes(f"Dataset {name!r}", dataset.user_id, principal)
        owners = self._catalog.lists.owners_of_projects(name)
        if not all(self.may_manage(principal, owner_id) for owner_id in owners):
            raise InvalidStateError(
                f"Dataset {name!r} has projects of other users; ask a superuser.", dataset=name
            )

    def check_delete_project(self, dataset: str, name: str, principal: Principal) -> None:
        """Allow a project's owner to delete it, also after an interrupted deletion.

        Raises
        ------
        ProjectNotFoundError
            There is none visible to this principal in the dataset.
        AuthenticationError, PermissionDeniedError
            It is public but belongs to another user.
        """
        project = self._catalog.get_project(name, even_deleting=True)
        visible = project.public or self.may_manage(principal, project.user_id)
        if not visible or project.dataset != dataset:
            raise ProjectNotFoundError(f"Project {name!r} does not exist.", project=name)
        self._check_deletes(f"Project {name!r}", project.user_id, principal)

    def check_delete_token(
        self, dataset: str, project: str, name: str, principal: Principal
    ) -> None:
        """Allow a token's owner to delete it.

        Raises
        ------
        TokenNotFoundError
            As ``token``.
        AuthenticationError, PermissionDeniedError
            It is public but belongs to another user.
        """
        token = self.token(dataset, project, name, principal)
        self._check_deletes(f"Token {name!r}", token.user_id, principal)

    def _check_owner(self, what: str, owner_id: int, principal: Principal) -> None:
        if not self.may_manage(principal, owner_id):
            raise _denied(f"{what} belongs to another user.", principal)

    def _check_deletes(self, what: str, owner_id: int, principal: Principal) -> None:
        """Refuse to delete what belongs to others, or to everybody, unless the server allows it."""
        self._check_owner(what, owner_id, principal)
        is_own = principal.superuser or owner_id == principal.user_id
        if not is_own and not self._anonymous_delete:
            raise PermissionDeniedError(
                f"{what} belongs to everybody, who may not delete it on this server "
                "(NDLAMBDA_ANONYMOUS_DELETE); ask a superuser."
            )


def _denied(message: str, principal: Principal) -> NDLambdaError:
    return AuthenticationError(message) if principal.anonymous else PermissionDeniedError(message)


def _closed(token: str, principal: Principal) -> NDLambdaError:
    return _denied(f"Token {token!r} does not exist or is not open to you.", principal)
