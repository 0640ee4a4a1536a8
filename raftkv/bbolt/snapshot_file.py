"""A snapshot as a file: etcd's database, with the SHA-256 of it behind, as `snapshot save` leaves.

The database that lies in an etcd's data directory (`member/snap/db`) is the same without the hash.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from raftkv._native.crc32c import crc32c
from raftkv.bbolt.errors import BboltError
from raftkv.bbolt.file import BboltFile

__all__ = ["HashCheck", "SnapshotStatus", "open_database", "open_snapshot", "status_of"]

HASH_BYTES = hashlib.sha256().digest_size
SECTOR_BYTES = 512
"""Databases are whole sectors, so a file has its hash if that much is over."""
READ_BYTES = 1 << 20

Progress = Callable[[int, int], object]
"""Called with bytes done and bytes in all."""


class HashCheck(Enum):
    """What is asked of the hash behind a database."""

    REQUIRED = "required"
    """It must be there and be right."""
    IF_THERE = "if there"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """What `snapshot status` tells."""

    hash: int
    """CRC-32C over all buckets' names and rows, in order."""
    revision: int
    """Of the last key in it."""
    total_keys: int
    """Rows of all buckets, as etcd counts."""
    total_size: int
    """Bytes of the database."""
    version: str
    """Of etcd's storage; empty before 3.6."""


def open_snapshot(
    path: Path,
    check: HashCheck = HashCheck.REQUIRED,
    progress: Progress = lambda _done, _size: None,
) -> BboltFile:
    """Open what `snapshot save` wrote. Raises BboltError, OSError."""
    size = path.stat().st_size
    has_hash = size % SECTOR_BYTES == HASH_BYTES
    if check is HashCheck.REQUIRED and not has_hash:
        raise BboltError(
            f"{path}: snapshot missing hash but --skip-hash-check=false (was the file cut off, or "
            "taken from a data directory?)"
        )
    end = size - HASH_BYTES if has_hash else size
    if has_hash and check is not HashCheck.SKIPPED:
        _compare(path, end, progress)
    return BboltFile(path, end)


def open_database(path: Path) -> BboltFile:
    """Open the file `member/snap/db` of an etcd that does not run, or a snapshot of whatever kind.

    Raises BboltError, also where an etcd has the file locked.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BboltError(
            f"{path} is in use by a running etcd; stop it, or take a snapshot of it "
            "(snapshot save), or copy from it as it runs (import --from-endpoints)"
        ) from error
    finally:
        os.close(fd)
    return open_snapshot(path, HashCheck.IF_THERE)


def status_of(file: BboltFile, progress: Progress = lambda _done, _size: None) -> SnapshotStatus:
    """Read everything. Raises BboltError."""
    value = keys = revision = done = 0
    version = ""
    for bucket in file.buckets:
        value = crc32c(bucket, value)
        for key, content in file.rows(bucket):
            value = crc32c(content, crc32c(key, value))
            keys += 1
            done += len(key) + len(content)
            if bucket == b"key":
                revision = int.from_bytes(key[:8], "big")
            elif bucket == b"meta" and key == b"storageVersion":
                version = content.decode("utf-8", "backslashreplace")
            if keys % 4096 == 0:
                progress(done, file.size_bytes)
    progress(file.size_bytes, file.size_bytes)
    return SnapshotStatus(value, revision, keys, file.size_bytes, version)


def _compare(path: Path, end: int, progress: Progress) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        with suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        done = 0
        while done < end:
            data = file.read(min(READ_BYTES, end - done))
            if not data:
                raise BboltError(f"{path} became shorter while it was read")
            digest.update(data)
            done += len(data)
            progress(done, end)
        expected = file.read(HASH_BYTES)
    if expected != digest.digest():
        raise BboltError(
            f"{path} is damaged: expected sha256 {expected.hex()}, got {digest.hexdigest()}"
        )
