"""What the member keeps beside keys and leases, as the small buckets of etcd's database, and back.

Names and encodings are etcd's (`server/storage/schema`, `etcdserver/api/membership`), so that its
tools and its members read a snapshot of ours. The cluster's version is left out: members of any
version then agree on one when they start, where a newer one written down would keep them out.
"""

import json
import struct
from collections.abc import Iterable, Mapping

from google.protobuf.message import DecodeError

from raftkv._native.snapshot_reader import SnapshotReader
from raftkv._native.wire import decode_fields
from raftkv.auth import store as auth
from raftkv.pb.etcd import auth_pb2
from raftkv.server.alarms import Alarms
from raftkv.server.membership import MemberRecord, Membership, stored_configuration
from raftkv.version import ETCD_VERSION

__all__ = ["Buckets", "auth_records", "buckets_of", "compact_revision_of", "lease_of"]

Rows = list[tuple[bytes, bytes]]
Buckets = dict[bytes, Rows]
"""Rows by bucket."""

AUTH, USERS, ROLES = b"auth", b"authUsers", b"authRoles"
ENABLED, REVISION = b"authEnabled", b"authRevision"
SCHEDULED, FINISHED = b"scheduledCompactRev", b"finishedCompactRev"

_U64 = struct.Struct(">Q")
REVISION_MAX = 1 << 62
"""No cluster comes that far; room is left above for what is added."""


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
        **_auth(records),
    }


def auth_records(
    settings: Iterable[tuple[bytes, bytes]],
    users: Iterable[tuple[bytes, bytes]],
    roles: Iterable[tuple[bytes, bytes]],
) -> dict[bytes, bytes]:
    """Return the records of what etcd's three buckets of authentication hold.

    The secret of tokens is not among them: the restored members make a new one. Raises ValueError.
    """
    found = dict(settings)
    records: dict[bytes, bytes] = {}
    if ENABLED in found:
        records[auth.ENABLED] = b"1" if found[ENABLED] == b"\x01" else b"0"
    if len(found.get(REVISION, b"")) == _U64.size:
        records[auth.REVISION] = b"%d" % _U64.unpack(found[REVISION])[0]
    try:
        for name, value in users:
            _check_name(name, auth_pb2.User.FromString(value).name)
            records[auth.USER + name] = value
        for name, value in roles:
            _check_name(name, auth_pb2.Role.FromString(value).name)
            records[auth.ROLE + name] = value
    except DecodeError as error:
        raise ValueError(f"a user or role is malformed: {error}") from error
    return records


def compact_revision_of(meta: Mapping[bytes, bytes]) -> int:
    """Return the revision that was compacted to, or is to be; -1 for none. Raises ValueError."""
    marks = [meta[name] for name in (SCHEDULED, FINISHED) if name in meta]
    if any(len(mark) < _U64.size for mark in marks):
        raise ValueError("a mark of compaction is too short")
    revision: int = max((_U64.unpack_from(mark)[0] for mark in marks), default=-1)
    if revision > REVISION_MAX:
        raise ValueError(f"revision {revision} cannot have been compacted")
    return revision


def lease_of(value: bytes) -> tuple[int, int]:
    """Read a leasepb.Lease: its id, and the TTL in seconds that it was granted. ValueError."""
    fields = dict(decode_fields(value))
    lease, ttl = fields.get(0x08, 0), fields.get(0x10, 0)
    assert isinstance(lease, int)
    assert isinstance(ttl, int)
    if not lease or not 0 < ttl < 1 << 63:
        raise ValueError(f"lease {lease:x} of {ttl} s cannot be")
    return lease if lease < 1 << 63 else lease - (1 << 64), ttl


def _check_name(key: bytes, name: bytes) -> None:
    if not key or key != name:
        raise ValueError(f"a user or role is named {name!r} in one place and {key!r} in another")
    try:
        key.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the name {key!r} of a user or role is not UTF-8") from error


def _meta(snapshot: SnapshotReader, compacted_revision: int) -> Rows:
    rows = [
        (b"consistent_index", _U64.pack(snapshot.index)),
        (b"term", _U64.pack(snapshot.term)),
        (b"storageVersion", ETCD_VERSION.encode()),
    ]
    configuration = stored_configuration(snapshot.records)
    if configuration is not None:
        ids = {
            "voters": sorted(configuration.voters),
            "learners": sorted(configuration.learners),
            "voters_outgoing": sorted(configuration.voters_outgoing),
            "learners_next": sorted(configuration.learners_next),
        }
        state: dict[str, object] = {name: found for name, found in ids.items() if found}
        state["auto_leave"] = configuration.auto_leave
        rows.append((b"confState", _json(state)))
    if snapshot.compact_revision >= 0:
        rows.append((SCHEDULED, _revision(snapshot.compact_revision)))
    if 0 < compacted_revision <= snapshot.compact_revision:
        rows.append((FINISHED, _revision(compacted_revision)))
    return rows


def _alarms(records: Mapping[bytes, bytes]) -> Rows:
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
    return _json(fields)


def _auth(records: Mapping[bytes, bytes]) -> Buckets:
    settings = []
    if auth.ENABLED in records:
        settings.append((ENABLED, b"\x01" if records[auth.ENABLED] == b"1" else b"\x00"))
    if auth.REVISION in records:
        settings.append((REVISION, _U64.pack(int(records[auth.REVISION]))))
    return {AUTH: settings, USERS: _under(auth.USER, records), ROLES: _under(auth.ROLE, records)}


def _under(prefix: bytes, records: Mapping[bytes, bytes]) -> Rows:
    return [
        (name[len(prefix) :], value) for name, value in records.items() if name.startswith(prefix)
    ]


def _revision(main: int) -> bytes:
    """A revision as etcd's keys and marks spell it: 17 bytes."""
    return _U64.pack(main) + b"_" + _U64.pack(0)


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
