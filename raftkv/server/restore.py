"""Make a member's data directory from a snapshot file, or from the database of an etcd.

Each member of the new cluster restores the same file under its own name; they then start as if
they had all applied the same first entry. Keys keep their revisions and versions, leases their ids
and (whole) TTLs, users and roles everything but tokens. Members and alarms of the old cluster are
left behind.

The directory is made beside its place and appears in one rename, so that it is whole or not there.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from raftkv._native.log_store import LogStore
from raftkv._native.state_builder import StateBuilder
from raftkv.bbolt.errors import BboltError
from raftkv.bbolt.file import BboltFile
from raftkv.config import Config
from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import HardState
from raftkv.server.bootstrap import CLUSTER_ID, JOINED, MEMBER_ID, MEMBERS, NAME
from raftkv.server.etcd_buckets import (
    AUTH,
    REVISION_MAX,
    ROLES,
    USERS,
    auth_records,
    compact_revision_of,
    lease_of,
)
from raftkv.server.join import encode_records
from raftkv.server.membership import Membership
from raftkv.storage.data_dir import DataDirectory
from raftkv.storage.directory_sync import sync_directory

__all__ = ["RestoreError", "Restored", "restore"]

DRAFT = "restoring"
"""Where the directory is made: beside `member`, which it becomes."""
FIRST_INDEX, FIRST_TERM = 1, 1
"""The entry that the restored members begin behind. One that was not restored has less, so that it
is not elected by those that were, and is sent their state."""
PROGRESS_ROWS = 4096
LEASES_MAX = 10_000_000
"""They are kept in memory, as in a member."""


class RestoreError(Exception):
    """The directory cannot be made: the text says what to change."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was made."""

    cluster_id: int
    member_id: int
    revision: int
    compact_revision: int
    """-1: never compacted."""
    versions: int
    """Versions of keys, deletions included."""
    leases: int


def restore(
    source: BboltFile,
    config: Config,
    *,
    bump_revision: int = 0,
    mark_compacted: bool = False,
    progress: Callable[[int, int], object] = lambda _done, _size: None,
) -> Restored:
    """Make `config.data_dir` for the member `config.name` of `config.cluster`.

    The revision becomes `bump_revision` larger than in the file, and with `mark_compacted` all
    before it is compacted, so that watchers of the old cluster notice. Raises BboltError for a
    damaged file, RestoreError, DataDirectoryError, OSError; then the directory is as it was.
    """
    if b"key" not in source.buckets or b"meta" not in source.buckets:
        raise BboltError(f"{source.path} is a bbolt file, but not a database of etcd")
    target = config.data_dir
    existed = _refuse_used(target)
    draft = target / DRAFT
    if draft.exists():
        shutil.rmtree(draft)
    try:
        directory = DataDirectory.open(draft)
        try:
            made = _Restoration(source, config, directory, progress).run(
                bump_revision, mark_compacted
            )
        finally:
            directory.close()
        (draft / "member").rename(target / "member")
        draft.rmdir()
        for folder in (target, target.parent):
            sync_directory(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        if not existed and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        raise
    return made


def _refuse_used(target: Path) -> bool:
    """Tell whether the directory is there; RestoreError unless it may be filled."""
    if not target.exists():
        return False
    if not target.is_dir():
        raise RestoreError(f"{target} is not a directory")
    if any(entry.name not in (DRAFT, "lost+found") for entry in target.iterdir()):
        raise RestoreError(
            f'data-dir "{target}" not empty; name a new directory, or remove what is there'
        )
    return True


class _Restoration:
    """One run of `restore`."""

    def __init__(
        self,
        source: BboltFile,
        config: Config,
        directory: DataDirectory,
        progress: Callable[[int, int], object],
    ) -> None:
        self.source = source
        self.membership = Membership(config.cluster)
        self.name = config.name
        self.member_id = self.membership.id_of_name[config.name]
        self.directory = directory
        self.progress = progress

    def run(self, bump_revision: int, mark_compacted: bool) -> Restored:
        builder = StateBuilder(str(self.directory.state_path))
        try:
            self.add_versions(builder)
            leases = self.leases()
            compact_revision = self.compact_revision()
            revision = max(1, builder.revision, compact_revision) + bump_revision
            if revision > REVISION_MAX:
                raise RestoreError(f"revision {revision} is too high to go on from")
            if mark_compacted:
                compact_revision = revision
            builder.finish(
                cluster_id=self.membership.cluster_id,
                member_id=self.member_id,
                index=FIRST_INDEX,
                term=FIRST_TERM,
                revision=revision,
                compact_revision=compact_revision,
                leases=leases,
                records=self.records(),
            )
        finally:
            builder.close()
        self.make_log()
        return Restored(
            self.membership.cluster_id,
            self.member_id,
            revision,
            compact_revision,
            builder.versions,
            len(leases),
        )

    def add_versions(self, builder: StateBuilder) -> None:
        done = 0
        for revision, key_value in self.source.rows(b"key"):
            try:
                builder.add(revision, key_value)
            except ValueError as error:
                raise BboltError(f"{self.source.path}: bucket key: {error}") from error
            done += len(key_value)
            if builder.versions % PROGRESS_ROWS == 0:
                self.progress(done, self.source.size_bytes)
        self.progress(self.source.size_bytes, self.source.size_bytes)

    def compact_revision(self) -> int:
        try:
            return compact_revision_of(dict(self.source.rows(b"meta")))
        except ValueError as error:
            raise BboltError(f"{self.source.path}: bucket meta: {error}") from error

    def leases(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for _, value in self.source.rows(b"lease"):
            try:
                lease, ttl = lease_of(value)
            except ValueError as error:
                raise BboltError(f"{self.source.path}: bucket lease: {error}") from error
            found[lease] = ttl
            if len(found) > LEASES_MAX:
                raise BboltError(f"{self.source.path}: more than {LEASES_MAX} leases")
        return found

    def records(self) -> dict[bytes, bytes]:
        """Return the records of the new cluster: its members, and the users as they were."""
        records = self.membership.rows(Configuration(self.membership.ids))
        try:
            users = auth_records(*(self.source.rows(name) for name in (AUTH, USERS, ROLES)))
        except ValueError as error:
            raise BboltError(f"{self.source.path}: {error}") from error
        return {**records, **users}

    def make_log(self) -> None:
        log = LogStore(str(self.directory.log_path))
        try:
            log.put_metadata(
                {
                    CLUSTER_ID: self.membership.cluster_id.to_bytes(8, "big"),
                    MEMBER_ID: self.member_id.to_bytes(8, "big"),
                    MEMBERS: encode_records(self.membership.list()),
                    NAME: self.name.encode(),
                    JOINED: b"0",
                }
            )
            hard_state = HardState(term=FIRST_TERM, commit=FIRST_INDEX)
            log.reset(FIRST_INDEX, FIRST_TERM, hard_state)
        finally:
            log.close()
