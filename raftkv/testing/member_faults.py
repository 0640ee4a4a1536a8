"""Remove a member under load, and let a new one come in its place, which knows nothing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from raftkv.cli import ExitCode
from raftkv.client import Client
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.history import Violation
from raftkv.testing.process_cluster import ProcessCluster

__all__ = ["add_back", "remove"]

ATTEMPT_S = 3.0
RETRY_S = 0.2
CHANGE_S_MAX = 40.0
"""How long a change may take while another fault is at work."""
EXIT_S_MAX = 25.0

_T = TypeVar("_T")


def remove(cluster: ProcessCluster, member: int) -> None:
    """Remove a member by way of the others, and wait until its process has ended by itself.

    Raises Violation where it does not, or ends with another exit code than the one for that.
    """

    async def change(client: Client) -> bool:
        found = _named(await client.member_list(), cluster.names[member])
        if found is not None:
            await client.member_remove(found.ID)
        return True

    _until_done(cluster, member, f"remove member {member}", change)
    code = cluster.wait(member, EXIT_S_MAX)
    if code != ExitCode.REMOVED:
        raise Violation(
            "a removed member ends, and says so",
            f"member {member} exited with {code}:\n{cluster.log_tail(member)}",
        )


def add_back(cluster: ProcessCluster, member: int) -> None:
    """Add a learner at the address of a removed member, start it empty, and promote it."""
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


def _named(listed: pb.MemberListResponse, name: str) -> pb.Member | None:
    return next((one for one in listed.members if one.name == name), None)


def _until_done(
    cluster: ProcessCluster, member: int, what: str, act: Callable[[Client], Awaitable[_T]]
) -> _T:
    """Try at the other members until it succeeds; what was done already stays done."""
    others = [one for one in range(len(cluster.names)) if one != member]
    deadline = time.monotonic() + CHANGE_S_MAX
    problem = ""

    async def attempt(endpoint: str) -> _T:
        async with Client([endpoint], timeout_s=ATTEMPT_S) as client:
            return await act(client)

    while time.monotonic() < deadline:
        for one in others:
            try:
                return asyncio.run(attempt(cluster.endpoints[one]))
            except Exception as error:  # refused, cut off or without a leader: try on
                problem = f"member {one}: {error}"
        time.sleep(RETRY_S)
    raise Violation("the membership can be changed", f"cannot {what}: {problem}")
