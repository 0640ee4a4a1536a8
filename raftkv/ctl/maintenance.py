"""alarm, defrag, move-leader and downgrade."""

from __future__ import annotations

import sys

from raftkv.client import ClientError
from raftkv.ctl import fields_format, output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.endpoint import CLUSTER, endpoints_of
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments, explain, told_already
from raftkv.ctl.flag_set import Flag, Line
from raftkv.pb.etcd import rpc_pb2 as pb


def _print_alarms(written: str, response: pb.AlarmResponse) -> None:
    # etcdctl ends each of these lines with a space.
    rows = [
        f"memberID:{one.memberID} alarm:{pb.AlarmType.Name(one.alarm)} " for one in response.alarms
    ]
    output.response(written, response, lambda: rows, lambda: fields_format.alarm_response(response))


async def alarm_list(context: Context, line: Line) -> None:
    if line.arguments:
        raise bad_arguments("alarm list command accepts no arguments")
    written = context.format(refused=("table",))
    async with context.client() as client:
        _print_alarms(written, await client.alarm_list())


async def alarm_disarm(context: Context, line: Line) -> None:
    if line.arguments:
        raise bad_arguments("alarm disarm command accepts no arguments")
    written = context.format(refused=("table",))
    disarmed = pb.AlarmResponse()
    async with context.client() as client:
        for one in (await client.alarm_list()).alarms:
            answer = await client.alarm_disarm(one.memberID, one.alarm)
            disarmed.header.CopyFrom(answer.header)
            disarmed.alarms.extend(answer.alarms)
    _print_alarms(written, disarmed)


async def defrag(context: Context, line: Line) -> None:
    """One endpoint after the other, so that an etcd among them never stops with the others."""
    if line.flags.text("data-dir"):
        raise CommandError(
            ExitCode.BAD_FEATURE,
            "--data-dir is not supported: a directory that is not in use has nothing to gain",
            "raftkv reuses freed pages by itself; defrag answers at once and changes nothing.",
        )
    failed = False
    for endpoint in await endpoints_of(context, line):
        async with context.client((endpoint,)) as client:
            try:
                await client.defragment()
            except ClientError as error:
                reason = explain(error, (endpoint,)).text
                print(f"Failed to defragment etcd member[{endpoint}] ({reason})", file=sys.stderr)
                failed = True
                continue
        output.lines([f"Finished defragmenting etcd member[{endpoint}]"])
    if failed:
        raise told_already()


async def move_leader(context: Context, line: Line) -> None:
    if len(line.arguments) != 1:
        raise bad_arguments("move-leader command needs 1 argument")
    text = line.arguments[0]
    try:
        target = int(text, 16)
    except ValueError:
        raise bad_arguments(f'strconv.ParseUint: parsing "{text}": invalid syntax') from None
    written = context.format(refused=("table", "fields"))
    leader_endpoint, leader = await _find_leader(context)
    async with context.client((leader_endpoint,)) as client:
        response = await client.move_leader(target)
    told = [f"Leadership transferred from {leader:x} to {target:x}"]
    output.response(written, response, lambda: told, lambda: told)


async def _find_leader(context: Context) -> tuple[str, int]:
    """Return the endpoint of the leader and its id. Raises CommandError where none leads."""
    for endpoint in context.endpoints:
        async with context.client((endpoint,)) as client:
            status = await client.status(0)
        if status.leader == status.header.member_id:
            return endpoint, status.leader
    raise CommandError(
        ExitCode.BAD_ARGUMENTS,
        f"no leader endpoint given at [{' '.join(context.endpoints)}]",
        "Only the leader can hand over; `raftctl endpoint status --cluster` shows which it is.",
    )


DOWNGRADE_TOLD = {
    pb.DowngradeRequest.VALIDATE: "Downgrade validate success, cluster version {}",
    pb.DowngradeRequest.ENABLE: "Downgrade enable success, cluster version {}",
    pb.DowngradeRequest.CANCEL: "Downgrade cancel success, cluster version {}",
}


async def _downgrade(
    context: Context, line: Line, action: pb.DowngradeRequest.DowngradeAction
) -> None:
    cancels = action == pb.DowngradeRequest.CANCEL
    if not cancels and not line.arguments:
        raise bad_arguments("TARGET_VERSION not provided")
    if len(line.arguments) > (0 if cancels else 1):
        raise bad_arguments("too many arguments")
    written = context.format(refused=("table", "fields"))
    version = line.arguments[0] if line.arguments else ""
    async with context.client() as client:
        response = await client.downgrade(action, version)
    told = [DOWNGRADE_TOLD[action].format(response.version)]
    output.response(written, response, lambda: told, lambda: told)


async def downgrade_validate(context: Context, line: Line) -> None:
    await _downgrade(context, line, pb.DowngradeRequest.VALIDATE)


async def downgrade_enable(context: Context, line: Line) -> None:
    await _downgrade(context, line, pb.DowngradeRequest.ENABLE)


async def downgrade_cancel(context: Context, line: Line) -> None:
    await _downgrade(context, line, pb.DowngradeRequest.CANCEL)


COMMANDS = (
    Command(("alarm", "list"), "", "List the alarms", alarm_list),
    Command(
        ("alarm", "disarm"),
        "",
        "Disarm all alarms",
        alarm_disarm,
        "A NOSPACE alarm that is disarmed while there is no space comes back with the next write:\n"
        "delete keys and compact first.",
    ),
    Command(
        ("defrag",),
        "",
        "Defragment the given endpoints",
        defrag,
        "A member of etcd serves nobody meanwhile; one of raftkv answers at once.",
        (CLUSTER, Flag("data-dir", "", "a directory of a member that does not run")),
    ),
    Command(
        ("move-leader",),
        "<member id>",
        "Let another member lead",
        move_leader,
        "The leader must be among the endpoints; ids are those of `raftctl member list`.",
    ),
    Command(
        ("downgrade", "validate"),
        "<version>",
        "Say whether the cluster could be downgraded",
        downgrade_validate,
    ),
    Command(("downgrade", "enable"), "<version>", "Begin a downgrade", downgrade_enable),
    Command(("downgrade", "cancel"), "", "End a downgrade", downgrade_cancel),
)
