"""Who is in the cluster: ids and peer URLs, names and client URLs as published.

The records travel in the log and live in the store beside the configuration that Raft goes by, in
the same transaction as the applied index: a snapshot carries both.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from raftkv.config import ClusterConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ChangeAction, ConfigurationChange
from raftkv.server.identity import cluster_id_of, member_id_of

__all__ = ["CONFIGURATION_KEY", "MemberRecord", "Membership", "stored_configuration"]

RECORD_KEY = b"member/"
REMOVED_KEY = b"removed/"
"""Ids that were members once and never will be again."""
CONFIGURATION_KEY = b"configuration"


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One member as clients are told about it."""

    id: int
    name: str
    """Empty while the member has never run."""
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]

    def encode(self) -> bytes:
        """Return the record as it travels in the log."""
        return json.dumps(
            {
                "id": f"{self.id:x}",
                "name": self.name,
                "peerURLs": self.peer_urls,
                "clientURLs": self.client_urls,
            }
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> "MemberRecord":
        """Read what `encode` made. Raises ValueError for anything else."""
        try:
            fields = json.loads(data)
            return cls(
                int(fields["id"], 16),
                fields["name"],
                tuple(fields["peerURLs"]),
                tuple(fields["clientURLs"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no member record: {error}") from error

    @property
    def key(self) -> bytes:
        """Where the store keeps the record."""
        return RECORD_KEY + f"{self.id:016x}".encode()


class Membership:
    """The members of one cluster, as of what this member has applied."""

    def __init__(self, cluster: ClusterConfig) -> None:
        """Start with the members that the flags name: those that found the cluster."""
        ids = {name: member_id_of(urls, cluster.token) for name, urls in cluster.members.items()}
        self.cluster_id = cluster_id_of(ids.values())
        self.id_of_name: Mapping[str, int] = ids
        self._removed: set[int] = set()
        self._records = {
            member_id: MemberRecord(member_id, "", cluster.members[name], ())
            for name, member_id in ids.items()
        }

    @classmethod
    def of(cls, cluster_id: int, records: Iterable[MemberRecord]) -> "Membership":
        """Return what the members of a running cluster say of it."""
        membership = cls.__new__(cls)
        membership.cluster_id = cluster_id
        membership._removed = set()
        membership._records = {record.id: record for record in records}
        membership.id_of_name = {record.name: record.id for record in membership.list()}
        return membership

    @property
    def ids(self) -> frozenset[int]:
        """Every member's id."""
        return frozenset(self._records)

    def __contains__(self, member_id: int) -> bool:
        return member_id in self._records

    def __getitem__(self, member_id: int) -> MemberRecord:
        return self._records[member_id]

    def get(self, member_id: int) -> MemberRecord | None:
        """Return a member's record, None for a stranger."""
        return self._records.get(member_id)

    def peer_url(self, member_id: int) -> str:
        """Return where a member is reached by the others; empty for a stranger."""
        record = self._records.get(member_id)
        return record.peer_urls[0] if record else ""

    def list(self) -> list[MemberRecord]:
        """Return all members, by id."""
        return [self._records[member_id] for member_id in sorted(self._records)]

    @property
    def removed(self) -> frozenset[int]:
        """The ids that were members once."""
        return frozenset(self._removed)

    def was_removed(self, member_id: int) -> bool:
        """Say whether an id was a member once and was removed."""
        return member_id in self._removed

    def load(self, stored: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]) -> None:
        """Take over what the store holds, where that is a whole membership; else its records."""
        rows = dict(stored)
        records = [
            MemberRecord.decode(value) for key, value in rows.items() if key.startswith(RECORD_KEY)
        ]
        if CONFIGURATION_KEY in rows:
            self._records = {record.id: record for record in records}
            self._removed = {
                int(key.removeprefix(REMOVED_KEY), 16)
                for key in rows
                if key.startswith(REMOVED_KEY)
            }
            return
        for record in records:
            self.publish(record)

    def publish(self, record: MemberRecord) -> bool:
        """Take in a member's name and client URLs; of a stranger they are ignored."""
        known = self._records.get(record.id)
        if known is None:
            return False
        self._records[record.id] = replace(known, name=record.name, client_urls=record.client_urls)
        return True

    def rows(self, configuration: Configuration) -> dict[bytes, bytes]:
        """Return all that the store is to hold of the membership."""
        rows = {record.key: record.encode() for record in self.list()}
        rows[CONFIGURATION_KEY] = configuration.encode()
        rows.update((_removed_key(member_id), b"") for member_id in self._removed)
        return rows

    def apply(
        self, change: ConfigurationChange, record: MemberRecord | None, after: Configuration
    ) -> dict[bytes, bytes | None]:
        """Follow a change that took effect; returns the rows of the store that it changes.

        `record` came with the change: the member that is added or updated.
        """
        rows: dict[bytes, bytes | None] = {CONFIGURATION_KEY: after.encode()}
        adding = (ChangeAction.ADD_VOTER, ChangeAction.ADD_LEARNER, ChangeAction.UPDATE)
        for one in change.changes:
            if record is None or one.member_id != record.id or one.action not in adding:
                continue
            if record.id in after.members:
                self._records[record.id] = record
                rows[record.key] = record.encode()
        for member_id in [one for one in self._records if one not in after.members]:
            gone = self._records.pop(member_id)
            self._removed.add(member_id)
            rows[gone.key] = None
            rows[_removed_key(member_id)] = b""
        return rows


def stored_configuration(rows: Mapping[bytes, bytes]) -> Configuration | None:
    """Return the configuration that a store holds, None where it holds none yet."""
    encoded = rows.get(CONFIGURATION_KEY)
    return None if encoded is None else Configuration.decode(encoded)


def _removed_key(member_id: int) -> bytes:
    return REMOVED_KEY + f"{member_id:016x}".encode()
