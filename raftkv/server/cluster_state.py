"""What a member knows of its cluster: members, alarms, users; kept in the store's small records.

Records change only as entries are applied, in the same transaction as the applied index, so that
restarts and snapshots have them as of exactly that entry.
"""

import logging
from collections.abc import Callable, Mapping

from raftkv._native.command_batch import read_commands
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ConfigurationChange
from raftkv.raft.messages import Entry
from raftkv.server.alarms import Alarms
from raftkv.server.auth_state import AuthState
from raftkv.server.command import CommandKind, lone_payload
from raftkv.server.downgrade import Downgrade
from raftkv.server.membership import CONFIGURATION_KEY, MemberRecord, Membership
from raftkv.server.peer_links import PeerLinks
from raftkv.server.store import Store

__all__ = ["ClusterState"]

log = logging.getLogger(__name__)


class ClusterState:
    """Members and alarms of one member's cluster. Used from the loop only."""

    def __init__(
        self,
        member_id: int,
        membership: Membership,
        store: Store,
        links: PeerLinks,
        auth: AuthState,
    ) -> None:
        self.membership = membership
        self.alarms = Alarms()
        self.auth = auth
        self.downgrade = Downgrade()
        self.is_published = False
        """Whether the cluster knows this member's name and client URLs, as of this life."""
        self.on_lease_terms: Callable[[bytes], object] = lambda _batch: None
        """Called with each batch of `LEASE_TERMS` that is applied."""
        self.on_published: Callable[[], object] = lambda: None
        """Called once, when `is_published` becomes true."""
        self._member_id = member_id
        self._store = store
        self._links = links

    def load(self, configuration: Configuration) -> None:
        """Take over what the store holds; a founding member writes it down first."""
        rows = self._store.member_records()
        self.membership.load(rows)
        if CONFIGURATION_KEY not in rows and configuration.voters:
            self._put(dict(self.membership.rows(configuration)))
        self.alarms.load(rows)
        self.auth.load(rows)
        self.downgrade.load(rows)
        self._links.follow(self.membership.list())

    def apply_command(self, kind: int, data: bytes) -> bytes | int | None:
        """Apply a batch that holds a command opaque to the store, of this kind.

        Returns its answer, or the ErrorCode of its refusal; None where there is nothing to say.
        """
        if kind == CommandKind.MEMBER_RECORD:
            self._apply_records(data)
        elif kind == CommandKind.ALARM:
            return self._apply_alarm(data)
        elif kind == CommandKind.DOWNGRADE:
            self.apply_downgrade(data)
        elif kind == CommandKind.LEASE_TERMS:
            self.on_lease_terms(data)
        elif kind == CommandKind.AUTH:
            return self.auth.apply(data)
        return None

    def _apply_records(self, data: bytes) -> None:
        """Apply a batch of members' own records."""
        published = self.is_published
        for kind, payload in read_commands(data):
            if kind != CommandKind.MEMBER_RECORD:
                continue
            record = MemberRecord.decode(payload)
            if self.membership.publish(record):
                known = self.membership[record.id]
                self._put({known.key: known.encode()})
                self.is_published |= record.id == self._member_id
        if self.is_published and not published:
            log.info("published member", extra={"member": f"{self._member_id:x}"})
            self.on_published()

    def _apply_alarm(self, data: bytes) -> bytes:
        """Apply a batch's one request to arm or disarm; returns the answer, but for its header.

        It lists what is armed now or was disarmed by this. Only here is it known whether there was
        anything to disarm: a member that just started may be behind when it proposes.
        """
        request = pb.AlarmRequest.FromString(lone_payload(data, CommandKind.ALARM))
        rows = self.alarms.apply(request)
        if rows:
            log.warning("alarm", extra={"request": str(request).replace("\n", " ")})
            self._put(rows)
        if request.action == pb.AlarmRequest.DEACTIVATE and not rows:
            return b""
        named = pb.AlarmMember(memberID=request.memberID, alarm=request.alarm)
        return pb.AlarmResponse(alarms=[named]).SerializeToString()

    def apply_downgrade(self, data: bytes) -> None:
        """Apply requests to begin or end a downgrade."""
        for kind, payload in read_commands(data):
            if kind != CommandKind.DOWNGRADE:
                continue
            self._put(self.downgrade.apply(pb.DowngradeRequest.FromString(payload)))

    def apply_change(self, entry: Entry, configuration: Configuration) -> None:
        """Follow a change of membership that took effect with this entry."""
        change = ConfigurationChange.decode(entry.data)
        record = MemberRecord.decode(change.context) if change.context else None
        self._put(self.membership.apply(change, record, configuration))
        self._links.follow(self.membership.list())
        log.info(
            "membership changed",
            extra={
                "voters": [f"{one:x}" for one in sorted(configuration.voters)],
                "learners": [f"{one:x}" for one in sorted(configuration.learners)],
            },
        )

    def admit(self, peer_id: int, url: str) -> None:
        """Let one in who says that it is of this cluster, though it is not known here yet."""
        self._links.admit(peer_id, url)

    @property
    def was_removed(self) -> bool:
        """Whether this member has been removed from the cluster."""
        return self.membership.was_removed(self._member_id)

    def _put(self, rows: Mapping[bytes, bytes | None]) -> None:
        for key, value in rows.items():
            self._store.put_member_record(key, value)
