"""Which JSON paths lead to which RPC, as in etcd; the messages come from the service descriptors.

A service that is registered with the front end later needs nothing here but its row: what it takes
and returns is read from its descriptor, and whether it is there is asked at each request.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import raftkv.pb.etcd

__all__ = ["GatewayMethod", "gateway_methods", "load_descriptors"]

_SERVICES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "etcdserverpb.KV": (
        "/v3/kv/",
        {
            "Range": "range",
            "Put": "put",
            "DeleteRange": "deleterange",
            "Txn": "txn",
            "Compact": "compaction",
        },
    ),
    "etcdserverpb.Watch": ("/v3/", {"Watch": "watch"}),
    "etcdserverpb.Lease": (
        "/v3/lease/",
        {
            "LeaseGrant": "grant",
            "LeaseRevoke": "revoke",
            "LeaseKeepAlive": "keepalive",
            "LeaseTimeToLive": "timetolive",
            "LeaseLeases": "leases",
        },
    ),
    "etcdserverpb.Cluster": (
        "/v3/cluster/member/",
        {
            "MemberAdd": "add",
            "MemberRemove": "remove",
            "MemberUpdate": "update",
            "MemberList": "list",
            "MemberPromote": "promote",
        },
    ),
    "etcdserverpb.Maintenance": (
        "/v3/maintenance/",
        {
            "Alarm": "alarm",
            "Status": "status",
            "Defragment": "defragment",
            "Hash": "hash",
            "HashKV": "hashkv",
            "Snapshot": "snapshot",
            "MoveLeader": "transfer-leadership",
            "Downgrade": "downgrade",
        },
    ),
    "etcdserverpb.Auth": (
        "/v3/auth/",
        {
            "AuthEnable": "enable",
            "AuthDisable": "disable",
            "AuthStatus": "status",
            "Authenticate": "authenticate",
            "UserAdd": "user/add",
            "UserGet": "user/get",
            "UserList": "user/list",
            "UserDelete": "user/delete",
            "UserChangePassword": "user/changepw",
            "UserGrantRole": "user/grant",
            "UserRevokeRole": "user/revoke",
            "RoleAdd": "role/add",
            "RoleGet": "role/get",
            "RoleList": "role/list",
            "RoleDelete": "role/delete",
            "RoleGrantPermission": "role/grant",
            "RoleRevokePermission": "role/revoke",
        },
    ),
    "v3lockpb.Lock": ("/v3/lock/", {"Lock": "lock", "Unlock": "unlock"}),
    "v3electionpb.Election": (
        "/v3/election/",
        {
            "Campaign": "campaign",
            "Proclaim": "proclaim",
            "Leader": "leader",
            "Observe": "observe",
            "Resign": "resign",
        },
    ),
}
"""Service -> the beginning of its JSON paths, and RPC -> the rest."""

_ALIASES: Mapping[str, str] = {
    "/v3/kv/lease/revoke": "/v3/lease/revoke",
    "/v3/kv/lease/timetolive": "/v3/lease/timetolive",
    "/v3/kv/lease/leases": "/v3/lease/leases",
}
"""Where some of the lease paths were in etcd 3.2 and still are."""


@dataclass(frozen=True, slots=True)
class GatewayMethod:
    """One RPC that has a JSON path."""

    grpc_path: bytes
    request_type: type[Message]
    response_type: type[Message]
    takes_stream: bool
    returns_stream: bool


def load_descriptors() -> None:
    """Have every generated module of the API in the default descriptor pool."""
    for module in pkgutil.iter_modules(raftkv.pb.etcd.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"raftkv.pb.etcd.{module.name}")


def gateway_methods() -> dict[str, GatewayMethod]:
    """Return JSON path -> method, for every row whose service has a descriptor."""
    load_descriptors()
    found: dict[str, GatewayMethod] = {}
    for service_name, (prefix, rows) in _SERVICES.items():
        try:
            service = descriptor_pool.Default().FindServiceByName(service_name)
        except KeyError:
            continue
        for name, rest in rows.items():
            method = service.methods_by_name[name]
            found[prefix + rest] = GatewayMethod(
                f"/{service_name}/{name}".encode(),
                GetMessageClass(method.input_type),
                GetMessageClass(method.output_type),
                method.client_streaming,
                method.server_streaming,
            )
    for alias, path in _ALIASES.items():
        found[alias] = found[path]
    return found
