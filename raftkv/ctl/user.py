"""user add, delete, get, list, passwd, grant-role and revoke-role."""

from __future__ import annotations

import sys
from getpass import getpass

from raftkv.ctl import output
from raftkv.ctl.auth import arguments, write, written_as
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.role import get_role, permission_lines
from raftkv.pb.etcd import rpc_pb2 as pb

INTERACTIVE = Flag("interactive", True, "ask for the password; else read it from standard input")


async def add(context: Context, line: Line) -> None:
    (given,) = arguments(line, 1, "user add command requires user name as its argument")
    name, colon, password = given.partition(":")
    request = pb.AuthUserAddRequest(name=name, password=password)
    if line.flags.switch("no-password"):
        request = pb.AuthUserAddRequest(name=given)
        request.options.no_password = True
    elif line.flags.text("new-user-password"):
        request = pb.AuthUserAddRequest(name=given, password=line.flags.text("new-user-password"))
    elif not colon:
        request.password = _new_password(name, line.flags.switch("interactive"))
    if not request.name:
        raise bad_arguments("empty user name is not allowed")
    written = written_as(context)
    async with context.client() as client:
        told = await client.auth("UserAdd", request, pb.AuthUserAddResponse)
    write(written, told, [f"User {request.name} created"])


async def delete(context: Context, line: Line) -> None:
    (name,) = arguments(line, 1, "user delete command requires user name as its argument")
    written = written_as(context)
    async with context.client() as client:
        request = pb.AuthUserDeleteRequest(name=name)
        told = await client.auth("UserDelete", request, pb.AuthUserDeleteResponse)
    write(written, told, [f"User {name} deleted"])


async def get(context: Context, line: Line) -> None:
    (name,) = arguments(line, 1, "user get command requires user name as its argument")
    written = context.format(refused=("table", "fields"))
    detailed = line.flags.switch("detail")
    async with context.client() as client:
        told = await client.auth(
            "UserGet", pb.AuthUserGetRequest(name=name), pb.AuthUserGetResponse
        )
        roles = {one: await get_role(client, one) for one in told.roles} if detailed else {}
    if not detailed:
        write(written, told, [f"User: {name}", " ".join(("Roles:", *told.roles))])
        return
    output.lines([f"User: {name}"])
    for role, answer in roles.items():
        output.lines([""])
        write(written, answer, permission_lines(role, answer))


async def list_users(context: Context, line: Line) -> None:
    arguments(line, 0, "user list command requires no arguments")
    written = context.format(refused=("table", "fields"))
    async with context.client() as client:
        told = await client.auth("UserList", pb.AuthUserListRequest(), pb.AuthUserListResponse)
    write(written, told, told.users)


async def passwd(context: Context, line: Line) -> None:
    (name,) = arguments(line, 1, "user passwd command requires user name as its argument")
    password = _new_password(name, line.flags.switch("interactive"))
    written = written_as(context)
    async with context.client() as client:
        request = pb.AuthUserChangePasswordRequest(name=name, password=password)
        told = await client.auth("UserChangePassword", request, pb.AuthUserChangePasswordResponse)
    write(written, told, ["Password updated"])


async def grant_role(context: Context, line: Line) -> None:
    text = "user grant command requires user name and role name as its argument"
    name, role = arguments(line, 2, text)
    written = written_as(context)
    async with context.client() as client:
        request = pb.AuthUserGrantRoleRequest(user=name, role=role)
        told = await client.auth("UserGrantRole", request, pb.AuthUserGrantRoleResponse)
    write(written, told, [f"Role {role} is granted to user {name}"])


async def revoke_role(context: Context, line: Line) -> None:
    text = "user revoke-role requires user name and role name as its argument"
    name, role = arguments(line, 2, text)
    written = written_as(context)
    async with context.client() as client:
        request = pb.AuthUserRevokeRoleRequest(name=name, role=role)
        told = await client.auth("UserRevokeRole", request, pb.AuthUserRevokeRoleResponse)
    write(written, told, [f"Role {role} is revoked from user {name}"])


def _new_password(name: str, asks: bool) -> str:
    """Return a password: asked for twice, or the first word of standard input."""
    if not asks:
        words = sys.stdin.readline().split()
        return words[0] if words else ""
    first = getpass(f"Password of {name}: ")
    if getpass(f"Type password of {name} again for confirmation: ") != first:
        raise CommandError(ExitCode.BAD_ARGUMENTS, "given passwords are different")
    return first


COMMANDS = (
    Command(
        ("user", "add"),
        "<user name or user:password>",
        "Add a user",
        add,
        "Without a password in the argument it is asked for. A user with --no-password can only\n"
        "be the common name of a client's certificate.",
        (
            INTERACTIVE,
            Flag("new-user-password", "", "the password"),
            Flag("no-password", False, "a user without password, for certificates only"),
        ),
    ),
    Command(("user", "delete"), "<user name>", "Delete a user", delete),
    Command(
        ("user", "get"),
        "<user name>",
        "Show the roles of a user",
        get,
        flags=(Flag("detail", False, "show what the roles allow, too"),),
    ),
    Command(("user", "list"), "", "List the users", list_users),
    Command(
        ("user", "passwd"),
        "<user name>",
        "Change a user's password",
        passwd,
        "The user's tokens end with it.",
        (INTERACTIVE,),
    ),
    Command(("user", "grant-role"), "<user name> <role name>", "Give a user a role", grant_role),
    Command(
        ("user", "revoke-role"),
        "<user name> <role name>",
        "Take a role from a user",
        revoke_role,
    ),
)
