"""What a process finds or makes beside its stores: the server's secret and the admin's key."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ndlambda import runtime
from ndlambda.errors import InvalidArgumentError
from ndlambda.local.serve import ensure_admin
from ndlambda.model.principal import Principal
from ndlambda.runtime import ADMIN, Runtime
from ndlambda.settings import Settings


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Runtime]:
    made = runtime.build(Settings(data=tmp_path, fsync=False))
    yield made
    made.close()


def test_stores_on_aws_need_a_secret(tmp_path):
    """Seen to fail where other stores than files take a secret from the data folder, too: each
    Lambda function would make its own."""
    with pytest.raises(InvalidArgumentError, match="NDLAMBDA_SECRET"):
        runtime.build(Settings(data=tmp_path, store="aws", aws_endpoint="http://127.0.0.1:9"))
    assert not list(tmp_path.iterdir())


def test_of_processes_that_make_one_file_at_once_the_first_wins(tmp_path):
    """Seen to fail with ``os.replace`` instead of ``os.link``."""
    path = tmp_path / "secret.key"

    def overtaken() -> str:
        assert runtime.keep_file(path, lambda: "first") == "first"
        return "second"

    assert runtime.keep_file(path, overtaken) == "first"
    assert path.read_text() == "first\n"
    assert list(tmp_path.iterdir()) == [path]


def admin_of(built: Runtime, folder: Path) -> Principal | None:
    """Return who has the key of the admin's file."""
    ensure_admin(built)
    return built.users.authenticate((folder / "admin.key").read_text().strip())


def test_a_revoked_admin_key_that_lies_in_the_file_stays_revoked(built, tmp_path):
    """Seen to fail with ``replaces=True`` for a key of the file."""
    assert admin_of(built, tmp_path)
    built.users.revoke_user(ADMIN)
    assert admin_of(built, tmp_path) is None


def test_a_deleted_admin_key_file_is_made_again_with_a_key_that_works(built, tmp_path):
    assert admin_of(built, tmp_path)
    (tmp_path / "admin.key").unlink()
    assert admin_of(built, tmp_path).superuser
