"""What the member keeps beside keys and leases, as the small buckets of etcd's database.

Names and encodings are etcd's (`server/storage/schema`, `etcdserver/api/membership`), so that its
tools and its members read a snapshot of ours. The cluster's version is left out: members of any
version then agree on one when they start, where a newer one written down would keep them out.
"""

import json
import struct
from collections.abc import Mapping

from raftkv._native.snapshot_reader import SnapshotReader
from raftkv.server.alarms import Alarms
from raftkv.server.membership import MemberRecord, Membership, stored_configuration
from raftkv.version import ETCD_VERSION

__all__ = ["Buckets", "buckets_of", "revision_bytes"]

Buckets = dict[bytes, list[tuple[bytes, bytes]]]
"""Rows by bucket."""

AUTH_BUCKETS = (b"auth", b"authUsers", b"authRoles")


def revision_bytes(main: int, sub: int = 0) -> bytes:
    """Return a revision as etcd's keys and marks spell it: 17 bytes."""
    return struct.pack(">Q", main) + b"_" + struct.pack(">Q", sub)


def buckets_of(snapshot: SnapshotReader, compacted_revision: int) -> Buckets:
    """Return all buckets but `key` and `lease`, as of the snapshot.

    `compacted_revision`: compaction is worked off up to there. Cost: O(members, users, roles).
    """
    records = snapshot.records
    return {
        b"meta": _meta(snapshot, compacted_revision),
        b"alarm": _alarms(records),
        b"cluster": [],
        **_members(records),
        **{name: [] for name in AUTH_BUCKETS},
    }


def _meta(snapshot: SnapshotReader, compacted_revision: int) -> list[tuple[bytes, bytes]]:
    rows = [
        (b"consistent_index", struct.pack(">Q", snapshot.index)),
        (b"term", struct.pack(">Q", snapshot.term)),
        (b"storageVersion", ETCD_VERSION.encode()),
    ]
    configuration = stored_configuration(snapshot.records)
    if configuration is not None:
        state: dict[str, list[int] | bool] = {
            "voters": sorted(configuration.voters),
            "learners": sorted(configuration.learners),
            "voters_outgoing": sorted(configuration.voters_outgoing),
            "learners_next": sorted(configuration.learners_next),
        }
        state = {name: ids for name, ids in state.items() if ids}
        state["auto_leave"] = configuration.auto_leave
        rows.append((b"confState", json.dumps(state, separators=(",", ":")).encode()))
    if snapshot.compact_revision > 0:
        rows.append((b"scheduledCompactRev", revision_bytes(snapshot.compact_revision)))
    if 0 < compacted_revision <= snapshot.compact_revision:
        rows.append((b"finishedCompactRev", revision_bytes(compacted_revision)))
    return rows


def _alarms(records: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    alarms = Alarms()
    alarms.load(records)
    return [(one.SerializeToString(), b"") for one in alarms.armed()]


def _members(records: Mapping[bytes, bytes]) -> Buckets:
    membership = Membership.of(0, ())
    membership.load(records)
    configuration = stored_configuration(records)
    learners = frozenset() if configuration is None else configuration.learners
    return {
        b"members": [
            (f"{one.id:x}".encode(), _member_json(one, one.id in learners))
            for one in membership.list()
        ],
        b"members_removed": [
            (f"{member_id:x}".encode(), b"removed") for member_id in sorted(membership.removed)
        ],
    }


def _member_json(record: MemberRecord, is_learner: bool) -> bytes:
    fields: dict[str, object] = {"id": record.id, "peerURLs": list(record.peer_urls)}
    if is_learner:
        fields["isLearner"] = True
    if record.name:
        fields["name"] = record.name
    if record.client_urls:
        fields["clientURLs"] = list(record.client_urls)
    return json.dumps(fields, separators=(",", ":")).encode()
