"""Remove a member under load, and let a new one come in its place, which knows nothing."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

from raftkv.cli import ExitCode
from raftkv.client import Client
from raftkv.client.errors import ClientError, UnavailableError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.history import Violation
from raftkv.testing.process_cluster import ProcessCluster

__all__ = ["Removal", "add_back", "remove"]

ATTEMPT_S = 3.0
RETRY_S = 0.2
CHANGE_S_MAX = 40.0
"""How long a change may take where nothing else is broken."""
REFUSED_S_MAX = 10.0
"""How long a removal is tried that is refused because of another fault. What was broken before may
count as broken for 5 s more."""
REFUSALS = ("etcdserver: unhealthy cluster", "etcdserver: re-configuration failed")
"""How texts begin by which a leader refuses to endanger the quorum: nothing has changed."""
EXIT_S_MAX = 25.0

_T = TypeVar("_T")


class Removal(Enum):
    """What became of a removal."""

    DONE = "done"
    REFUSED = "refused"
    """It stays, because the cluster cannot do without it."""
    IN_DOUBT = "in doubt"
    """It may be removed, and the others cannot say: they may be one with the other fault's."""


class _GiveUp(Exception):
    """A change is not tried on while another fault is at work."""


def remove(cluster: ProcessCluster, member: int, *, alone: bool) -> Removal:
    """Have a member removed by way of the others.

    Returns another end than DONE only where another fault is at work, so not `alone`: what is in
    doubt then is to be asked for once more, alone. Raises Violation.
    """
    give_up_at = time.monotonic() + REFUSED_S_MAX
    may_be_done = False

    async def change(client: Client) -> bool:
        nonlocal may_be_done
        try:
            found = _named(await client.member_list(), cluster.names[member])
        except ClientError as error:
            if not alone and time.monotonic() > give_up_at:
                raise _GiveUp from error
            raise
        if found is None:
            return True
        asked, may_be_done = may_be_done, True
        try:
            await client.member_remove(found.ID)
        except ClientError as error:
            may_be_done = asked or not _changed_nothing(error)
            if not alone and time.monotonic() > give_up_at:
                raise _GiveUp from error
            raise
        return True

    try:
        _until_done(cluster, member, f"remove member {member}", change)
    except _GiveUp:
        return Removal.IN_DOUBT if may_be_done else Removal.REFUSED
    return Removal.DONE


def _changed_nothing(error: ClientError) -> bool:
    """Say whether a change of membership that ended so was certainly not made."""
    if isinstance(error, UnavailableError) and error.unsent:
        return True
    return error.message.startswith(REFUSALS)


def add_back(cluster: ProcessCluster, member: int) -> None:
    """Wait until a removed member has ended by itself; have a new one, empty, in its place.

    It is added as a learner, started, and promoted. Raises Violation where the removed one does not
    end, or ends with another exit code than the one for that.
    """
    _wait_for_end(cluster, member)
    url = f"http://{cluster.hosts[member]}:{cluster.peer_ports[member]}"

    async def add(client: Client) -> bool:
        listed = await client.member_list()
        if not any(url in one.peerURLs for one in listed.members):
            await client.member_add([url], learner=True)
        return True

    async def promote(client: Client) -> bool:
        for one in (await client.member_list()).members:
            if url in one.peerURLs and one.isLearner:
                await client.member_promote(one.ID)
        return True

    _until_done(cluster, member, f"add member {member}", add)
    shutil.rmtree(cluster.directory / cluster.names[member] / "member", ignore_errors=True)
    cluster.joining.add(member)
    cluster.start(member)
    _until_done(cluster, member, f"promote member {member}", promote)


def _wait_for_end(cluster: ProcessCluster, member: int) -> None:
    try:
        code: int | str = cluster.wait(member, EXIT_S_MAX)
    except subprocess.TimeoutExpired:
        code = f"nothing within {EXIT_S_MAX} s"
    if code != ExitCode.REMOVED:
        raise Violation(
            "a removed member ends, and says so",
            f"member {member} exited with {code}:\n{cluster.log_tail(member)}",
        )


def _named(listed: pb.MemberListResponse, name: str) -> pb.Member | None:
    return next((one for one in listed.members if one.name == name), None)


def _until_done(
    cluster: ProcessCluster, member: int, what: str, act: Callable[[Client], Awaitable[_T]]
) -> _T:
    """Try at the other members until it succeeds; what was done already stays done."""
    others = [one for one in range(len(cluster.names)) if one != member]
    deadline = time.monotonic() + CHANGE_S_MAX
    problems: dict[int, str] = {}

    async def attempt(endpoint: str) -> _T:
        async with Client([endpoint], timeout_s=ATTEMPT_S) as client:
            return await act(client)

    with asyncio.Runner() as runner:
        while time.monotonic() < deadline:
            for one in others:
                try:
                    return runner.run(attempt(cluster.endpoints[one]))
                except _GiveUp:
                    raise
                except Exception as error:  # refused, cut off or without a leader: try on
                    is_there = "" if cluster.runs(one) else " (it does not run)"
                    problems[one] = f"member {one}{is_there}: {error}"
            time.sleep(RETRY_S)
    told = "; ".join(problems.values())
    raise Violation(
        "the membership can be changed", f"cannot {what} within {CHANGE_S_MAX} s: {told}"
    )
