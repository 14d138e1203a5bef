"""What a process is built from."""

import stat

from ndlambda import runtime
from ndlambda.settings import Settings


def test_the_folder_of_the_stores_is_its_owners_alone(tmp_path):
    data = tmp_path / "data"
    runtime.build(Settings(data=data, fsync=False)).close()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "secret.key").stat().st_mode) == 0o600


def test_a_folder_that_others_may_read_is_closed(tmp_path):
    tmp_path.chmod(0o755)
    runtime.build(Settings(data=tmp_path, fsync=False)).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
