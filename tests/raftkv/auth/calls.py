"""Calls of service Auth in as few words as possible, and the roles and users of the tests."""

from collections.abc import Sequence
from typing import Any

import grpc

from raftkv.pb.etcd import auth_pb2
from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.compat.pair import Call, Side, comparable

READ, WRITE = auth_pb2.Permission.READ, auth_pb2.Permission.WRITE
READWRITE = auth_pb2.Permission.READWRITE

Grant = tuple[auth_pb2.Permission.Type, bytes, bytes]

ROLES: dict[str, list[Grant]] = {
    "reads-a-c": [(READ, b"a", b"c")],
    "reads-c-e": [(READ, b"c", b"e")],
    "reads-one": [(READ, b"k", b"")],
    "reads-from-m": [(READ, b"m", b"\0")],
    "writes-b-d": [(WRITE, b"b", b"d")],
    "writes-one": [(WRITE, b"k", b"")],
    "both-x": [(READWRITE, b"x/", b"x0")],
    "all": [(READWRITE, b"\0", b"\0")],
    "none": [],
}
USERS: dict[str, list[str]] = {
    "root": ["root"],
    "reader": ["reads-a-c"],
    "wide-reader": ["reads-a-c", "reads-c-e"],
    "open-reader": ["reads-from-m"],
    "one": ["reads-one"],
    "one-writer": ["writes-one"],
    "writer": ["writes-b-d"],
    "mixed": ["reads-a-c", "writes-b-d"],
    "owner": ["both-x", "none"],
    "everything": ["all"],
    "stranger": [],
}


def password(name: str) -> str:
    return f"secret of {name}"


def enable() -> Call:
    return "Auth/AuthEnable", pb.AuthEnableRequest(), pb.AuthEnableResponse


def disable() -> Call:
    return "Auth/AuthDisable", pb.AuthDisableRequest(), pb.AuthDisableResponse


def status() -> Call:
    return "Auth/AuthStatus", pb.AuthStatusRequest(), pb.AuthStatusResponse


def authenticate(name: str, secret: str | None = None) -> Call:
    request = pb.AuthenticateRequest(
        name=name, password=password(name) if secret is None else secret
    )
    return "Auth/Authenticate", request, pb.AuthenticateResponse


def user_add(name: str, secret: str | None = None, no_password: bool = False) -> Call:
    request = pb.AuthUserAddRequest(
        name=name, password=password(name) if secret is None else secret
    )
    if no_password:
        request.options.no_password = True
    return "Auth/UserAdd", request, pb.AuthUserAddResponse


def user_get(name: str) -> Call:
    return "Auth/UserGet", pb.AuthUserGetRequest(name=name), pb.AuthUserGetResponse


def user_list() -> Call:
    return "Auth/UserList", pb.AuthUserListRequest(), pb.AuthUserListResponse


def user_delete(name: str) -> Call:
    return "Auth/UserDelete", pb.AuthUserDeleteRequest(name=name), pb.AuthUserDeleteResponse


def change_password(name: str, secret: str) -> Call:
    request = pb.AuthUserChangePasswordRequest(name=name, password=secret)
    return "Auth/UserChangePassword", request, pb.AuthUserChangePasswordResponse


def grant_role(user: str, role: str) -> Call:
    request = pb.AuthUserGrantRoleRequest(user=user, role=role)
    return "Auth/UserGrantRole", request, pb.AuthUserGrantRoleResponse


def revoke_role(user: str, role: str) -> Call:
    request = pb.AuthUserRevokeRoleRequest(name=user, role=role)
    return "Auth/UserRevokeRole", request, pb.AuthUserRevokeRoleResponse


def role_add(name: str) -> Call:
    return "Auth/RoleAdd", pb.AuthRoleAddRequest(name=name), pb.AuthRoleAddResponse


def role_get(name: str) -> Call:
    return "Auth/RoleGet", pb.AuthRoleGetRequest(role=name), pb.AuthRoleGetResponse


def role_list() -> Call:
    return "Auth/RoleList", pb.AuthRoleListRequest(), pb.AuthRoleListResponse


def role_delete(name: str) -> Call:
    return "Auth/RoleDelete", pb.AuthRoleDeleteRequest(role=name), pb.AuthRoleDeleteResponse


def grant_permission(role: str, *grants: Grant) -> Call:
    """Grant one permission, or send none at all."""
    request = pb.AuthRoleGrantPermissionRequest(name=role)
    for kind, key, range_end in grants:
        request.perm.CopyFrom(auth_pb2.Permission(permType=kind, key=key, range_end=range_end))
    return "Auth/RoleGrantPermission", request, pb.AuthRoleGrantPermissionResponse


def revoke_permission(role: str, key: bytes, range_end: bytes = b"") -> Call:
    request = pb.AuthRoleRevokePermissionRequest(role=role, key=key, range_end=range_end)
    return "Auth/RoleRevokePermission", request, pb.AuthRoleRevokePermissionResponse


def furnish() -> list[Call]:
    """Make every role and user, and turn authentication on."""
    steps = [role_add(role) for role in ROLES]
    steps += [grant_permission(role, one) for role, grants in ROLES.items() for one in grants]
    steps += [user_add(name) for name in USERS]
    steps += [grant_role(name, role) for name, roles in USERS.items() for role in roles]
    return [*steps, enable()]


class Users:
    """Calls one server in the name of its users; None is nobody."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._tokens: dict[str, str] = {}

    async def metadata(self, name: str | None) -> Sequence[tuple[str, str]]:
        if name is None:
            return ()
        if name not in self._tokens:
            answer = await self.side.ask(*authenticate(name))
            self._tokens[name] = answer.token
        return (("token", self._tokens[name]),)

    def forget(self, name: str) -> None:
        self._tokens.pop(name, None)

    async def ask(self, name: str | None, call: Call) -> Any:
        """Return the answer. Raises AioRpcError."""
        return await self.side.ask(*call, metadata=await self.metadata(name))

    async def answer(self, name: str | None, call: Call) -> Any:
        """Return an answer to compare, or a refusal's code and text."""
        try:
            return comparable(await self.ask(name, call))
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()
