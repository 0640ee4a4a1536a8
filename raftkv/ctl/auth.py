"""auth enable, disable and status; and how answers of service Auth are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf.message import Message

from raftkv.client import Client, ClientError
from raftkv.ctl import fields_format, output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import bad_arguments
from raftkv.ctl.flag_set import Line
from raftkv.pb.etcd import rpc_pb2 as pb

NO_ROOT_ROLE = "etcdserver: root user does not have root role"
ROOT = "root"


def arguments(line: Line, count: int, text: str) -> list[str]:
    """Return exactly so many arguments. Raises CommandError with `text`."""
    if len(line.arguments) != count:
        raise bad_arguments(text)
    return list(line.arguments)


def written_as(context: Context) -> str:
    """Return the output format; answers of service Auth have no table, as in etcdctl."""
    return context.format(refused=("table",))


def write(
    written: str,
    response: Any,
    simple: Iterable[str],
    fields: Callable[[], Iterator[str]] = lambda: iter(()),
) -> None:
    """Write an answer; `fields` has what comes after the header's."""
    output.response(
        written,
        response,
        lambda: simple,
        lambda: [*fields_format.header(response.header), *fields()],
    )


async def enable(context: Context, line: Line) -> None:
    arguments(line, 0, "auth enable command does not accept any arguments")
    async with context.client() as client:
        try:
            await _enable(client)
        except ClientError as error:
            if error.message != NO_ROOT_ROLE:
                raise
            await client.auth("RoleAdd", pb.AuthRoleAddRequest(name=ROOT), pb.AuthRoleAddResponse)
            grant = pb.AuthUserGrantRoleRequest(user=ROOT, role=ROOT)
            await client.auth("UserGrantRole", grant, pb.AuthUserGrantRoleResponse)
            await _enable(client)
    output.lines(["Authentication Enabled"])


async def _enable(client: Client) -> Message:
    return await client.auth("AuthEnable", pb.AuthEnableRequest(), pb.AuthEnableResponse)


async def disable(context: Context, line: Line) -> None:
    arguments(line, 0, "auth disable command does not accept any arguments")
    async with context.client() as client:
        await client.auth("AuthDisable", pb.AuthDisableRequest(), pb.AuthDisableResponse)
    output.lines(["Authentication Disabled"])


async def status(context: Context, line: Line) -> None:
    arguments(line, 0, "auth status command does not accept any arguments")
    written = context.format(refused=("table", "fields"))
    async with context.client() as client:
        told = await client.auth("AuthStatus", pb.AuthStatusRequest(), pb.AuthStatusResponse)
    enabled = str(told.enabled).lower()
    simple = [f"Authentication Status: {enabled}", f"AuthRevision: {told.authRevision}"]
    write(written, told, simple)


COMMANDS = (
    Command(
        ("auth", "enable"),
        "",
        "Turn authentication on",
        enable,
        "Needs user root; gives it role root where it has not got it. From then on every request\n"
        "needs a user: --user name:password.",
    ),
    Command(("auth", "disable"), "", "Turn authentication off; ends all tokens", disable),
    Command(("auth", "status"), "", "Say whether authentication is on", status),
)
