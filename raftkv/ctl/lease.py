"""lease grant, revoke, timetolive, list and keep-alive."""

from __future__ import annotations

import asyncio

from raftkv.client import ClientError
from raftkv.ctl import fields_format, json_format, output, simple_format
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.go_text import quoted
from raftkv.ctl.kv import lease_id
from raftkv.pb.etcd import rpc_pb2 as pb

RENEW_FRACTION = 1 / 3
"""keep-alive renews when this part of the TTL has passed, as clientv3 does."""


def _flat(
    response: pb.LeaseGrantResponse | pb.LeaseKeepAliveResponse,
) -> dict[str, json_format.Json]:
    """Give an answer as clientv3 flattens it: the header's fields beside its own."""
    return {**json_format.header(response.header), "ID": response.ID, "TTL": response.TTL}


async def grant(context: Context, line: Line) -> None:
    if not line.arguments:
        raise bad_arguments("lease grant command needs TTL argument")
    try:
        ttl_s = int(line.arguments[0])
    except ValueError:
        text = line.arguments[0]
        raise bad_arguments(
            f'bad TTL (strconv.ParseInt: parsing "{text}": invalid syntax)'
        ) from None
    written = context.format(refused=("table",))
    async with context.client() as client:
        try:
            response = await client.lease_grant(ttl_s)
        except ClientError as error:
            raise _failed("grant", error) from error
    match written:
        case "json":
            output.as_json({**_flat(response), "Error": response.error})
        case "fields":
            output.lines([*fields_format.header(response.header), *_id_and_ttl(response)])
        case "protobuf":
            output.as_protobuf(response)
        case _:
            output.lines([f"lease {response.ID:016x} granted with TTL({response.TTL}s)"])


def _failed(what: str, error: ClientError) -> CommandError:
    return CommandError(ExitCode.ERROR, f"failed to {what} lease ({error.message})")


def _id_and_ttl(response: pb.LeaseGrantResponse | pb.LeaseKeepAliveResponse) -> list[str]:
    return [f'"ID" : {response.ID}', f'"TTL" : {response.TTL}']


async def revoke(context: Context, line: Line) -> None:
    if len(line.arguments) != 1:
        raise bad_arguments("lease revoke command needs 1 argument")
    lease, written = lease_id(line.arguments[0]), context.format(refused=("table",))
    async with context.client() as client:
        try:
            response = await client.lease_revoke(lease)
        except ClientError as error:
            raise _failed("revoke", error) from error
    output.response(
        written,
        response,
        lambda: [f"lease {lease:016x} revoked"],
        lambda: fields_format.header(response.header),
    )


async def time_to_live(context: Context, line: Line) -> None:
    if len(line.arguments) != 1:
        raise bad_arguments("lease timetolive command needs lease ID as argument")
    lease, with_keys = lease_id(line.arguments[0]), line.flags.switch("keys")
    written = context.format(refused=("table",))
    async with context.client() as client:
        response = await client.lease_time_to_live(lease, keys=with_keys)
    match written:
        case "json":
            body = json_format.message(response)
            output.as_json(
                {
                    **json_format.header(response.header),
                    "id": response.ID,
                    "ttl": response.TTL,
                    "granted-ttl": response.grantedTTL,
                    "keys": body.get("keys"),
                }
            )
        case "fields":
            output.lines(fields_format.header(response.header))
            output.lines(
                [
                    f'"ID" : {response.ID}',
                    f'"TTL" : {response.TTL}',
                    f'"GrantedTTL" : {response.grantedTTL}',
                    *(f'"Key" : {quoted(key)}' for key in response.keys),
                ]
            )
        case "protobuf":
            output.as_protobuf(response)
        case _:
            output.lines([_time_to_live_line(response, with_keys, context.hex)])


def _time_to_live_line(
    response: pb.LeaseTimeToLiveResponse, with_keys: bool, as_hex: bool
) -> bytes:
    if response.grantedTTL == 0 and response.TTL == -1:
        return f"lease {response.ID:016x} already expired".encode()
    text = (
        f"lease {response.ID:016x} granted with TTL({response.grantedTTL}s), "
        f"remaining({response.TTL}s)"
    ).encode()
    if with_keys:
        keys = b" ".join(simple_format.text_of(key, as_hex) for key in response.keys)
        text += b", attached keys([" + keys + b"])"
    return text


async def list_leases(context: Context, line: Line) -> None:
    written = context.format(refused=())
    async with context.client() as client:
        response = await client.lease_leases()
    match written:
        case "json":
            leases: list[json_format.Json] = [{"id": lease.ID} for lease in response.leases]
            output.as_json({**json_format.header(response.header), "leases": leases})
        case "fields":
            output.lines(fields_format.header(response.header))
            output.lines(f'"ID" : {lease.ID}' for lease in response.leases)
        case "protobuf":
            output.as_protobuf(response)
        case "table":
            rows = [(f"{lease.ID:016x}",) for lease in response.leases]
            output.table(("LEASE",), rows, context.is_terminal)
        case _:
            output.lines([f"found {len(response.leases)} leases"])
            output.lines(f"{lease.ID:016x}" for lease in response.leases)


async def keep_alive(context: Context, line: Line) -> None:
    if len(line.arguments) != 1:
        raise bad_arguments("lease keep-alive command needs lease ID as argument")
    lease, once = lease_id(line.arguments[0]), line.flags.switch("once")
    written = context.format(refused=("table",))
    async with context.client() as client, client.lease_keeper(lease, ttl_s=1) as keeper:
        while True:
            response = await keeper.renew()
            if response.TTL <= 0:
                break
            _print_kept(response, written)
            if once:
                return
            await asyncio.sleep(response.TTL * RENEW_FRACTION)
    if once:
        raise CommandError(ExitCode.BAD_CONNECTION, "etcdserver: requested lease not found")
    output.lines([f"lease {lease:016x} expired or revoked."])


def _print_kept(response: pb.LeaseKeepAliveResponse, written: str) -> None:
    match written:
        case "json":
            output.as_json(_flat(response))
        case "fields":
            output.lines([*fields_format.header(response.header), *_id_and_ttl(response)])
        case "protobuf":
            output.as_protobuf(response)
        case _:
            output.lines([f"lease {response.ID:016x} keepalived with TTL({response.TTL})"])


COMMANDS = (
    Command(
        ("lease", "grant"),
        "<ttl seconds>",
        "Create a lease",
        grant,
        "Prints the lease's id, in hexadecimal. `put --lease=<id>` attaches a key to it; the key\n"
        "is deleted when the lease ends.",
    ),
    Command(("lease", "revoke"), "<lease id>", "End a lease and delete its keys", revoke),
    Command(
        ("lease", "timetolive"),
        "<lease id>",
        "Show what remains of a lease",
        time_to_live,
        flags=(Flag("keys", False, "show the keys attached to it"),),
    ),
    Command(("lease", "list"), "", "List the leases", list_leases),
    Command(
        ("lease", "keep-alive"),
        "<lease id>",
        "Renew a lease until it is stopped",
        keep_alive,
        "Renews the lease at a third of its TTL until interrupted, or until it is gone.",
        (Flag("once", False, "renew once and end"),),
    ),
)
