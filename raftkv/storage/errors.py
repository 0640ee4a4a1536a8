"""What the disk may do to a member. All but SnapshotError are fatal: the member stops."""

from __future__ import annotations

import errno


class StorageError(Exception):
    """The base of all storage errors; the text says what to do."""


class CorruptLogError(StorageError):
    """A stored record does not match its checksum or its place. Never served, never skipped."""

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(
            f"log entry {index}: {problem}. Do not delete single files: remove this member's data "
            "directory and let the member rejoin, or restore from a snapshot"
        )
        self.index = index


class LogFullError(StorageError):
    """No room: the disk is full or the map size is reached. Nothing was written."""

    def __init__(self, operation: str, detail: str) -> None:
        super().__init__(f"{operation}: no space for the log ({detail}); free disk space, restart")


class LogIOError(StorageError):
    """The operating system failed a read, write or sync; whether data is on disk is unknown."""

    def __init__(self, operation: str, code: int, detail: str) -> None:
        super().__init__(f"{operation}: {detail} (error {code}); check the disk, then restart")
        self.code = code


class DataDirectoryError(StorageError):
    """The data directory cannot be used: locked, foreign, of another format, or not ours."""


class SnapshotError(StorageError):
    """A chunk of a snapshot is damaged, or not the one that follows. Nothing of it was written.

    The transfer may go on with the chunk that the writer asks for, or start over.
    """


def error_of(operation: str, error: OSError) -> StorageError:
    """Return the storage error that stands for one of the operating system."""
    detail = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LogFullError(operation, detail)
    return LogIOError(operation, error.errno or 0, detail)
