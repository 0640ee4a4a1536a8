"""The store in plain Python and in memory: the specification of `mvcc_store`, and its oracle.

Every version of every key is kept in a dictionary and answers are built from protobuf messages:
slow, and easy to read. What the interface means is in `mvcc_store.pyi`. There is no disk: flushing
and compaction steps only move the numbers that they move in the native store.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from raftkv._native.mvcc_request_reference import (
    TXN_DEPTH_MAX,
    check_delete_range,
    check_put,
    check_range,
    check_txn,
    only_ranges,
    parse,
)
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import kv_pb2, rpc_pb2

LATEST = 1 << 62
LEASE_TTL_S_MAX = 9_000_000_000


class Refused(Exception):
    """The command cannot run; it has changed nothing."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a key. A tombstone has `version` 0."""

    key: bytes
    main: int
    sub: int
    create: int = 0
    version: int = 0
    lease: int = 0
    value: bytes = b""

    def key_value(self, *, with_value: bool = True) -> kv_pb2.KeyValue:
        return kv_pb2.KeyValue(
            key=self.key,
            create_revision=self.create,
            mod_revision=self.main,
            version=self.version,
            value=self.value if with_value else b"",
            lease=self.lease,
        )


class MvccStoreReference:
    """See `mvcc_store.pyi`."""

    def __init__(self, *, cluster_id: int, member_id: int, txn_ops_max: int = 128) -> None:
        self.cluster_id = cluster_id
        self.member_id = member_id
        self.txn_ops_max = txn_ops_max
        self.revision = 1
        self.compact_revision = -1
        self.applied_index = 0
        self.applied_term = 0
        self.raft_term = 0
        self.versions: dict[bytes, list[Version]] = {}
        self.leases: dict[int, int] = {}
        self.lease_changes: list[tuple[str, int, int]] = []
        self.changes: list[Version] = []

    # Reading

    def at(self, key: bytes, revision: int) -> Version | None:
        """Return the live version of the key at a revision."""
        for version in reversed(self.versions.get(key, [])):
            if version.main <= revision:
                return version if version.version else None
        return None

    def select(self, key: bytes, range_end: bytes, revision: int = LATEST) -> list[Version]:
        """Return the live versions in a range, in key order."""
        if not range_end:
            keys = [key]
        else:
            keys = sorted(
                k for k in self.versions if k >= key and (range_end == b"\0" or k < range_end)
            )
        return [version for k in keys if (version := self.at(k, revision)) is not None]

    def header(self, revision: int, *, top: bool = True) -> rpc_pb2.ResponseHeader:
        if not top:
            return rpc_pb2.ResponseHeader(revision=revision)
        return rpc_pb2.ResponseHeader(
            cluster_id=self.cluster_id,
            member_id=self.member_id,
            revision=revision,
            raft_term=self.raft_term,
        )

    @property
    def seen_revision(self) -> int:
        return self.revision + bool(self.changes)

    def check_revision(self, revision: int) -> None:
        if revision > self.revision:
            raise Refused(ErrorCode.FUTURE_REV)
        if 0 < revision < self.compact_revision:
            raise Refused(ErrorCode.COMPACTED)

    def run_range(
        self, request: rpc_pb2.RangeRequest, *, top: bool = True
    ) -> rpc_pb2.RangeResponse:
        if error := check_range(request):
            raise Refused(ErrorCode(error))
        self.check_revision(request.revision)
        revision = request.revision if request.revision > 0 else LATEST
        found = self.select(request.key, request.range_end, revision)
        response = rpc_pb2.RangeResponse(
            header=self.header(self.seen_revision, top=top), count=len(found)
        )
        if request.count_only:
            return response
        bounds = rpc_pb2.RangeRequest()
        bounds.CopyFrom(request)
        kept = [version for version in found if passes(bounds, version)]
        target = request.sort_target
        if target or request.sort_order == rpc_pb2.RangeRequest.DESCEND:
            kept = in_order(kept, target, request.sort_order)
        limit = request.limit if request.limit > 0 else len(kept)
        response.more = len(kept) > limit
        response.kvs.extend(v.key_value(with_value=not request.keys_only) for v in kept[:limit])
        return response

    # Writing: `changes` collects the versions of the running command

    def change(self, version: Version) -> None:
        self.versions.setdefault(version.key, []).append(version)
        self.changes.append(version)

    def run_put(self, request: rpc_pb2.PutRequest, *, top: bool = True) -> rpc_pb2.PutResponse:
        if error := check_put(request):
            raise Refused(ErrorCode(error))
        if request.lease and request.lease not in self.leases:
            raise Refused(ErrorCode.LEASE_NOT_FOUND)
        prior = self.at(request.key, LATEST)
        if prior is None and (request.ignore_value or request.ignore_lease):
            raise Refused(ErrorCode.KEY_NOT_FOUND)
        response = rpc_pb2.PutResponse(header=self.header(self.revision + 1, top=top))
        if request.prev_kv and prior is not None:
            response.prev_kv.CopyFrom(prior.key_value())
        self.change(
            Version(
                key=request.key,
                main=self.revision + 1,
                sub=len(self.changes),
                create=prior.create if prior else self.revision + 1,
                version=prior.version + 1 if prior else 1,
                lease=prior.lease if prior and request.ignore_lease else request.lease,
                value=prior.value if prior and request.ignore_value else request.value,
            )
        )
        return response

    def run_delete_range(
        self, request: rpc_pb2.DeleteRangeRequest, *, top: bool = True
    ) -> rpc_pb2.DeleteRangeResponse:
        if error := check_delete_range(request):
            raise Refused(ErrorCode(error))
        found = self.select(request.key, request.range_end)
        for version in found:
            self.change(Version(version.key, self.revision + 1, len(self.changes)))
        response = rpc_pb2.DeleteRangeResponse(
            header=self.header(self.seen_revision, top=top), deleted=len(found)
        )
        if request.prev_kv:
            response.prev_kvs.extend(version.key_value() for version in found)
        return response

    # Transactions: plan every branch first, then run

    def holds(self, compare: rpc_pb2.Compare) -> bool:
        found = self.select(compare.key, compare.range_end)
        if found:
            return all(compare_holds(compare, version) for version in found)
        if compare.target == rpc_pb2.Compare.VALUE:
            return False
        return compare_holds(compare, Version(compare.key, 0, 0))

    def plan(
        self,
        request: rpc_pb2.TxnRequest,
        path: list[bool],
        ranges: list[rpc_pb2.RangeRequest],
        depth: int,
    ) -> None:
        """Add the branches to take to `path`, and to `ranges` what they read."""
        if depth > TXN_DEPTH_MAX:
            raise Refused(ErrorCode.TOO_MANY_OPS)
        if any(not compare.key for compare in request.compare):
            raise Refused(ErrorCode.INVALID_REQUEST)
        succeeded = all(self.holds(compare) for compare in request.compare)
        path.append(succeeded)
        for op in request.success if succeeded else request.failure:
            match op.WhichOneof("request"):
                case "request_range":
                    if error := check_range(op.request_range):
                        raise Refused(ErrorCode(error))
                    ranges.append(op.request_range)
                case "request_put":
                    self.plan_put(op.request_put)
                case "request_delete_range":
                    if error := check_delete_range(op.request_delete_range):
                        raise Refused(ErrorCode(error))
                case "request_txn":
                    self.plan(op.request_txn, path, ranges, depth + 1)
                case _:
                    raise Refused(ErrorCode.KEY_NOT_FOUND)

    def plan_put(self, put: rpc_pb2.PutRequest) -> None:
        if error := check_put(put):
            raise Refused(ErrorCode(error))
        if (put.ignore_value or put.ignore_lease) and self.at(put.key, LATEST) is None:
            raise Refused(ErrorCode.KEY_NOT_FOUND)
        if put.lease and put.lease not in self.leases:
            raise Refused(ErrorCode.LEASE_NOT_FOUND)

    def run_txn(self, request: rpc_pb2.TxnRequest) -> rpc_pb2.TxnResponse:
        path: list[bool] = []
        ranges: list[rpc_pb2.RangeRequest] = []
        self.plan(request, path, ranges, 1)
        for range_request in ranges:  # etcd tells the errors of puts before those of ranges
            self.check_revision(range_request.revision)
        response = self.follow(request, path[::-1])
        response.header.CopyFrom(self.header(self.seen_revision))
        return response

    def follow(self, request: rpc_pb2.TxnRequest, path: list[bool]) -> rpc_pb2.TxnResponse:
        """Run the branches that `path` names, the next one last in the list."""
        succeeded = path.pop()
        response = rpc_pb2.TxnResponse(header=rpc_pb2.ResponseHeader(), succeeded=succeeded)
        for op in request.success if succeeded else request.failure:
            answer = response.responses.add()
            match op.WhichOneof("request"):
                case "request_range":
                    answer.response_range.CopyFrom(self.run_range(op.request_range, top=False))
                case "request_put":
                    answer.response_put.CopyFrom(self.run_put(op.request_put, top=False))
                case "request_delete_range":
                    answer.response_delete_range.CopyFrom(
                        self.run_delete_range(op.request_delete_range, top=False)
                    )
                case _:
                    answer.response_txn.CopyFrom(self.follow(op.request_txn, path))
        return response

    # Commands that are not KV

    def run_compaction(self, request: rpc_pb2.CompactionRequest) -> rpc_pb2.CompactionResponse:
        if request.revision <= self.compact_revision:
            raise Refused(ErrorCode.COMPACTED)
        if request.revision > self.revision:
            raise Refused(ErrorCode.FUTURE_REV)
        self.compact_revision = request.revision
        for key in list(self.versions):
            self.compact_key(key)
        return rpc_pb2.CompactionResponse(header=self.header(self.revision))

    def compact_key(self, key: bytes) -> None:
        """Keep what is newer than the compact revision, and the newest that is not.

        That one goes too if it is a tombstone older than the compact revision.
        """
        versions = self.versions[key]
        old = [version for version in versions if version.main <= self.compact_revision]
        kept = old[-1:]
        if kept and not kept[0].version and kept[0].main < self.compact_revision:
            kept = []
        self.versions[key] = kept + versions[len(old) :]
        if not self.versions[key]:
            del self.versions[key]

    def run_lease_grant(self, request: rpc_pb2.LeaseGrantRequest) -> rpc_pb2.LeaseGrantResponse:
        if request.ID == 0:
            raise Refused(ErrorCode.INVALID_REQUEST)
        if request.TTL > LEASE_TTL_S_MAX:
            raise Refused(ErrorCode.LEASE_TTL_TOO_LARGE)
        if request.ID in self.leases:
            raise Refused(ErrorCode.LEASE_EXIST)
        self.leases[request.ID] = request.TTL
        self.lease_changes.append(("grant", request.ID, request.TTL))
        return rpc_pb2.LeaseGrantResponse(
            header=self.header(self.revision), ID=request.ID, TTL=request.TTL
        )

    def run_lease_revoke(self, request: rpc_pb2.LeaseRevokeRequest) -> rpc_pb2.LeaseRevokeResponse:
        if request.ID not in self.leases:
            raise Refused(ErrorCode.LEASE_NOT_FOUND)
        for key in self.lease_keys(request.ID):
            self.change(Version(key, self.revision + 1, len(self.changes)))
        del self.leases[request.ID]
        self.lease_changes.append(("revoke", request.ID, 0))
        return rpc_pb2.LeaseRevokeResponse(header=self.header(self.seen_revision))

    def run_command(self, kind: int, payload: bytes) -> bytes | int | tuple[int, bytes]:
        if kind >= 64:
            return kind, payload
        runs = {
            1: (rpc_pb2.PutRequest, self.run_put),
            2: (rpc_pb2.DeleteRangeRequest, self.run_delete_range),
            3: (rpc_pb2.TxnRequest, self.run_txn),
            4: (rpc_pb2.CompactionRequest, self.run_compaction),
            5: (rpc_pb2.LeaseGrantRequest, self.run_lease_grant),
            6: (rpc_pb2.LeaseRevokeRequest, self.run_lease_revoke),
        }
        if kind not in runs:
            return ErrorCode.INVALID_REQUEST
        message, run = runs[kind]
        request = parse(message(), payload)
        if request is None:
            return ErrorCode.INVALID_REQUEST
        try:
            response: bytes = run(request).SerializeToString()  # type: ignore[operator]
        except Refused as refused:
            return refused.code
        finally:
            self.revision += bool(self.changes)
            self.changes = []
        return response

    # The interface of the native store

    def apply(
        self, index: int, term: int, batch: bytes, answer: bool
    ) -> list[bytes | int | tuple[int, bytes]] | None:
        answers: list[bytes | int | tuple[int, bytes]] = []
        if index > self.applied_index:
            self.raft_term = term
            answers = [self.run_command(*command) for command in split_batch(batch)]
            self.applied_index, self.applied_term = index, term
        return answers if answer else None

    def check_txn(self, request: bytes) -> int:
        message = parse(rpc_pb2.TxnRequest(), request)
        return check_txn(message, self.txn_ops_max) if message else ErrorCode.INVALID_REQUEST

    def range(self, request: bytes, raft_term: int) -> bytes | int:
        self.raft_term = raft_term
        message = parse(rpc_pb2.RangeRequest(), request)
        if message is None:
            return ErrorCode.INVALID_REQUEST
        try:
            return self.run_range(message).SerializeToString()
        except Refused as refused:
            return refused.code

    def txn_read(self, request: bytes, raft_term: int) -> bytes | int:
        self.raft_term = raft_term
        message = parse(rpc_pb2.TxnRequest(), request)
        if message is None or only_ranges(message) is None:
            return ErrorCode.INVALID_REQUEST
        try:
            return self.run_txn(message).SerializeToString()
        except Refused as refused:
            return refused.code

    def events(
        self, start_revision: int, end_revision: int, bytes_max: int
    ) -> list[tuple[int, bytes, bytes]]:
        if start_revision < self.compact_revision:
            raise StoreError(ErrorCode.COMPACTED)
        every = [version for versions in self.versions.values() for version in versions]
        events: list[tuple[int, bytes, bytes]] = []
        taken = 0
        for version in sorted(every, key=lambda v: (v.main, v.sub)):
            if not start_revision <= version.main <= end_revision:
                continue
            if events and version.main != events[-1][0] and taken >= bytes_max:
                break
            event = kv_pb2.Event(kv=version.key_value())
            if not version.version:
                event.type = kv_pb2.Event.DELETE
            data = event.SerializeToString()
            taken += len(data)
            events.append((version.main, version.key, data))
        return events

    def previous_kv(self, key: bytes, revision: int) -> bytes | None:
        if revision - 1 < self.compact_revision:
            return None
        version = self.at(key, revision - 1)
        return version.key_value().SerializeToString() if version else None

    def lease_ttl(self, lease: int) -> int:
        return self.leases.get(lease, 0)

    def lease_ids(self) -> list[int]:
        return list(self.leases)

    def lease_keys(self, lease: int) -> list[bytes]:
        newest = ((key, self.at(key, LATEST)) for key in self.versions)
        return sorted(key for key, version in newest if version and version.lease == lease)

    def take_lease_changes(self) -> list[tuple[str, int, int]]:
        changes, self.lease_changes = self.lease_changes, []
        return changes


def split_batch(batch: bytes) -> list[tuple[int, bytes]]:
    """Return (kind, payload) of each command of a batch (ARCHITECTURE.md, Batch)."""
    if len(batch) < 20:
        raise ValueError("a batch without a header")
    (count,) = struct.unpack_from("<I", batch, 16)
    commands = []
    at = 20
    for _ in range(count):
        if len(batch) - at < 5:
            raise ValueError("a batch that ends in a command")
        kind, length = struct.unpack_from("<BI", batch, at)
        at += 5
        if length > len(batch) - at:
            raise ValueError("a command that passes the end of its batch")
        commands.append((kind, batch[at : at + length]))
        at += length
    if at != len(batch):
        raise ValueError("bytes after the last command")
    return commands


def passes(request: rpc_pb2.RangeRequest, version: Version) -> bool:
    """Apply the revision filters; zero is no filter."""
    return not (
        (request.max_mod_revision and version.main > request.max_mod_revision)
        or (request.min_mod_revision and version.main < request.min_mod_revision)
        or (request.max_create_revision and version.create > request.max_create_revision)
        or (request.min_create_revision and version.create < request.min_create_revision)
    )


def in_order(versions: list[Version], target: int, order: int) -> list[Version]:
    """Sort by the target, ascending unless told; ties stay in key order either way."""
    by = rpc_pb2.RangeRequest
    if target == by.KEY:
        return versions[::-1]
    descend = order == by.DESCEND
    if target == by.VERSION:
        return sorted(versions, key=lambda v: v.version, reverse=descend)
    if target == by.CREATE:
        return sorted(versions, key=lambda v: v.create, reverse=descend)
    if target == by.MOD:
        return sorted(versions, key=lambda v: v.main, reverse=descend)
    return sorted(versions, key=lambda v: v.value, reverse=descend)


def compare_holds(compare: rpc_pb2.Compare, version: Version) -> bool:
    """Compare one version; a union member that is not the target's counts as zero."""
    of = rpc_pb2.Compare
    left: int | bytes = 0
    right: int | bytes = 0
    match compare.target:
        case of.VERSION:
            left, right = version.version, compare.version
        case of.CREATE:
            left, right = version.create, compare.create_revision
        case of.MOD:
            left, right = version.main, compare.mod_revision
        case of.VALUE:
            left, right = version.value, compare.value
        case of.LEASE:
            left, right = version.lease, compare.lease
    order = (left > right) - (left < right)  # type: ignore[operator]
    results = {of.EQUAL: order == 0, of.GREATER: order > 0, of.LESS: order < 0}
    return results.get(compare.result, order != 0 or compare.result != of.NOT_EQUAL)
