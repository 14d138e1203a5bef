"""Who may do what."""

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
    return world.access(anonymous_write=True)


def denied(access: Access, name: str, principal: Principal, *, write: bool = False) -> type:
    with pytest.raises(NDLambdaError) as caught:
        access.open(name, principal, write=write)
    return type(caught.value)


@pytest.mark.parametrize("principal", [ANN, ROOT])
def test_owners_and_superusers_read_and_write(access: Access, principal: Principal):
    for name in ("tk", "tk_public"):
        for write in (False, True):
            assert access.open(name, principal, write=write).token.name == name


def test_a_private_token_is_closed_to_others(access: Access, open_access: Access):
    for some in (access, open_access):
        for write in (False, True):
            assert denied(some, "tk", ANONYMOUS, write=write) is AuthenticationError
            assert denied(some, "tk", BOB, write=write) is PermissionDeniedError


def test_a_public_token_is_open_for_reading(access: Access):
    assert access.open("tk_public", ANONYMOUS).project.name == "pr_public"
    assert access.open("tk_public", BOB).project.name == "pr_public"
    assert denied(access, "tk_public", ANONYMOUS, write=True) is AuthenticationError
    assert denied(access, "tk_public", BOB, write=True) is PermissionDeniedError


def test_everybody_may_write_to_a_public_token_only_where_the_server_says_so(open_access: Access):
    for principal in (ANONYMOUS, BOB):
        assert open_access.open("tk_public", principal, write=True).token.public


@pytest.mark.parametrize("principal", [ANONYMOUS, BOB])
@pytest.mark.parametrize("write", [False, True])
def test_an_unknown_token_looks_like_a_forbidden_one(
    access: Access, principal: Principal, write: bool
):
    answers = []
    for name in ("tk", "no"):
        with pytest.raises(NDLambdaError) as caught:
            access.open(name, principal, write=write)
        error = caught.value
        answers.append((type(error), error.message.replace(repr(name), "NAME"), error.details))
    assert answers[0] == answers[1]


def test_a_superuser_is_told_that_a_token_does_not_exist(access: Access):
    with pytest.raises(TokenNotFoundError):
        access.open("no", ROOT)


def test_private_resources_look_like_missing_ones(access: Access):
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


def test_resources_are_found_under_their_own_parents_only(access: Access):
    with pytest.raises(ProjectNotFoundError):
        access.project("ds_public", "pr", ANN)
    with pytest.raises(ProjectNotFoundError):
        access.channel("ds_public", "pr", "ch", ANN)
    with pytest.raises(TokenNotFoundError):
        access.token("ds", "pr", "tk_public", ANN)
    with pytest.raises(ProjectNotFoundError):
        access.check_delete_project("ds_public", "pr", ANN)


def test_things_are_owned_by_who_makes_them(access: Access, open_access: Access):
    assert access.owner_id_of(BOB) == 8
    assert open_access.owner_id_of(ANONYMOUS) == NEURODATA_ID
    with pytest.raises(AuthenticationError):
        access.owner_id_of(ANONYMOUS)


def test_a_project_needs_a_dataset_that_is_public_or_own(access: Access, open_access: Access):
    assert access.check_create_project("ds_public", BOB) == 8
    assert access.check_create_project("ds", ANN) == OWNER
    assert open_access.check_create_project("ds_public", ANONYMOUS) == NEURODATA_ID
    for some, principal in ((access, BOB), (open_access, ANONYMOUS)):
        with pytest.raises(DatasetNotFoundError):
            some.check_create_project("ds", principal)
    with pytest.raises(AuthenticationError):
        access.check_create_project("ds_public", ANONYMOUS)


def test_channels_and_tokens_need_the_project(access: Access):
    assert access.check_manage_project("ds", "pr", ANN) == OWNER
    assert access.check_manage_project("ds", "pr", ROOT) == 1
    with pytest.raises(ProjectNotFoundError):
        access.check_manage_project("ds", "pr", BOB)
    with pytest.raises(PermissionDeniedError):
        access.check_manage_project("ds_public", "pr_public", BOB)
    with pytest.raises(AuthenticationError):
        access.check_manage_project("ds_public", "pr_public", ANONYMOUS)


def test_channels_by_token_need_the_project_or_an_open_server(
    world: World, access: Access, open_access: Access
):
    assert access.open_to_manage("tk", ANN).project.name == "pr"
    assert open_access.open_to_manage("tk_public", ANONYMOUS).project.name == "pr_public"
    with pytest.raises(AuthenticationError):
        access.open_to_manage("tk_public", ANONYMOUS)
    world.catalog.create_token(token("of_bob", user_id=8))
    assert access.open("of_bob", BOB, write=True).project.name == "pr"
    with pytest.raises(PermissionDeniedError):
        access.open_to_manage("of_bob", BOB)


def test_a_public_token_lets_its_owner_manage_another_users_project_on_an_open_server_only(
    world: World, access: Access, open_access: Access
):
    """Seen to fail without ``anonymous_write`` in the condition of ``open_to_manage``."""
    world.catalog.create_token(token("of_bob", user_id=8, public=True))
    assert open_access.open_to_manage("of_bob", BOB).project.name == "pr"
    with pytest.raises(PermissionDeniedError):
        access.open_to_manage("of_bob", BOB)


def test_only_owners_and_superusers_delete(access: Access):
    for principal in (ANN, ROOT):
        access.check_delete_dataset("ds", principal)
        access.check_delete_project("ds", "pr", principal)
        access.check_delete_token("ds", "pr", "tk", principal)
    for principal, public_error in ((BOB, PermissionDeniedError), (ANONYMOUS, AuthenticationError)):
        for suffix, error in (("", NotFoundError), ("_public", public_error)):
            names = (f"ds{suffix}", f"pr{suffix}", f"tk{suffix}")
            with pytest.raises(error):
                access.check_delete_dataset(names[0], principal)
            with pytest.raises(error):
                access.check_delete_project(*names[:2], principal)
            with pytest.raises(error):
                access.check_delete_token(*names, principal)


def test_a_dataset_that_carries_projects_of_others_is_not_deleted(world: World, access: Access):
    world.catalog.create_project(project("bobs", dataset="ds_public", user_id=8))
    with pytest.raises(InvalidStateError):
        access.check_delete_dataset("ds_public", ANN)
    access.check_delete_dataset("ds_public", ROOT)


def test_a_deletion_that_stopped_half_way_may_be_repeated(world: World, access: Access):
    with pytest.raises(Crash):
        world.services(FaultPlan(2))[1].delete_dataset("ds")
    access.check_delete_dataset("ds", ANN)
    access.check_delete_project("ds", "pr", ANN)
    with pytest.raises(DatasetNotFoundError):
        access.check_delete_dataset("ds", BOB)


def test_what_was_made_without_a_key_belongs_to_everybody_on_an_open_server(
    world: World, access: Access, open_access: Access
):
    world.catalog.create_dataset(dataset("open", user_id=NEURODATA_ID))
    for principal in (ANONYMOUS, BOB):
        open_access.check_delete_dataset("open", principal)
        with pytest.raises(DatasetNotFoundError):
            access.check_delete_dataset("open", principal)
