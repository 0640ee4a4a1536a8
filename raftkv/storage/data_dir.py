"""A member's data directory: made once, locked while in use, refused when it is not ours.

<data-dir>/member/format     the name and number of this layout
<data-dir>/member/lock       held by the running member
<data-dir>/member/log/       the Raft log (`log_directory`)
<data-dir>/member/state/     LMDB: the key-value state
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from raftkv.storage.directory_sync import sync_directory
from raftkv.storage.errors import DataDirectoryError

FORMAT = "raftkv member 2\n"
"""Content of the file `format`; the number changes when an older program could not read on."""

ETCD_NAMES = frozenset({"wal", "snap"})
"""What etcd keeps in `member/`."""


class DataDirectory:
    """An open, locked data directory. Use `open()`."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd: int | None = lock_fd

    @property
    def log_path(self) -> Path:
        """Where the log lives."""
        return self.path / "member" / "log"

    @property
    def state_path(self) -> Path:
        """Where the state lives."""
        return self.path / "member" / "state"

    @classmethod
    def open(cls, path: Path) -> DataDirectory:
        """Create or open the directory and lock it until `close()`, or until the process ends.

        Raises DataDirectoryError when another process holds it, when it belongs to something else,
        is damaged, or cannot be made or written.
        """
        member = path / "member"
        try:
            _refuse_foreign(path, member)
            member.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_fd = _lock(member / "lock", path)
        except OSError as error:
            raise DataDirectoryError(
                f"{path}: {error.strerror or error}; name a directory that this user may write"
            ) from error
        try:
            _mark(path, member)
            for folder in (member / "log", member / "state"):
                folder.mkdir(mode=0o700, exist_ok=True)
                folder.chmod(0o700)
            path.chmod(0o700)
            member.chmod(0o700)
        except OSError as error:
            os.close(lock_fd)
            raise DataDirectoryError(f"{path}: {error.strerror or error}") from error
        except DataDirectoryError:
            os.close(lock_fd)
            raise
        return cls(path, lock_fd)

    def close(self) -> None:
        """Give the lock back; idempotent. Close the log and the state before."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


OWN_NAMES = frozenset({"member", "lost+found"})
"""What may be in a data directory; the second is there where a disk is mounted."""


def _refuse_foreign(path: Path, member: Path) -> None:
    """Raise if the directory holds something that no member of ours put there."""
    if not path.exists() or (member / "format").exists():
        return
    if not path.is_dir():
        raise DataDirectoryError(f"{path} is not a directory; name another data directory")
    inside = {entry.name for entry in member.iterdir()} if member.is_dir() else set()
    if inside & ETCD_NAMES:
        raise DataDirectoryError(
            f"{path} is a data directory of etcd, whose files raftkv does not read; start with an "
            "empty directory and copy the keys over (etcdctl make-mirror)"
        )
    if inside & {"log", "state"}:
        raise DataDirectoryError(
            f"{path} has data but no file member/format: it is damaged. Restore the file from a "
            "backup, or remove this member, empty the directory and add the member again"
        )
    strangers = sorted(entry.name for entry in path.iterdir() if entry.name not in OWN_NAMES)
    if strangers:
        raise DataDirectoryError(
            f"{path} is not empty and not a data directory of raftkv (it holds "
            f"{', '.join(strangers[:3])}); name an empty or new directory"
        )


def _lock(file: Path, path: Path) -> int:
    """Take the lock and return the descriptor that holds it."""
    lock_fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock_fd)
        if isinstance(error, BlockingIOError):
            raise DataDirectoryError(
                f"{path} is in use by another process; stop it or name another data directory"
            ) from error
        raise
    return lock_fd


def _mark(path: Path, member: Path) -> None:
    """Check the format file, or write it (synced, in one step) where the directory is new."""
    file = member / "format"
    if file.exists():
        found = file.read_text(encoding="utf-8", errors="replace")
        if found != FORMAT:
            raise DataDirectoryError(
                f"{path} has format {found.strip()!r}, this program reads {FORMAT.strip()!r}; "
                "start the version of raftkv that wrote it"
            )
        return
    draft = member / "format.new"
    with draft.open("w", encoding="utf-8") as out:
        out.write(FORMAT)
        out.flush()
        os.fsync(out.fileno())
    draft.rename(file)
    for folder in (member, path, path.parent):
        sync_directory(folder)
