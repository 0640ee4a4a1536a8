"""role add, delete, get, list, grant-permission and revoke-permission."""

from __future__ import annotations

from collections.abc import Iterator

from raftkv.client import Client, prefix_range_end
from raftkv.ctl.auth import arguments, write, written_as
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import bad_arguments
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.go_text import quoted
from raftkv.pb.etcd import auth_pb2
from raftkv.pb.etcd import rpc_pb2 as pb

OPEN_END = b"\0"

TYPES = {
    "read": auth_pb2.Permission.READ,
    "write": auth_pb2.Permission.WRITE,
    "readwrite": auth_pb2.Permission.READWRITE,
}

FLAGS = (
    Flag("prefix", False, "all keys that begin with the given one"),
    Flag("from-key", False, "the given key and all after it"),
)


async def add(context: Context, line: Line) -> None:
    (name,) = arguments(line, 1, "role add command requires role name as its argument")
    written = written_as(context)
    async with context.client() as client:
        told = await client.auth(
            "RoleAdd", pb.AuthRoleAddRequest(name=name), pb.AuthRoleAddResponse
        )
    write(written, told, [f"Role {name} created"])


async def delete(context: Context, line: Line) -> None:
    (name,) = arguments(line, 1, "role delete command requires role name as its argument")
    written = written_as(context)
    async with context.client() as client:
        request = pb.AuthRoleDeleteRequest(role=name)
        told = await client.auth("RoleDelete", request, pb.AuthRoleDeleteResponse)
    write(written, told, [f"Role {name} deleted"])


async def get(context: Context, line: Line) -> None:
    (name,) = arguments(line, 1, "role get command requires role name as its argument")
    written = written_as(context)
    async with context.client() as client:
        told = await get_role(client, name)
    write(written, told, permission_lines(name, told), lambda: _permission_fields(told))


async def get_role(client: Client, name: str) -> pb.AuthRoleGetResponse:
    """Ask for a role."""
    request = pb.AuthRoleGetRequest(role=name)
    return await client.auth("RoleGet", request, pb.AuthRoleGetResponse)


def permission_lines(role: str, told: pb.AuthRoleGetResponse) -> list[str]:
    """Describe what a role allows."""
    found = [f"Role {role}"]
    for title, kind in (("KV Read:", "read"), ("KV Write:", "write")):
        found.append(title)
        wanted = (TYPES[kind], TYPES["readwrite"])
        found += [f"\t{_range(one)}" for one in told.perm if one.permType in wanted]
    return found


def _range(permission: auth_pb2.Permission) -> str:
    key, end = (
        one.decode(errors="surrogateescape") for one in (permission.key, permission.range_end)
    )
    if not permission.range_end:
        return key
    text = f"[{key}, <open ended>" if permission.range_end == OPEN_END else f"[{key}, {end})"
    is_prefix = key and prefix_range_end(permission.key) == permission.range_end
    return f"{text} (prefix {key})" if is_prefix else text


def _permission_fields(told: pb.AuthRoleGetResponse) -> Iterator[str]:
    for one in told.perm:
        # etcdctl writes two spaces after this colon.
        yield f'"PermType" :  {auth_pb2.Permission.Type.Name(one.permType)}'
        yield f'"Key" : {quoted(one.key)}'
        yield f'"RangeEnd" : {quoted(one.range_end)}'


async def list_roles(context: Context, line: Line) -> None:
    arguments(line, 0, "role list command requires no arguments")
    written = written_as(context)
    async with context.client() as client:
        told = await client.auth("RoleList", pb.AuthRoleListRequest(), pb.AuthRoleListResponse)
    roles = "".join(f" {quoted(one.encode())}" for one in told.roles)
    write(written, told, told.roles, lambda: iter((f'"Roles" :{roles}',)))


async def grant_permission(context: Context, line: Line) -> None:
    if len(line.arguments) < 3:
        raise bad_arguments(
            "role grant command requires role name, permission type, and key [endkey] as its"
            " argument"
        )
    name, kind, *keys = line.arguments
    if kind not in TYPES:
        raise bad_arguments(f"invalid permission type: {kind}")
    key, end = _keys(keys, line)
    written = written_as(context)
    permission = auth_pb2.Permission(permType=TYPES[kind], key=key, range_end=end)
    async with context.client() as client:
        told = await client.auth(
            "RoleGrantPermission",
            pb.AuthRoleGrantPermissionRequest(name=name, perm=permission),
            pb.AuthRoleGrantPermissionResponse,
        )
    write(written, told, [f"Role {name} updated"])


async def revoke_permission(context: Context, line: Line) -> None:
    if len(line.arguments) < 2:
        raise bad_arguments(
            "role revoke-permission command requires role name and key [endkey] as its argument"
        )
    name, *keys = line.arguments
    key, end = _keys(keys, line)
    written = written_as(context)
    async with context.client() as client:
        told = await client.auth(
            "RoleRevokePermission",
            pb.AuthRoleRevokePermissionRequest(role=name, key=key, range_end=end),
            pb.AuthRoleRevokePermissionResponse,
        )
    shown = [one.decode(errors="surrogateescape") for one in (key, end)]
    what = f"key {shown[0]}"
    if end:
        stop = "<open ended>" if end == OPEN_END else f"{shown[1]})"
        what = f"range [{shown[0]}, {stop}"
    write(written, told, [f"Permission of {what} is revoked from role {name}"])


def _keys(words: list[str], line: Line) -> tuple[bytes, bytes]:
    """Read `<key> [endkey]` with --prefix and --from-key as (key, range_end)."""
    keys = [one.encode("utf-8", "surrogateescape") for one in words]
    prefix, from_key = line.flags.switch("prefix"), line.flags.switch("from-key")
    if len(keys) > 2:
        raise bad_arguments("too many arguments")
    if len(keys) == 2:
        for name, is_set in (("from-key", from_key), ("prefix", prefix)):
            if is_set:
                raise bad_arguments(f"unexpected endkey argument with --{name} flag")
        return keys[0], keys[1]
    if prefix and from_key:
        raise bad_arguments("--from-key and --prefix flags are mutually exclusive")
    if not (prefix or from_key):
        return keys[0], b""
    if not keys[0]:
        return OPEN_END, OPEN_END
    return keys[0], prefix_range_end(keys[0]) if prefix else OPEN_END


COMMANDS = (
    Command(("role", "add"), "<role name>", "Add a role", add),
    Command(("role", "delete"), "<role name>", "Delete a role", delete),
    Command(("role", "get"), "<role name>", "Show what a role allows", get),
    Command(("role", "list"), "", "List the roles", list_roles),
    Command(
        ("role", "grant-permission"),
        "<role name> <permission type> <key> [endkey]",
        "Allow keys to a role",
        grant_permission,
        "The permission types are read, write and readwrite.\n"
        "  raftctl role grant-permission app readwrite app/ --prefix",
        FLAGS,
    ),
    Command(
        ("role", "revoke-permission"),
        "<role name> <key> [endkey]",
        "Take keys from a role; name them as they were granted",
        revoke_permission,
        flags=FLAGS,
    ),
)
