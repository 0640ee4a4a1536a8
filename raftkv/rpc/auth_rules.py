"""What each method asks of its caller while authentication is on: one row a path.

A method without a row is root's, so that none is open by oversight. A rule returns why the caller
may not do what the request says, or None.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from raftkv.auth.store import AuthStore
from raftkv.errors import ErrorCode
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.server.store import Store

__all__ = ["FREE", "RULES", "Facts", "Rule", "always", "rule_for"]

Refusal = ErrorCode | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules decide by, as of what this member has applied."""

    auth: AuthStore
    store: Store


def _never(_store: Store, _request: bytes) -> bool:
    return False


def always(_store: Store, _request: bytes) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """One method."""

    request: type[Message] | None
    """None where the request does not matter."""
    refuse: Callable[[Facts, str, Any], Refusal]
    """(facts, caller's name, request) -> why not."""
    malformed: Callable[[Store, bytes], int] | None = None
    """Finds what forbids the request whoever asks: that is told first, as it tells nobody more."""
    reads: Callable[[Store, bytes], bool] = _never
    """Whether the answer tells what is stored: it is judged again by what is applied then."""
    again: bool = False
    """It proposes once at most, so that nothing was done where users changed meanwhile and apply
    refused it for that: it is judged and proposed anew."""
    at_apply: bool = False
    """The caller is judged again, by name, when the command is applied."""


def _range(facts: Facts, name: str, request: pb.RangeRequest) -> Refusal:
    return facts.auth.refuse_read(name, request.key, request.range_end)


def _put(facts: Facts, name: str, request: pb.PutRequest) -> Refusal:
    auth = facts.auth
    refusal = auth.refuse_write(name, request.key)
    if not refusal and request.prev_kv:
        refusal = auth.refuse_read(name, request.key)
    if not refusal and request.lease:
        refusal = _writes_all(facts, name, request.lease)
    return refusal


def _delete_range(facts: Facts, name: str, request: pb.DeleteRangeRequest) -> Refusal:
    refusal = facts.auth.refuse_write(name, request.key, request.range_end)
    if not refusal and request.prev_kv:
        refusal = facts.auth.refuse_read(name, request.key, request.range_end)
    return refusal


def _txn(facts: Facts, name: str, request: pb.TxnRequest) -> Refusal:
    """Judge the compares and both branches, transactions within included."""
    return _first(
        refusal
        for refusals in (
            (facts.auth.refuse_read(name, one.key, one.range_end) for one in request.compare),
            (_operation(facts, name, one) for one in request.success),
            (_operation(facts, name, one) for one in request.failure),
            (facts.auth.refuse_anybody(name),),
        )
        for refusal in refusals
    )


def _operation(facts: Facts, name: str, operation: pb.RequestOp) -> Refusal:
    match operation.WhichOneof("request"):
        case "request_range":
            return _range(facts, name, operation.request_range)
        case "request_put":
            return _put(facts, name, operation.request_put)
        case "request_delete_range":
            return _delete_range(facts, name, operation.request_delete_range)
        case "request_txn":
            return _txn(facts, name, operation.request_txn)
        case _:
            return ErrorCode.PERMISSION_DENIED


def _watch(facts: Facts, name: str, request: pb.WatchRequest) -> Refusal:
    """Judge the whole range that a watch is to cover; an empty key is the first of all."""
    if request.WhichOneof("request_union") != "create_request":
        return None
    create = request.create_request
    return facts.auth.refuse_read(name, create.key or b"\0", create.range_end)


def _lease_written(facts: Facts, name: str, request: pb.LeaseRevokeRequest) -> Refusal:
    return facts.auth.refuse_anybody(name) or _writes_all(facts, name, request.ID)


def _lease_read(facts: Facts, name: str, request: pb.LeaseTimeToLiveRequest) -> Refusal:
    return facts.auth.refuse_anybody(name) or _reads_all(facts, name, request.ID)


def _leases(facts: Facts, name: str, _request: pb.LeaseLeasesRequest) -> Refusal:
    refusal = facts.auth.refuse_anybody(name)
    if refusal or facts.auth.refuse_root(name) is None:
        return refusal
    return _first(_reads_all(facts, name, lease) for lease in facts.store.lease_ids())


def _writes_all(facts: Facts, name: str, lease: int) -> Refusal:
    return _first(facts.auth.refuse_write(name, key) for key in facts.store.lease_keys(lease))


def _reads_all(facts: Facts, name: str, lease: int) -> Refusal:
    return _first(facts.auth.refuse_read(name, key) for key in facts.store.lease_keys(lease))


def _alarm(facts: Facts, name: str, request: pb.AlarmRequest) -> Refusal:
    if request.action == pb.AlarmRequest.GET:
        return facts.auth.refuse_anybody(name)
    return facts.auth.refuse_root(name)


def _user_get(facts: Facts, name: str, request: pb.AuthUserGetRequest) -> Refusal:
    """Everybody may look at himself."""
    refusal = facts.auth.refuse_root(name)
    return facts.auth.refuse_anybody(name) if refusal and name == request.name else refusal


def _role_get(facts: Facts, name: str, request: pb.AuthRoleGetRequest) -> Refusal:
    """Everybody may look at the roles that he has."""
    user = facts.auth.user(name)
    if user is not None and request.role in user.roles:
        return None
    return facts.auth.refuse_root(name)


def _anybody(facts: Facts, name: str, _request: Message | None) -> Refusal:
    return facts.auth.refuse_anybody(name)


def _root(facts: Facts, name: str, _request: Message | None) -> Refusal:
    return facts.auth.refuse_root(name)


def _first(refusals: Iterable[Refusal]) -> Refusal:
    return next((one for one in refusals if one), None)


ROOT_ONLY = Rule(None, _root)
ANYBODY = Rule(None, _anybody)

FREE = frozenset(
    {
        "/etcdserverpb.Auth/Authenticate",
        "/etcdserverpb.Auth/AuthStatus",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)
"""Methods that need no token: to get one, to see whether one is needed, and what is no secret."""

RULES: dict[str, Rule] = {
    "/etcdserverpb.KV/Range": Rule(
        pb.RangeRequest, _range, lambda store, message: store.check_range(message), reads=always
    ),
    "/etcdserverpb.KV/RangeStream": Rule(
        pb.RangeRequest, _range, lambda store, message: store.check_range(message), reads=always
    ),
    "/etcdserverpb.KV/Put": Rule(
        pb.PutRequest, _put, lambda store, message: store.check_put(message), again=True
    ),
    "/etcdserverpb.KV/DeleteRange": Rule(
        pb.DeleteRangeRequest,
        _delete_range,
        lambda store, message: store.check_delete_range(message),
        again=True,
    ),
    "/etcdserverpb.KV/Txn": Rule(
        pb.TxnRequest,
        _txn,
        lambda store, message: store.check_txn(message),
        reads=lambda store, message: store.txn_is_read_only(message),
        again=True,
    ),
    "/etcdserverpb.KV/Compact": Rule(None, _root, again=True),
    "/etcdserverpb.Watch/Watch": Rule(pb.WatchRequest, _watch),
    "/etcdserverpb.Lease/LeaseGrant": Rule(None, _anybody, again=True),
    "/etcdserverpb.Lease/LeaseRevoke": Rule(
        pb.LeaseRevokeRequest, _lease_written, again=True, at_apply=True
    ),
    "/etcdserverpb.Lease/LeaseKeepAlive": Rule(pb.LeaseKeepAliveRequest, _lease_written),
    "/etcdserverpb.Lease/LeaseTimeToLive": Rule(
        pb.LeaseTimeToLiveRequest, _lease_read, reads=always
    ),
    "/etcdserverpb.Lease/LeaseLeases": Rule(pb.LeaseLeasesRequest, _leases, reads=always),
    "/etcdserverpb.Cluster/MemberList": Rule(None, _anybody, reads=always),
    "/etcdserverpb.Maintenance/Status": ANYBODY,
    "/etcdserverpb.Maintenance/Alarm": Rule(pb.AlarmRequest, _alarm),
    "/etcdserverpb.Auth/UserGet": Rule(pb.AuthUserGetRequest, _user_get, reads=always),
    "/etcdserverpb.Auth/RoleGet": Rule(pb.AuthRoleGetRequest, _role_get, reads=always),
    "/etcdserverpb.Auth/UserList": Rule(None, _root, reads=always),
    "/etcdserverpb.Auth/RoleList": Rule(None, _root, reads=always),
}
for _method in (
    *("AuthEnable", "AuthDisable", "UserAdd", "UserDelete", "UserChangePassword"),
    *("UserGrantRole", "UserRevokeRole", "RoleAdd", "RoleDelete"),
    *("RoleGrantPermission", "RoleRevokePermission"),
):
    RULES[f"/etcdserverpb.Auth/{_method}"] = Rule(None, _root, again=True)
for _method in ("Lock", "Unlock"):
    RULES[f"/v3lockpb.Lock/{_method}"] = ANYBODY
for _method in ("Campaign", "Proclaim", "Leader", "Observe", "Resign"):
    RULES[f"/v3electionpb.Election/{_method}"] = ANYBODY
"""Locks and elections are ranges, transactions and watches in their caller's name, judged there."""


def rule_for(path: str) -> Rule:
    """Return the rule of a method; root's where none is named."""
    return RULES.get(path, ROOT_ONLY)
