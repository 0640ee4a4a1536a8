"""Write a set of files so that a reader sees all old ones or all new ones.

The files live in a time-stamped directory; `..data` is a symlink to it, replaced by rename; each
top-level name is a symlink through `..data`. The layout is Kubernetes' own, and programs watch it:

    ..2026_01_01_12_00_00.1f3a/key
    ..data -> ..2026_01_01_12_00_00.1f3a
    key -> ..data/key
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

DATA_LINK = "..data"


@dataclass(frozen=True, slots=True)
class FileContent:
    content: bytes
    mode: int = 0o644


class UnsafePathError(ValueError):
    """A file's path is absolute, empty or leads out of the volume."""


def check_path(path: str) -> None:
    """Raise UnsafePathError unless `path` stays below the volume and outside its own names."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise UnsafePathError(f"invalid path {path!r}: must be relative and not contain '..'")


def write_files(directory: Path, files: Mapping[str, FileContent], now: datetime) -> bool:
    """Make the directory show exactly `files` (path -> content); return False where it did already.

    `now` names the new generation. One writer at a time.
    """
    for path in files:
        check_path(path)
    directory.mkdir(parents=True, exist_ok=True)
    current = directory / DATA_LINK
    if current.is_symlink() and _read_files(current) == dict(files):
        return False
    stamp = now.strftime("..%Y_%m_%d_%H_%M_%S.") + secrets.token_hex(4)
    generation = directory / stamp
    generation.mkdir(mode=0o755)
    for path, file in files.items():
        target = generation / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
    previous = os.readlink(current) if current.is_symlink() else None
    temporary = directory / "..data_tmp"
    with suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(stamp)
    temporary.rename(current)
    _link_names(directory, files)
    if previous is not None:
        shutil.rmtree(directory / previous, ignore_errors=True)
    return True


def _read_files(generation: Path) -> dict[str, FileContent]:
    found = {}
    root = Path(os.path.realpath(generation))
    for path in root.rglob("*"):
        if path.is_file():
            mode = path.stat().st_mode & 0o7777
            found[str(path.relative_to(root))] = FileContent(path.read_bytes(), mode)
    return found


def _link_names(directory: Path, files: Mapping[str, FileContent]) -> None:
    wanted = {PurePosixPath(path).parts[0] for path in files}
    for entry in list(directory.iterdir()):
        if not entry.name.startswith("..") and entry.name not in wanted and entry.is_symlink():
            entry.unlink()
    for name in wanted:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA_LINK}/{name}")
