"""The data directory: made, locked, refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from raftkv.storage.data_dir import DataDirectory
from raftkv.storage.errors import DataDirectoryError


def test_a_directory_is_made_private_and_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        directory = DataDirectory.open(tmp_path / "new" / "data")
        for folder in (directory.path, directory.log_path, directory.state_path):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        directory.close()
        directory.close()


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    directory = DataDirectory.open(tmp_path)
    with pytest.raises(DataDirectoryError, match="in use by another process"):
        DataDirectory.open(tmp_path)
    directory.close()
    DataDirectory.open(tmp_path).close()


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("member/wal/0.wal", "", "data directory of etcd"),
        ("photos/cat.png", "", "not empty and not a data directory of raftkv"),
        ("member/log/data.mdb", "", "it is damaged"),
        ("member/format", "raftkv member 1\n", "start the version of raftkv that wrote it"),
    ],
)
def test_what_is_not_ours_is_refused_and_left_alone(
    tmp_path: Path, file: str, content: str, problem: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(DataDirectoryError, match=problem):
        DataDirectory.open(tmp_path)
    assert path.read_text() == content


def test_a_file_and_an_unwritable_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="not a directory"):
        DataDirectory.open(tmp_path / "file")
    with pytest.raises(DataDirectoryError, match="name a directory that this user may write"):
        DataDirectory.open(Path("/proc/raftkv"))
