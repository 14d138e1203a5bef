"""What leaves the drop folder when its channel is deleted, and what is never touched."""

from pathlib import Path

import pytest

from ndlambda.stores.disk import AsideFolder

LATER = 1e12
"""Unix seconds after any change of a file."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path / "nd/drop/brain/em/0000.png", "old")
    return tmp_path / "nd"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def aside_files(data: Path, uid: str = "uid") -> dict[str, str]:
    root = data / "drop/.deleted" / uid
    found = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(root)): path.read_text() for path in found}


@pytest.mark.parametrize("where", ["nd/drop/living", "outside"])
def test_nothing_behind_a_link_to_a_folder_above_is_set_aside(
    data: Path, tmp_path: Path, where: str
):
    file = write(tmp_path / where / "em/0000.png", "of others")
    (data / "drop/linked").symlink_to(tmp_path / where)
    assert AsideFolder(data).set_aside("drop/linked/em/", "uid", LATER) == ""
    assert file.read_text() == "of others"


def test_the_drop_folder_itself_may_be_a_link(data: Path, tmp_path: Path):
    (data / "drop").rename(tmp_path / "disk")
    (data / "drop").symlink_to(tmp_path / "disk")
    AsideFolder(data).set_aside("drop/brain/em/", "uid", LATER)
    assert aside_files(data) == {"brain/em/0000.png": "old"}
