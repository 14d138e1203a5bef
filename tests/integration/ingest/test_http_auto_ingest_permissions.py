"""autoIngest fills what the caller may manage, and nothing of others."""

from dataclasses import replace

import pytest

from ndlambda.model.catalog import Project, Token
from tests.support.app import assert_problem, serving
from tests.support.auto_ingest import begin, post, request, said

URL = "http://brain.example"


@pytest.fixture
def server(tmp_path):
    """A server on which alice has a public dataset, and on it a project with a token."""
    with serving(tmp_path, ingest_allowed_hosts="brain.example") as made:
        begin(made, request(URL))
        catalog = made.runtime.catalog
        catalog.create_dataset(replace(catalog.get_dataset("ds"), name="shared", public=True))
        catalog.create_project(Project("lab", "shared", user_id=made.owner, public=True))
        catalog.create_token(Token("seen", "lab", user_id=made.owner, public=True))
        yield made


def asked(project, token):
    named = {"project_name": project, "token_name": token}
    return request(URL, dataset={"dataset_name": "shared"}, project=named)


@pytest.mark.parametrize("token", ["new", "seen"])
def test_a_project_of_another_user_is_not_filled(server, token):
    """Seen to fail without the owner in ``AutoCreation``: a token is made, or only that refused."""
    doc = asked("lab", token)
    with server.unchanged():
        answer = post(server, doc, "bob", "/v1/auto-ingest")
        assert assert_problem(answer, 409, "AlreadyExistsError")["name"] == "lab"
        assert said(server, doc, "bob") == "This name is taken."
    assert post(server, doc, "alice", "/v1/auto-ingest").status_code == 201


def test_a_public_dataset_of_another_user_may_carry_an_own_project(server):
    assert post(server, asked("his", "his"), "bob", "/v1/auto-ingest").status_code == 201
    made = server.runtime.catalog.get_project("his")
    assert (made.dataset, made.user_id == server.owner) == ("shared", False)
