"""member list, add, remove, update and promote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from raftkv.ctl import fields_format, json_format, output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.go_text import quoted
from raftkv.pb.etcd import rpc_pb2 as pb

SCHEMES = ("http", "https", "unix", "unixs")

Changed = (
    pb.MemberAddResponse
    | pb.MemberRemoveResponse
    | pb.MemberUpdateResponse
    | pb.MemberPromoteResponse
)


async def list_members(context: Context, line: Line) -> None:
    written = context.format(table_on_terminal=True, refused=())
    async with context.client() as client:
        response = await client.member_list(linearizable=line.flags.text("consistency") != "s")
    match written:
        case "json":
            _print_json(response, context)
        case "fields":
            output.lines(fields_format.header(response.header))
            for member in response.members:
                output.lines(_fields(member, context.hex))
        case "protobuf":
            output.as_protobuf(response)
        case "table":
            headers = ("ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER")
            output.table(headers, [_row(m) for m in response.members], context.is_terminal)
        case _:
            output.lines(", ".join(_row(member)) for member in response.members)


def _print_json(response: pb.MemberListResponse | Changed, context: Context) -> None:
    body = json_format.message(response)
    output.as_json(json_format.with_hex_ids(body) if context.hex else body)


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


def _print_change(
    written: str, response: Changed, context: Context, simple: Callable[[], Iterable[str]]
) -> None:
    match written:
        case "json":
            _print_json(response, context)
        case "protobuf":
            output.as_protobuf(response)
        case _:
            output.lines(simple())


def _told(member_id: int, what: str, response: Changed) -> str:
    return f"Member {member_id:16x} {what} cluster {response.header.cluster_id:16x}"


def _change_format(context: Context) -> str:
    return context.format(refused=("table", "fields"))


def _member_id(line: Line) -> int:
    """Read the one argument, an id in hexadecimal."""
    if len(line.arguments) != 1:
        raise bad_arguments("member ID is not provided")
    text = line.arguments[0]
    try:
        return int(text, 16)
    except ValueError:
        raise bad_arguments(
            f'bad member ID arg (strconv.ParseUint: parsing "{text}": invalid syntax), '
            "expecting ID in Hex"
        ) from None


def _peer_urls(line: Line) -> list[str]:
    """Read --peer-urls; the server would refuse the same URLs with less to say."""
    text = line.flags.text("peer-urls")
    if not text:
        raise bad_arguments("member peer urls not provided")
    urls = text.split(",")
    for url in urls:
        parts = urlsplit(url)
        problem = ""
        if parts.scheme not in SCHEMES:
            problem = "URL scheme must be http, https, unix, or unixs"
        elif parts.scheme.startswith("http") and not _has_host_and_port(url):
            problem = 'URL address does not have the form "host:port"'
        elif parts.scheme.startswith("http") and parts.path:
            problem = "URL must not contain a path"
        if problem:
            raise CommandError(ExitCode.ERROR, f"{problem}: {url}")
    return urls


def _has_host_and_port(url: str) -> bool:
    try:
        return bool(urlsplit(url).port)
    except ValueError:
        return False


async def add(context: Context, line: Line) -> None:
    if not line.arguments:
        raise bad_arguments("member name not provided")
    if len(line.arguments) > 1:
        raise bad_arguments("too many arguments")
    name, urls = line.arguments[0], _peer_urls(line)
    written = _change_format(context)
    async with context.client() as client:
        response = await client.member_add(urls, learner=line.flags.switch("learner"))
    _print_change(written, response, context, lambda: _added(name, urls, response))


def _added(name: str, urls: Sequence[str], response: pb.MemberAddResponse) -> list[str]:
    """Give what the new member is to be started with, as etcd's variables."""
    new = response.member.ID
    cluster = ",".join(
        f"{name if new == member.ID else member.name}={url}"
        for member in response.members
        for url in member.peerURLs
    )
    return [
        _told(new, "added to", response),
        "",
        f'ETCD_NAME="{name}"',
        f'ETCD_INITIAL_CLUSTER="{cluster}"',
        f'ETCD_INITIAL_ADVERTISE_PEER_URLS="{",".join(urls)}"',
        'ETCD_INITIAL_CLUSTER_STATE="existing"',
    ]


async def remove(context: Context, line: Line) -> None:
    member_id, written = _member_id(line), _change_format(context)
    async with context.client() as client:
        response = await client.member_remove(member_id)
    _print_change(written, response, context, lambda: [_told(member_id, "removed from", response)])


async def update(context: Context, line: Line) -> None:
    member_id, urls, written = _member_id(line), _peer_urls(line), _change_format(context)
    async with context.client() as client:
        response = await client.member_update(member_id, urls)
    _print_change(written, response, context, lambda: [_told(member_id, "updated in", response)])


async def promote(context: Context, line: Line) -> None:
    member_id, written = _member_id(line), _change_format(context)
    async with context.client() as client:
        response = await client.member_promote(member_id)
    _print_change(written, response, context, lambda: [_told(member_id, "promoted in", response)])


PEER_URLS = Flag("peer-urls", "", "the member's peer URLs, separated by commas")

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
    Command(
        ("member", "add"),
        "<name> --peer-urls=<urls>",
        "Add a member, to be started afterwards",
        add,
        "Prints the variables that the new member is to be started with. A learner receives the\n"
        "log and counts for no majority until it is promoted: the safe way to add one.",
        (PEER_URLS, Flag("learner", False, "add it as a learner")),
    ),
    Command(("member", "remove"), "<member id>", "Remove a member", remove),
    Command(
        ("member", "update"),
        "<member id> --peer-urls=<urls>",
        "Change a member's peer URLs",
        update,
        flags=(PEER_URLS,),
    ),
    Command(("member", "promote"), "<member id>", "Make a learner a voter", promote),
)
