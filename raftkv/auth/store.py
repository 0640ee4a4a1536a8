"""Users, roles and permissions: a value that changes by commands, the same on every member.

Nothing here knows who asks: whether a user may change users is for the caller to find out, by
`is_root`. Every change that does something raises `revision` by one, but for enabling. What is
kept is a small record for each user and each role, so that it travels with the store:

| record | value |
|---|---|
| `auth/enabled` | `1` or `0` |
| `auth/revision` | decimal |
| `auth/secret` | 32 bytes; whoever has them can make tokens. Never leaves the members |
| `auth/user/<name>` | authpb.User |
| `auth/since/<name>` | decimal: tokens given out at an earlier revision are void |
| `auth/role/<name>` | authpb.Role |

Source of the rules and texts: etcd's auth package, as its users see it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raftkv.auth import command
from raftkv.auth.command import Change
from raftkv.auth.key_ranges import OPEN_END, KeyRanges, interval
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import auth_pb2
from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["FIRST_REVISION", "PREFIX", "ROOT", "AuthStore", "Rows"]

ROOT = "root"
"""The user that must exist, and the role that may do everything."""

FIRST_REVISION = 1

PREFIX = b"auth/"
ENABLED, REVISION, SECRET = PREFIX + b"enabled", PREFIX + b"revision", PREFIX + b"secret"
USER, SINCE, ROLE = PREFIX + b"user/", PREFIX + b"since/", PREFIX + b"role/"

Rows = dict[bytes, bytes | None]
"""Records of the store that change; None deletes one."""

READS = (auth_pb2.Permission.READ, auth_pb2.Permission.READWRITE)
WRITES = (auth_pb2.Permission.WRITE, auth_pb2.Permission.READWRITE)


class AuthStore:
    """What one member knows of users and roles, as of what it has applied."""

    def __init__(self) -> None:
        self.is_enabled = False
        self.revision = FIRST_REVISION
        self.secret = b""
        """What tokens are signed with; empty where there is none yet."""
        self._users: dict[str, auth_pb2.User] = {}
        self._since: dict[str, int] = {}
        self._roles: dict[str, auth_pb2.Role] = {}
        self._allowed: dict[str, tuple[KeyRanges, KeyRanges]] = {}
        """Readable and writable keys by user, as far as computed since the last change."""
        self._changes: dict[Change, Callable[[Any], Rows]] = {
            Change.ENABLE: self._enable,
            Change.DISABLE: self._disable,
            Change.USER_ADD: self._user_add,
            Change.USER_DELETE: self._user_delete,
            Change.USER_CHANGE_PASSWORD: self._user_change_password,
            Change.USER_GRANT_ROLE: self._user_grant_role,
            Change.USER_REVOKE_ROLE: self._user_revoke_role,
            Change.ROLE_ADD: self._role_add,
            Change.ROLE_DELETE: self._role_delete,
            Change.ROLE_GRANT_PERMISSION: self._role_grant_permission,
            Change.ROLE_REVOKE_PERMISSION: self._role_revoke_permission,
            Change.SET_SECRET: self._set_secret,
        }

    def load(self, rows: Mapping[bytes, bytes]) -> None:
        """Take over what the store holds, in the place of everything known."""
        self.is_enabled = rows.get(ENABLED) == b"1"
        self.revision = int(rows.get(REVISION, FIRST_REVISION))
        self.secret = rows.get(SECRET, b"")
        self._users = {name: auth_pb2.User.FromString(value) for name, value in _under(USER, rows)}
        self._since = {name: int(value) for name, value in _under(SINCE, rows)}
        self._roles = {name: auth_pb2.Role.FromString(value) for name, value in _under(ROLE, rows)}
        self._allowed.clear()

    def apply(self, payload: bytes) -> Rows:
        """Carry out a command; returns the records that change.

        Raises StoreError where it is refused, and nothing has changed then; ValueError for bytes
        that are no command.
        """
        change, request = command.decode(payload)
        rows = self._changes[change](request)
        if rows:
            self._allowed.clear()
        return rows

    # --- what is known -----------------------------------------------------------------------

    def user(self, name: str) -> auth_pb2.User | None:
        """Return a user as stored, the password's hash included; not to be changed."""
        return self._users.get(name)

    def role(self, name: str) -> auth_pb2.Role | None:
        """Return a role as stored; not to be changed. Role `root` allows whatever it holds."""
        return self._roles.get(name)

    def user_names(self) -> list[str]:
        """List all users, in order."""
        return sorted(self._users, key=str.encode)

    def role_names(self) -> list[str]:
        """List all roles, in order."""
        return sorted(self._roles, key=str.encode)

    def tokens_since(self, name: str) -> int | None:
        """Return the revision from which on a user's tokens are good; None for no such user."""
        return self._since.get(name, 0) if name in self._users else None

    def refuse_root(self, name: str) -> ErrorCode | None:
        """Return why a user may not do what only root may, if so."""
        if not name:
            return ErrorCode.USER_EMPTY
        user = self._users.get(name)
        if user is None or ROOT not in user.roles:
            return ErrorCode.PERMISSION_DENIED
        return None

    def refuse_anybody(self, name: str) -> ErrorCode | None:
        """Return why somebody may not do what every user may, if so."""
        if not name:
            return ErrorCode.USER_EMPTY
        return None if name in self._users else ErrorCode.PERMISSION_DENIED

    def refuse_read(self, name: str, key: bytes, range_end: bytes = b"") -> ErrorCode | None:
        """Return why a user may not read all keys of a range, if so."""
        return self._refuse(name, key, range_end, 0)

    def refuse_write(self, name: str, key: bytes, range_end: bytes = b"") -> ErrorCode | None:
        """Return why a user may not write all keys of a range, if so."""
        return self._refuse(name, key, range_end, 1)

    def _refuse(self, name: str, key: bytes, range_end: bytes, which: int) -> ErrorCode | None:
        if not name:
            return ErrorCode.USER_EMPTY
        user = self._users.get(name)
        if user is None:
            return ErrorCode.PERMISSION_DENIED
        if ROOT in user.roles or self._ranges(user)[which].cover(key, range_end):
            return None
        return ErrorCode.PERMISSION_DENIED

    def _ranges(self, user: auth_pb2.User) -> tuple[KeyRanges, KeyRanges]:
        name = user.name.decode()
        found = self._allowed.get(name)
        if found is None:
            granted = [
                permission
                for role in user.roles
                if role in self._roles
                for permission in self._roles[role].keyPermission
            ]
            found = self._allowed[name] = (_union(granted, READS), _union(granted, WRITES))
        return found

    # --- changes -----------------------------------------------------------------------------

    def _enable(self, secret: bytes) -> Rows:
        if self.is_enabled:
            return {}
        root = self._users.get(ROOT)
        if root is None:
            raise StoreError(ErrorCode.ROOT_USER_NOT_EXIST)
        if ROOT not in root.roles:
            raise StoreError(ErrorCode.ROOT_ROLE_NOT_EXIST)
        self.is_enabled = True
        self.secret = secret
        return {ENABLED: b"1", SECRET: secret, REVISION: b"%d" % self.revision}

    def _disable(self, _request: pb.AuthDisableRequest) -> Rows:
        if not self.is_enabled:
            return {}
        self.is_enabled = False
        self.secret = b""
        return {ENABLED: b"0", SECRET: None, **self._advance()}

    def _set_secret(self, secret: bytes) -> Rows:
        if self.secret or not self.is_enabled:
            return {}
        self.secret = secret
        return {SECRET: secret}

    def _user_add(self, request: pb.AuthUserAddRequest) -> Rows:
        if not request.name:
            raise StoreError(ErrorCode.USER_EMPTY)
        if request.name in self._users:
            raise StoreError(ErrorCode.USER_ALREADY_EXIST)
        options = auth_pb2.UserAddOptions(no_password=request.options.no_password)
        password = b"" if options.no_password else _decoded(request.hashedPassword)
        user = auth_pb2.User(name=request.name.encode(), password=password, options=options)
        self._users[request.name] = user
        return {**self._advance(), **self._void_tokens(request.name), **_row(user)}

    def _user_delete(self, request: pb.AuthUserDeleteRequest) -> Rows:
        if self.is_enabled and request.name == ROOT:
            raise StoreError(ErrorCode.INVALID_AUTH_MGMT)
        self._existing_user(request.name)
        del self._users[request.name]
        self._since.pop(request.name, None)
        name = request.name.encode()
        return {**self._advance(), USER + name: None, SINCE + name: None}

    def _user_change_password(self, request: pb.AuthUserChangePasswordRequest) -> Rows:
        user = self._existing_user(request.name)
        if not user.options.no_password:
            user.password = _decoded(request.hashedPassword)
        return {**self._advance(), **self._void_tokens(request.name), **_row(user)}

    def _user_grant_role(self, request: pb.AuthUserGrantRoleRequest) -> Rows:
        user = self._existing_user(request.user)
        if request.role != ROOT and request.role not in self._roles:
            raise StoreError(ErrorCode.ROLE_NOT_FOUND)
        if request.role in user.roles:
            return {}
        roles = sorted([*user.roles, request.role], key=str.encode)
        user.ClearField("roles")
        user.roles.extend(roles)
        return {**self._advance(), **_row(user)}

    def _user_revoke_role(self, request: pb.AuthUserRevokeRoleRequest) -> Rows:
        if self.is_enabled and request.name == ROOT and request.role == ROOT:
            raise StoreError(ErrorCode.INVALID_AUTH_MGMT)
        user = self._existing_user(request.name)
        if request.role not in user.roles:
            raise StoreError(ErrorCode.ROLE_NOT_GRANTED)
        user.roles.remove(request.role)
        return {**self._advance(), **_row(user)}

    def _role_add(self, request: pb.AuthRoleAddRequest) -> Rows:
        if not request.name:
            raise StoreError(ErrorCode.ROLE_EMPTY)
        if request.name in self._roles:
            raise StoreError(ErrorCode.ROLE_ALREADY_EXIST)
        role = auth_pb2.Role(name=request.name.encode())
        self._roles[request.name] = role
        return {**self._advance(), **_row(role)}

    def _role_delete(self, request: pb.AuthRoleDeleteRequest) -> Rows:
        if self.is_enabled and request.role == ROOT:
            raise StoreError(ErrorCode.INVALID_AUTH_MGMT)
        self._existing_role(request.role)
        del self._roles[request.role]
        rows: Rows = {**self._advance(), ROLE + request.role.encode(): None}
        for name, user in self._users.items():
            if request.role in user.roles:
                user.roles.remove(request.role)
                rows.update({**self._void_tokens(name), **_row(user)})
        return rows

    def _role_grant_permission(self, request: pb.AuthRoleGrantPermissionRequest) -> Rows:
        if not request.HasField("perm"):
            raise StoreError(ErrorCode.PERMISSION_NOT_GIVEN)
        given = request.perm
        is_empty = given.range_end not in (b"", OPEN_END) and given.range_end <= given.key
        if is_empty or not given.key:
            raise StoreError(ErrorCode.INVALID_AUTH_MGMT)
        role = self._existing_role(request.name)
        kept = [one for one in role.keyPermission if not _is_on(one, given.key, given.range_end)]
        permissions = sorted([*kept, given], key=lambda one: one.key)
        role.ClearField("keyPermission")
        role.keyPermission.extend(permissions)
        return {**self._advance(), **_row(role)}

    def _role_revoke_permission(self, request: pb.AuthRoleRevokePermissionRequest) -> Rows:
        role = self._existing_role(request.role)
        kept = [
            one for one in role.keyPermission if not _is_on(one, request.key, request.range_end)
        ]
        if len(kept) == len(role.keyPermission):
            raise StoreError(ErrorCode.PERMISSION_NOT_GRANTED)
        role.ClearField("keyPermission")
        role.keyPermission.extend(kept)
        return {**self._advance(), **_row(role)}

    def _existing_user(self, name: str) -> auth_pb2.User:
        user = self._users.get(name)
        if user is None:
            raise StoreError(ErrorCode.USER_NOT_FOUND)
        return user

    def _existing_role(self, name: str) -> auth_pb2.Role:
        role = self._roles.get(name)
        if role is None:
            raise StoreError(ErrorCode.ROLE_NOT_FOUND)
        return role

    def _advance(self) -> Rows:
        self.revision += 1
        return {REVISION: b"%d" % self.revision}

    def _void_tokens(self, name: str) -> Rows:
        """End what was given out to a user until this change; call after `_advance`."""
        self._since[name] = self.revision
        return {SINCE + name.encode(): b"%d" % self.revision}


def _under(prefix: bytes, rows: Mapping[bytes, bytes]) -> Iterator[tuple[str, bytes]]:
    for key, value in rows.items():
        if key.startswith(prefix):
            yield key.removeprefix(prefix).decode(), value


def _row(record: auth_pb2.User | auth_pb2.Role) -> Rows:
    prefix = USER if isinstance(record, auth_pb2.User) else ROLE
    return {prefix + record.name: record.SerializeToString(deterministic=True)}


def _decoded(hashed: str) -> bytes:
    """Return a hash as stored. Raises ValueError: proposers hash, so this is no client's doing."""
    try:
        return base64.b64decode(hashed, validate=True)
    except binascii.Error as error:
        raise ValueError("a password's hash is not base64") from error


def _is_on(permission: auth_pb2.Permission, key: bytes, range_end: bytes) -> bool:
    return (permission.key, permission.range_end) == (key, range_end)


def _union(
    permissions: list[auth_pb2.Permission], types: tuple[auth_pb2.Permission.Type, ...]
) -> KeyRanges:
    return KeyRanges(
        interval(one.key, one.range_end) for one in permissions if one.permType in types
    )
