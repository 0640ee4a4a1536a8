"""A command that ends with a rename never renames over a device, a pipe or a directory."""

import os
from pathlib import Path

import pytest

from raftkv.ctl.errors import CommandError, ExitCode
from raftkv.ctl.import_ import ResumeFile
from raftkv.ctl.replaced_file import check_replaceable


def test_files_and_new_names_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("x")
    for name in ("old", "new"):
        check_replaceable(tmp_path / name)


def test_anything_else_is_refused_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-null").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path, tmp_path / "pipe", tmp_path / "to-null"):
        with pytest.raises(CommandError, match="is no regular file") as caught:
            check_replaceable(path)
        assert caught.value.code == ExitCode.INVALID_INPUT


def test_the_place_of_an_import_is_checked_before_anything_is_copied() -> None:
    with pytest.raises(CommandError, match="/dev/null is no regular file"):
        ResumeFile("/dev/null")
