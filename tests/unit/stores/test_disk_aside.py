"""What leaves the drop folder when its channel is deleted, and what is never touched."""

import errno
import os
import time
from pathlib import Path

import pytest

from ndlambda.errors import StoreUnavailableError, UpstreamError
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
) -> None:
    file = write(tmp_path / where / "em/0000.png", "of others")
    (data / "drop/linked").symlink_to(tmp_path / where)
    assert AsideFolder(data).set_aside("drop/linked/em/", "uid", LATER) == ""
    assert file.read_text() == "of others"


def test_the_drop_folder_itself_may_be_a_link(data: Path, tmp_path: Path) -> None:
    (data / "drop").rename(tmp_path / "disk")
    (data / "drop").symlink_to(tmp_path / "disk")
    AsideFolder(data).set_aside("drop/brain/em/", "uid", LATER)
    assert aside_files(data) == {"brain/em/0000.png": "old"}


def test_what_is_set_aside_replaces_nothing_that_was_before(data: Path) -> None:
    aside = AsideFolder(data)
    for text in ("old", "second", "third"):
        write(data / "drop/brain/em/0000.png", text)
        aside.set_aside("drop/brain/em/", "uid", LATER)
    assert aside_files(data) == {
        "brain/em/0000.png": "old",
        "brain/em/1.0000.png": "second",
        "brain/em/2.0000.png": "third",
    }


@pytest.mark.parametrize("name", ["brain/em", "brain/em/time0001", "brain/em/0000.png"])
def test_nothing_is_moved_through_a_link_that_was_set_aside(
    data: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = data / "drop/.deleted/uid" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    write(data / "drop/brain/em/time0001/0001.png", "new")
    AsideFolder(data).set_aside("drop/brain/em/", "uid", LATER)
    assert not list(outside.iterdir())
    assert sorted(aside_files(data).values()) == ["new", "old"]


def test_files_are_copied_to_another_file_system(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    (data / "drop/brain/em/link.png").symlink_to("0000.png")
    monkeypatch.setattr(os, "rename", rename)
    AsideFolder(data).set_aside("drop/brain/em/", "uid", LATER)
    assert aside_files(data) == {"brain/em/0000.png": "old"}
    assert (data / "drop/.deleted/uid/brain/em/link.png").is_symlink()
    assert not (data / "drop/brain/em").exists()


def test_a_file_that_cannot_be_moved_is_not_copied_either(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(source: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(UpstreamError):
        AsideFolder(data).set_aside("drop/brain/em/", "uid", LATER)
    assert not aside_files(data)


def test_an_unmounted_drop_folder_is_not_an_empty_one(data: Path, tmp_path: Path) -> None:
    (data / "drop").rename(tmp_path / "disk")
    (data / "drop").symlink_to(tmp_path / "unmounted")
    with pytest.raises(StoreUnavailableError):
        AsideFolder(data).set_aside("drop/brain/em/", "uid", LATER)


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def failing(path: Path) -> object:
        if Path(path).name == "time0001":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    (data / "drop/brain/em/time0001").mkdir()
    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(UpstreamError):
        AsideFolder(data).set_aside("drop/brain/em/", "uid", LATER)


def test_a_folder_that_is_gone_is_an_empty_one(data: Path) -> None:
    assert AsideFolder(data).set_aside("drop/gone/em/", "uid", LATER) == ""
    assert AsideFolder(data).set_aside("drop/brain/em/0000.png/", "uid", LATER) == ""


@pytest.mark.parametrize("moved", ["brain", "brain/em", "brain/em/time0001"])
def test_a_folder_that_was_moved_in_after_the_deletion_stays(
    data: Path, tmp_path: Path, moved: str
) -> None:
    """Its files have not changed since, but the folder has."""
    folder, staged = data / "drop" / moved, tmp_path / "staged"
    file = write(data / "drop/brain/em/time0001/0000.png", "new")
    folder.rename(staged)
    before = tick(staged)
    staged.rename(folder)
    AsideFolder(data).set_aside("drop/brain/em/", "uid", before)
    assert file.read_text() == "new"
    assert "new" not in aside_files(data).values()


def test_old_files_leave_a_folder_into_which_others_were_dropped_since(data: Path) -> None:
    before = tick(data / "drop/brain/em")
    write(data / "drop/brain/em/0001.png", "new")
    AsideFolder(data).set_aside("drop/brain/em/", "uid", before)
    assert aside_files(data) == {"brain/em/0000.png": "old"}
    assert (data / "drop/brain/em/0001.png").read_text() == "new"


def tick(folder: Path) -> float:
    """Return a time after the last change of all in a folder, and before the next."""
    probe = folder.parent / "probe"
    probe.touch()
    before = time.time()
    while probe.lstat().st_ctime <= before:
        probe.touch()
    return before
