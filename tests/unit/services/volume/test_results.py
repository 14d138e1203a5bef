import pytest

from ndlambda.errors import NotFoundError
from ndlambda.services.volume.results import Results
from ndlambda.stores.disk import DiskObjectStore
from ndlambda.stores.ports import Create
from ndlambda.testing.counting import CountingObjectStore

HALF_DAY_S = 12 * 3600


@pytest.fixture
def objects(tmp_path):
    return CountingObjectStore(DiskObjectStore(tmp_path, fsync=False))


def test_the_same_answer_is_stored_once_in_half_a_day(objects):
    now = iter((1.0, HALF_DAY_S - 1.0, HALF_DAY_S + 1.0))
    results = Results(objects, b"secret", lambda: next(now))
    names = [results.store(b"voxels") for _ in range(3)]
    assert objects.counts.calls == {"objects.get": 3, "objects.put": 2}
    assert names[0] == names[1] != names[2], "a name outlives its object otherwise"
    assert {bytes(results.read(name)) for name in names} == {b"voxels"}


def test_a_name_tells_nothing_to_who_knows_the_content(objects):
    name, other = (Results(objects, key, lambda: 0.0).store(b"voxels") for key in (b"a", b"b"))
    assert name != other
    assert Results(objects, b"a", lambda: 0.0).store(b"others") not in {name, other}


@pytest.mark.parametrize("name", ["", "x" * 43, "x" * 42, "../" + "x" * 40, "uploads/x"])
def test_what_is_no_result_is_not_found(objects, name):
    objects.put("uploads/x", b"private", Create())
    with pytest.raises(NotFoundError):
        Results(objects, b"secret").read(name)
