"""endpoint status: what each member says of itself, once or as a table that follows it."""

from __future__ import annotations

import asyncio
import time

from rich.console import Console
from rich.live import Live

from raftkv.ctl import fields_format, json_format, output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.endpoint import CLUSTER, ask_each, endpoints_of
from raftkv.ctl.errors import bad_arguments, told_already
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.go_text import quoted, size
from raftkv.ctl.until_signal import first_of, stop_signal
from raftkv.pb.etcd import rpc_pb2 as pb

Answers = list[tuple[str, pb.StatusResponse]]

HEADERS = (
    "ENDPOINT", "ID", "VERSION", "DB SIZE", "IS LEADER", "IS LEARNER", "RAFT TERM", "RAFT INDEX",
    "RAFT APPLIED INDEX", "ERRORS",
)  # fmt: skip
"""etcdctl 3.5's columns, for members before 3.6."""
WIDE_HEADERS = (
    "ENDPOINT", "ID", "VERSION", "STORAGE VERSION", "DB SIZE", "IN USE", "PERCENTAGE NOT IN USE",
    "QUOTA", "IS LEADER", "IS LEARNER", "RAFT TERM", "RAFT INDEX", "RAFT APPLIED INDEX", "ERRORS",
    "DOWNGRADE TARGET VERSION", "DOWNGRADE ENABLED",
)  # fmt: skip
"""etcdctl 3.6's, for members that tell their storage version."""
LIVE_HEADERS = (
    "ENDPOINT", "ID", "VERSION", "DB SIZE", "IN USE", "ROLE", "RAFT TERM", "RAFT INDEX", "BEHIND",
    "REVISION", "REVISIONS/S", "ERRORS",
)  # fmt: skip


async def status(context: Context, line: Line) -> None:
    if line.flags.switch("watch"):
        await _follow(context, line)
        return
    written = context.format(table_on_terminal=True)
    endpoints = await endpoints_of(context, line)
    answers, failed = await _ask(context, endpoints)
    wide = any(response.storageVersion for _, response in answers)
    rows = [(_wide_row if wide else _row)(name, response) for name, response in answers]
    match written:
        case "json":
            output.as_json(
                [{"Endpoint": name, "Status": json_format.message(r)} for name, r in answers]
            )
        case "fields":
            for name, response in answers:
                output.lines(_fields(name, response))
        case "table":
            output.table(WIDE_HEADERS if wide else HEADERS, rows, context.is_terminal)
        case _:
            output.lines(", ".join(row) for row in rows)
    if failed:
        raise told_already()


async def _ask(context: Context, endpoints: tuple[str, ...]) -> tuple[Answers, bool]:
    return await ask_each(context, endpoints, "status", lambda client: client.status(0))


def _row(endpoint: str, response: pb.StatusResponse) -> tuple[str, ...]:
    return (
        endpoint,
        f"{response.header.member_id:x}",
        response.version,
        size(response.dbSize),
        *_roles(response),
        str(response.raftTerm),
        str(response.raftIndex),
        str(response.raftAppliedIndex),
        ", ".join(response.errors),
    )


def _wide_row(endpoint: str, response: pb.StatusResponse) -> tuple[str, ...]:
    narrow = _row(endpoint, response)
    used = response.dbSizeInUse * 100 // max(1, response.dbSize)
    return (
        *narrow[:3],
        response.storageVersion,
        narrow[3],
        size(response.dbSizeInUse),
        f"{100 - used}%",
        size(response.dbSizeQuota),
        *narrow[4:],
        response.downgradeInfo.targetVersion,
        str(response.downgradeInfo.enabled).lower(),
    )


def _roles(response: pb.StatusResponse) -> tuple[str, str]:
    leads = response.leader == response.header.member_id
    return str(leads).lower(), str(response.isLearner).lower()


def _fields(endpoint: str, response: pb.StatusResponse) -> list[str]:
    newer = bool(response.storageVersion)
    return [
        *fields_format.header(response.header),
        f'"Version" : {quoted(response.version.encode())}',
        *([f'"StorageVersion" : {quoted(response.storageVersion.encode())}'] if newer else []),
        f'"DBSize" : {response.dbSize}',
        *([f'"DBSizeInUse" : {response.dbSizeInUse}'] if newer else []),
        *([f'"DBSizeQuota" : {response.dbSizeQuota}'] if newer else []),
        f'"Leader" : {response.leader}',
        f'"IsLearner" : {str(response.isLearner).lower()}',
        f'"RaftIndex" : {response.raftIndex}',
        f'"RaftTerm" : {response.raftTerm}',
        f'"RaftAppliedIndex" : {response.raftAppliedIndex}',
        f'"Errors" : [{" ".join(quoted(error.encode()) for error in response.errors)}]',
        f'"Endpoint" : {quoted(endpoint.encode())}',
        *(_downgrade_fields(response) if newer else []),
        "",
    ]


def _downgrade_fields(response: pb.StatusResponse) -> list[str]:
    target = response.downgradeInfo.targetVersion
    return [
        f'"DowngradeTargetVersion" : {quoted(target.encode())}',
        f'"DowngradeEnabled" : {str(response.downgradeInfo.enabled).lower()}',
    ]


# --- following ---------------------------------------------------------------------------------


async def _follow(context: Context, line: Line) -> None:
    """Ask again and again until a signal: a live table on a terminal, else tables in a row."""
    interval_s = line.flags.seconds("interval")
    if interval_s <= 0:
        raise bad_arguments("--interval must be above zero")
    endpoints = await endpoints_of(context, line)
    with stop_signal() as stop:
        await first_of(_show(context, endpoints, interval_s), stop.wait())


async def _show(context: Context, endpoints: tuple[str, ...], interval_s: float) -> None:
    if not context.is_terminal:
        past: dict[str, tuple[float, int]] = {}
        while True:
            output.table(LIVE_HEADERS, await _live_rows(context, endpoints, past), False)
            await asyncio.sleep(interval_s)
    past = {}
    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        while True:
            rows = await _live_rows(context, endpoints, past)
            live.update(output.rich_table(LIVE_HEADERS, rows), refresh=True)
            await asyncio.sleep(interval_s)


async def _live_rows(
    context: Context, endpoints: tuple[str, ...], past: dict[str, tuple[float, int]]
) -> list[tuple[str, ...]]:
    """Ask all; `past` holds when each was asked last, and its revision then."""
    answers, _ = await ask_each(
        context, endpoints, "status", lambda client: client.status(0), tell=False
    )
    by_endpoint = dict(answers)
    highest = max((one.raftIndex for one in by_endpoint.values()), default=0)
    return [live_row(name, by_endpoint.get(name), highest, past) for name in endpoints]


def live_row(
    endpoint: str,
    response: pb.StatusResponse | None,
    highest_index: int,
    past: dict[str, tuple[float, int]],
) -> tuple[str, ...]:
    """Describe one member that answered, or say that it did not."""
    if response is None:
        past.pop(endpoint, None)
        return (endpoint, *[""] * (len(LIVE_HEADERS) - 2), "no answer")
    now, revision = time.monotonic(), response.header.revision
    before = past.get(endpoint)
    past[endpoint] = (now, revision)
    rate = ""
    if before is not None and now > before[0]:
        rate = f"{max(0, revision - before[1]) / (now - before[0]):.0f}"
    leads = response.leader == response.header.member_id
    role = "leader" if leads else "learner" if response.isLearner else "follower"
    return (
        endpoint,
        f"{response.header.member_id:x}",
        response.version,
        size(response.dbSize),
        size(response.dbSizeInUse),
        role,
        str(response.raftTerm),
        str(response.raftIndex),
        str(max(0, highest_index - response.raftAppliedIndex)),
        str(revision),
        rate,
        ", ".join(response.errors),
    )


COMMANDS = (
    Command(
        ("endpoint", "status"),
        "",
        "Show each endpoint's version, size, role and place in the log",
        status,
        "The simple format's columns for members before 3.6: endpoint, id, version, db size, is\n"
        "leader, is learner, raft term, raft index, raft applied index, errors. Newer ones have\n"
        "storage version, in use, percentage not in use and quota beside the size, and at the\n"
        "end downgrade target version and downgrade enabled.\n\n"
        "  raftctl endpoint status --cluster --watch      a table that follows the cluster",
        (
            CLUSTER,
            Flag("watch", False, "ask again and again until interrupted"),
            Flag("interval", 1.0, "time between two questions of --watch"),
        ),
    ),
)
