"""Changes of users, roles and permissions, as they travel through the log.

A command is `u8 change` and the API's own request. Passwords never travel: the proposer puts a
bcrypt hash (base64) into `hashedPassword` and empties `password`.

A *stamp* is the first command of a batch that was proposed while authentication was on: u64, the
revision of users and roles that its commands were allowed under; then, where what a command touches
is known only when it is applied, the name of the user who is to be judged by that.
"""

import struct
from enum import IntEnum

from google.protobuf.message import DecodeError, Message

from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["Change", "bare", "decode", "encode", "read_stamp", "stamp"]

_STAMP = struct.Struct("<Q")

BY_MEMBER = 0
"""The stamp of what a member does by itself, such as revoking an expired lease."""


class Change(IntEnum):
    """What is to change."""

    ENABLE = 1
    DISABLE = 2
    USER_ADD = 3
    USER_DELETE = 4
    USER_CHANGE_PASSWORD = 5
    USER_GRANT_ROLE = 6
    USER_REVOKE_ROLE = 7
    ROLE_ADD = 8
    ROLE_DELETE = 9
    ROLE_GRANT_PERMISSION = 10
    ROLE_REVOKE_PERMISSION = 11
    SET_SECRET = 12
    """Give the cluster the secret that its tokens are signed with, if it has none."""


REQUESTS: dict[Change, type[Message]] = {
    Change.DISABLE: pb.AuthDisableRequest,
    Change.USER_ADD: pb.AuthUserAddRequest,
    Change.USER_DELETE: pb.AuthUserDeleteRequest,
    Change.USER_CHANGE_PASSWORD: pb.AuthUserChangePasswordRequest,
    Change.USER_GRANT_ROLE: pb.AuthUserGrantRoleRequest,
    Change.USER_REVOKE_ROLE: pb.AuthUserRevokeRoleRequest,
    Change.ROLE_ADD: pb.AuthRoleAddRequest,
    Change.ROLE_DELETE: pb.AuthRoleDeleteRequest,
    Change.ROLE_GRANT_PERMISSION: pb.AuthRoleGrantPermissionRequest,
    Change.ROLE_REVOKE_PERMISSION: pb.AuthRoleRevokePermissionRequest,
}
"""ENABLE and SET_SECRET carry 32 random bytes instead: a secret, chosen by the proposer."""


def encode(change: Change, request: Message | bytes) -> bytes:
    """Return the payload of a command."""
    body = request if isinstance(request, bytes) else request.SerializeToString()
    return bytes((change,)) + body


def decode(payload: bytes) -> tuple[Change, Message | bytes]:
    """Read a command's payload. Raises ValueError for one that `encode` does not make."""
    if not payload:
        raise ValueError("a change of users or roles has no bytes")
    change = Change(payload[0])
    request_type = REQUESTS.get(change)
    if request_type is None:
        return change, payload[1:]
    try:
        return change, request_type.FromString(payload[1:])
    except DecodeError as error:
        raise ValueError(f"a malformed change {change.name}: {error}") from error


def stamp(revision: int, name: str = "") -> bytes:
    """Return the payload of a stamp."""
    return _STAMP.pack(revision) + name.encode()


def bare(payload: bytes) -> bytes:
    """Return a stamp without the name in it."""
    return payload[: _STAMP.size]


def read_stamp(payload: bytes) -> tuple[int, str]:
    """Return a stamp's revision and name, or "". Raises ValueError."""
    if len(payload) < _STAMP.size:
        raise ValueError(f"a stamp has at least {_STAMP.size} bytes, not {len(payload)}")
    return _STAMP.unpack_from(payload)[0], payload[_STAMP.size :].decode()
