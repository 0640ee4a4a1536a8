"""member list."""

from __future__ import annotations

from raftkv.ctl import fields_format, json_format, output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.go_text import quoted
from raftkv.pb.etcd import rpc_pb2 as pb


async def list_members(context: Context, line: Line) -> None:
    written = context.format(table_on_terminal=True)
    async with context.client() as client:
        response = await client.member_list(linearizable=line.flags.text("consistency") != "s")
    match written:
        case "json":
            body = json_format.message(response)
            output.as_json(json_format.with_hex_ids(body) if context.hex else body)
        case "fields":
            output.lines(fields_format.header(response.header))
            for member in response.members:
                output.lines(_fields(member, context.hex))
        case "table":
            headers = ("ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER")
            output.table(headers, [_row(m) for m in response.members], context.is_terminal)
        case _:
            output.lines(", ".join(_row(member)) for member in response.members)


def _row(member: pb.Member) -> tuple[str, ...]:
    return (
        f"{member.ID:x}",
        "started" if member.name else "unstarted",
        member.name,
        ",".join(member.peerURLs),
        ",".join(member.clientURLs),
        str(member.isLearner).lower(),
    )


def _fields(member: pb.Member, as_hex: bool) -> list[str]:
    return [
        f'"ID" : {member.ID:x}' if as_hex else f'"ID" : {member.ID}',
        f'"Name" : {quoted(member.name.encode())}',
        *(f'"PeerURL" : {quoted(url.encode())}' for url in member.peerURLs),
        *(f'"ClientURL" : {quoted(url.encode())}' for url in member.clientURLs),
        f'"IsLearner" : {str(member.isLearner).lower()}',
        "",
    ]


COMMANDS = (
    Command(
        ("member", "list"),
        "",
        "List the members of the cluster",
        list_members,
        "The simple format's columns: id, status, name, peer addresses, client addresses, is\n"
        "learner. A member that has not joined yet is unstarted.",
        (Flag("consistency", "l", "linearizable (l) or serializable (s)"),),
    ),
)
