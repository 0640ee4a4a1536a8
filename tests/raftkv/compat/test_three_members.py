"""What takes a cluster to ask: a real etcd of three members and raftkv refuse the same."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import grpc
import pytest

from raftkv.errors import ERRORS, ErrorCode
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.compat.pair import Call, Side, comparable, get, grant, put, time_to_live
from tests.raftkv.compat.test_errors import add, move_leader, status_of
from tests.raftkv.compat.test_watch_options import watching
from tests.raftkv.compat.three import running_threes

pytestmark = pytest.mark.slow

STATUS = ("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse)


@pytest.fixture(scope="module")
def threes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ProcessCluster]]:
    with running_threes(tmp_path_factory.mktemp("threes")) as clusters:
        yield clusters


@pytest.fixture
async def members(threes: list[ProcessCluster]) -> AsyncIterator[list[list[Side]]]:
    """Channels to each member of etcd's cluster and of raftkv's, leaders first."""
    async with AsyncExitStack() as stack:
        found = []
        for cluster in threes:
            leader = await asyncio.to_thread(cluster.leader)
            order = [leader, (leader + 1) % 3, (leader + 2) % 3]
            sides = []
            for member in order:
                channel = grpc.aio.insecure_channel(cluster.endpoints[member])
                sides.append(Side(await stack.enter_async_context(channel)))
            found.append(sides)
        yield found


async def status(side: Side) -> pb.StatusResponse:
    answer = await side.ask(*STATUS)
    assert isinstance(answer, pb.StatusResponse)
    return answer


async def test_only_the_leader_gives_leadership_away(members: list[list[Side]]) -> None:
    told = []
    for _, follower, _ in members:
        target = (await status(follower)).header.member_id
        told.append(await follower.answer(*move_leader(target)))
    assert told[1] == told[0] == status_of(ErrorCode.NOT_LEADER)


async def test_leadership_is_given_away(members: list[list[Side]]) -> None:
    """The answer has no header; afterwards the target leads."""
    told = []
    for leader, follower, _ in members:
        target = (await status(follower)).header.member_id
        told.append(await leader.answer(*move_leader(target)))
        assert (await status(follower)).leader == target
    assert told[1] == told[0] == ""


async def test_members_are_listed_by_every_member(members: list[list[Side]]) -> None:
    """Names and URLs; the header has no revision."""
    for sides in members:
        for linearizable in (True, False):
            request = pb.MemberListRequest(linearizable=linearizable)
            lists = [
                await side.ask("Cluster/MemberList", request, pb.MemberListResponse)
                for side in sides
            ]
            assert [one.header.revision for one in lists] == [0, 0, 0]
            for one in lists:
                assert sorted(member.name for member in one.members) == ["m0", "m1", "m2"]
                assert all(member.ID and member.peerURLs for member in one.members)
                assert not any(member.isLearner for member in one.members)


async def test_a_follower_keeps_leases_alive(members: list[list[Side]]) -> None:
    for _, follower, other in members:
        await follower.ask(*grant(7, 100))
        told = await other.ask(*time_to_live(7))
        assert (told.grantedTTL, told.TTL in (99, 100)) == (100, True)


async def test_every_member_has_the_same_hash(members: list[list[Side]]) -> None:
    for sides in members:
        written = await sides[0].ask(*put(b"h", b"1"))
        request = pb.HashKVRequest(revision=written.header.revision)
        hashes = []
        for side in sides:
            await side.ask(*get(b"h"))
            answer = await side.ask("Maintenance/HashKV", request, pb.HashKVResponse)
            hashes.append((answer.hash, answer.compact_revision))
        assert len(set(hashes)) == 1


async def test_no_member_is_added_while_another_is_down(
    threes: list[ProcessCluster], members: list[list[Side]]
) -> None:
    """With --strict-reconfig-check, the default."""
    told = []
    for cluster, (leader, _, _) in zip(threes, members, strict=True):
        down = (await asyncio.to_thread(cluster.leader) + 1) % 3
        cluster.kill(down)
        told.append(await leader.answer(*add("http://127.0.0.1:9")))
        cluster.start(down)
        await asyncio.to_thread(cluster.wait_ready)
    assert told[1] == told[0] == status_of(ErrorCode.UNHEALTHY)


async def test_without_quorum(threes: list[ProcessCluster], members: list[list[Side]]) -> None:
    """Writes and linearizable reads time out; local reads and Status are served; what asks for a
    leader is refused. The last test here: it leaves one member of three."""
    for cluster in threes:
        leader = await asyncio.to_thread(cluster.leader)
        for down in (1, 2):
            cluster.kill((leader + down) % 3)

    async def ask(cluster_sides: list[Side]) -> list[object]:
        alone = cluster_sides[0]
        async with watching(alone, [("hasleader", "true")]) as watch:
            await watch.create(b"a")
            put_, read, stream_end = await asyncio.gather(
                asyncio.ensure_future(alone.answer(*put(b"a"))),
                asyncio.ensure_future(alone.answer(*get(b"a"))),
                asyncio.ensure_future(end_of(watch.stream)),
            )
        local = await alone.ask(*get(b"h", serializable=True))
        at_once = [
            await told_with_leader_wanted(alone, call)
            for call in (put(b"a"), get(b"a"), get(b"a", serializable=True), grant(9), STATUS)
        ]
        async with watching(alone, [("hasleader", "true")]) as late:
            at_once.append(await end_of(late.stream))
        return [timed_out(put_), timed_out(read), stream_end, comparable(local)[:0], *at_once]

    began = time.monotonic()
    told = await asyncio.gather(*(ask(sides) for sides in members))
    assert told[1] == told[0]
    no_leader = status_of(ErrorCode.NO_LEADER)
    assert [told[0][2], *told[0][4:]] == [no_leader] * 7
    assert time.monotonic() - began < 12
    for sides in members:
        found = await status(sides[0])
        assert found.leader == 0
        assert "etcdserver: no leader" in found.errors


TIMEOUTS = [
    ERRORS[code]
    for code in (
        ErrorCode.TIMEOUT,
        ErrorCode.TIMEOUT_DUE_TO_LEADER_FAIL,
        ErrorCode.TIMEOUT_DUE_TO_CONNECTION_LOST,
    )
]


async def told_with_leader_wanted(side: Side, call: Call) -> object:
    """Return the refusal of a call whose client does not want to wait for a leader."""
    try:
        return await side.ask(*call, metadata=[("hasleader", "true")])
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()


def timed_out(answer: object) -> object:
    """Which of the timeouts is told depends on the moment: return one for all."""
    assert isinstance(answer, tuple), answer
    code, text = answer
    if (code.value[0], text) in TIMEOUTS:
        return "timed out"
    return answer


async def end_of(stream: object) -> tuple[object, object]:
    """Return the status with which a stream ends."""
    try:
        while await stream.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
            pass
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    return await stream.code(), await stream.details()  # type: ignore[attr-defined]
