"""Who is in the cluster: ids and peer URLs as configured, names and client URLs as published.

Every member publishes its name and client URLs through the log once it runs, so that each member
can tell clients about all of them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from raftkv.config import ClusterConfig
from raftkv.server.identity import cluster_id_of, member_id_of

__all__ = ["MemberRecord", "Membership"]

RECORD_KEY = b"member/"


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
        """Read what `encode` made."""
        fields = json.loads(data)
        return cls(
            int(fields["id"], 16),
            fields["name"],
            tuple(fields["peerURLs"]),
            tuple(fields["clientURLs"]),
        )

    @property
    def key(self) -> bytes:
        """Where the store keeps the record."""
        return RECORD_KEY + f"{self.id:016x}".encode()


class Membership:
    """The members of one cluster."""

    def __init__(self, cluster: ClusterConfig) -> None:
        ids = {name: member_id_of(urls, cluster.token) for name, urls in cluster.members.items()}
        self.cluster_id = cluster_id_of(ids.values())
        self.id_of_name: Mapping[str, int] = ids
        self._records = {
            member_id: MemberRecord(member_id, "", cluster.members[name], ())
            for name, member_id in ids.items()
        }

    @property
    def ids(self) -> frozenset[int]:
        """Every member's id."""
        return frozenset(self._records)

    def __getitem__(self, member_id: int) -> MemberRecord:
        return self._records[member_id]

    def list(self) -> list[MemberRecord]:
        """Return all members, by id."""
        return [self._records[member_id] for member_id in sorted(self._records)]

    def load(self, stored: Iterable[tuple[bytes, bytes]]) -> None:
        """Take in the records that the store kept; others of its records are skipped."""
        for key, value in stored:
            if key.startswith(RECORD_KEY):
                self.publish(MemberRecord.decode(value))

    def publish(self, record: MemberRecord) -> None:
        """Take in one record; of a member that is not configured it is ignored."""
        if record.id in self._records:
            self._records[record.id] = record
