"""Who may do what."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ndlambda.errors import (
    AuthenticationError,
    DatasetNotFoundError,
    InvalidStateError,
    NDLambdaError,
    NotFoundError,
    PermissionDeniedError,
    ProjectNotFoundError,
    TokenNotFoundError,
)
from ndlambda.model.principal import ANONYMOUS, Principal
from ndlambda.services.access.service import NEURODATA_ID, Access
from tests.support.catalog_world import OWNER, World, channel, dataset, disk_world, project, token
from tests.support.faults import Crash, FaultPlan

ANN = Principal(OWNER, "ann")
BOB = Principal(8, "bob")
ROOT = Principal(1, "root", superuser=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = disk_world(tmp_path / "world")
    for suffix, public in (("", False), ("_public", True)):
        world.catalog.create_dataset(dataset(f"ds{suffix}", public=public))
        world.catalog.create_project(project(f"pr{suffix}", dataset=f"ds{suffix}", public=public))
        world.catalog.create_token(token(f"tk{suffix}", project=f"pr{suffix}", public=public))
        world.catalog.create_channel(channel(project=f"pr{suffix}"))
    return world


@pytest.fixture
def access(world: World) -> Access:
    return world.access()


@pytest.fixture
def open_access(world: World) -> Access:
    return world.access(anonymous_write=True, anonymous_delete=True)


def denied(act: Callable[..., object], *args: object, **options: object) -> type:
    with pytest.raises(NDLambdaError) as caught:
        act(*args, **options)
    return type(caught.value)


@pytest.mark.parametrize("principal", [ANN, ROOT])
def test_owners_and_superusers_read_and_write(access, principal):
    for name in ("tk", "tk_public"):
        for write in (False, True):
            assert access.open(name, principal, write=write).token.name == name


@pytest.mark.parametrize("write", [False, True])
def test_a_private_token_is_closed_to_others(access, open_access, write):
    for some in (access, open_access):
        assert denied(some.open, "tk", ANONYMOUS, write=write) is AuthenticationError
        assert denied(some.open, "tk", BOB, write=write) is PermissionDeniedError


@pytest.mark.parametrize(("principal", "error"), [
    (ANONYMOUS, AuthenticationError), (BOB, PermissionDeniedError),
])  # fmt: skip
def test_a_public_token_is_for_reading_unless_the_server_is_open(
    access, open_access, principal, error
):
    assert access.open("tk_public", principal).project.name == "pr_public"
    assert denied(access.open, "tk_public", principal, write=True) is error
    assert open_access.open("tk_public", principal, write=True).token.public


@pytest.mark.parametrize("principal", [ANONYMOUS, BOB])
@pytest.mark.parametrize("write", [False, True])
def test_an_unknown_token_looks_like_a_forbidden_one(access, principal, write):
    answers = []
    for name in ("tk", "no"):
        with pytest.raises(NDLambdaError) as caught:
            access.open(name, principal, write=write)
        error = caught.value
        answers.append((type(error), error.message.replace(repr(name), "NAME"), error.details))
    assert answers[0] == answers[1]


def test_a_superuser_is_told_that_a_token_does_not_exist(access):
    with pytest.raises(TokenNotFoundError):
        access.open("no", ROOT)


def test_private_resources_look_like_missing_ones(access):
    looks = (
        lambda suffix, who: access.dataset(f"ds{suffix}", who),
        lambda suffix, who: access.project(f"ds{suffix}", f"pr{suffix}", who),
        lambda suffix, who: access.channel(f"ds{suffix}", f"pr{suffix}", "ch", who),
        lambda suffix, who: access.token(f"ds{suffix}", f"pr{suffix}", f"tk{suffix}", who),
    )
    for look in looks:
        for principal in (ANN, ROOT):
            look("", principal)
        for principal in (ANONYMOUS, BOB):
            look("_public", principal)
            with pytest.raises(NotFoundError) as private:
                look("", principal)
            with pytest.raises(type(private.value)):
                look("_no", principal)


def test_resources_are_found_under_their_own_parents_only(access):
    for look, path, error in [
        (access.project, ("ds_public", "pr"), ProjectNotFoundError),
        (access.channel, ("ds_public", "pr", "ch"), ProjectNotFoundError),
        (access.token, ("ds", "pr", "tk_public"), TokenNotFoundError),
        (access.check_delete_project, ("ds_public", "pr"), ProjectNotFoundError),
    ]:
        assert denied(look, *path, ANN) is error


def test_things_are_owned_by_who_makes_them(access, open_access):
    assert access.owner_id_of(BOB) == 8
    assert open_access.owner_id_of(ANONYMOUS) == NEURODATA_ID
    assert denied(access.owner_id_of, ANONYMOUS) is AuthenticationError


def test_a_project_needs_a_dataset_that_is_public_or_own(access, open_access):
    assert access.check_create_project("ds_public", BOB) == 8
    assert access.check_create_project("ds", ANN) == OWNER
    assert open_access.check_create_project("ds_public", ANONYMOUS) == NEURODATA_ID
    assert denied(access.check_create_project, "ds", BOB) is DatasetNotFoundError
    assert denied(open_access.check_create_project, "ds", ANONYMOUS) is DatasetNotFoundError
    assert denied(access.check_create_project, "ds_public", ANONYMOUS) is AuthenticationError


def test_channels_and_tokens_need_the_project(access):
    manage = access.check_manage_project
    assert manage("ds", "pr", ANN) == OWNER
    assert manage("ds", "pr", ROOT) == 1
    assert denied(manage, "ds", "pr", BOB) is ProjectNotFoundError
    assert denied(manage, "ds_public", "pr_public", BOB) is PermissionDeniedError
    assert denied(manage, "ds_public", "pr_public", ANONYMOUS) is AuthenticationError


def test_channels_by_token_need_the_project_or_an_open_server(world, access, open_access):
    """Seen to fail without ``anonymous_write`` in the condition of ``open_to_manage``."""
    assert access.open_to_manage("tk", ANN).project.name == "pr"
    assert open_access.open_to_manage("tk_public", ANONYMOUS).project.name == "pr_public"
    assert denied(access.open_to_manage, "tk_public", ANONYMOUS) is AuthenticationError
    for name, public in (("of_bob", False), ("of_bob_public", True)):
        world.catalog.create_token(token(name, user_id=8, public=public))
        assert access.open(name, BOB, write=True).project.name == "pr"
        assert denied(access.open_to_manage, name, BOB) is PermissionDeniedError
    assert open_access.open_to_manage("of_bob_public", BOB).project.name == "pr"


def test_only_owners_and_superusers_delete(access):
    deletions = (
        access.check_delete_dataset,
        access.check_delete_project,
        access.check_delete_token,
    )
    for depth, delete in enumerate(deletions, 1):
        private, public = (
            ("ds", "pr", "tk")[:depth],
            ("ds_public", "pr_public", "tk_public")[:depth],
        )
        for principal in (ANN, ROOT):
            delete(*private, principal)
        for principal in (BOB, ANONYMOUS):
            assert issubclass(denied(delete, *private, principal), NotFoundError)
        assert denied(delete, *public, BOB) is PermissionDeniedError
        assert denied(delete, *public, ANONYMOUS) is AuthenticationError


def test_a_dataset_that_carries_projects_of_others_is_not_deleted(world, access):
    world.catalog.create_project(project("bobs", dataset="ds_public", user_id=8))
    with pytest.raises(InvalidStateError):
        access.check_delete_dataset("ds_public", ANN)
    access.check_delete_dataset("ds_public", ROOT)


def test_a_deletion_that_stopped_half_way_may_be_repeated(world, access):
    with pytest.raises(Crash):
        world.services(FaultPlan(2))[1].delete_dataset("ds")
    access.check_delete_dataset("ds", ANN)
    access.check_delete_project("ds", "pr", ANN)
    with pytest.raises(DatasetNotFoundError):
        access.check_delete_dataset("ds", BOB)


def test_what_was_made_without_a_key_belongs_to_everybody_on_an_open_server(
    world, access, open_access
):
    world.catalog.create_dataset(dataset("open", user_id=NEURODATA_ID))
    for principal in (ANONYMOUS, BOB):
        open_access.check_delete_dataset("open", principal)
        with pytest.raises(DatasetNotFoundError):
            access.check_delete_dataset("open", principal)
