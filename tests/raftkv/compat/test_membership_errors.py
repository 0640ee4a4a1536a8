"""Changes of membership that a real etcd and raftkv refuse, and what a learner refuses."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from raftkv.errors import ErrorCode
from raftkv.pb.etcd import election_pb2 as el
from raftkv.pb.etcd import lock_pb2 as lk
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster, free_port
from tests.raftkv.compat.pair import (
    ETCD,
    Call,
    Side,
    compact,
    delete,
    get,
    grant,
    opened,
    put,
    revoke,
    time_to_live,
    txn,
)
from tests.raftkv.compat.test_errors import (
    add,
    downgrade,
    move_leader,
    promote,
    remove,
    status_of,
    update,
)
from tests.raftkv.compat.test_watch_options import watching
from tests.raftkv.compat.three import EtcdCluster, start_joining

pytestmark = pytest.mark.slow

E = ErrorCode
PROGRAMS = ([str(ETCD), "--unsafe-no-fsync"], [sys.executable, "-m", "raftkv"])

MEMBERS: Call = ("Cluster/MemberList", pb.MemberListRequest(), pb.MemberListResponse)


@contextmanager
def single_members(directory: Path) -> Iterator[list[ProcessCluster]]:
    """Run one etcd and one raftkv."""
    for name in ("etcd", "raftkv"):
        (directory / name).mkdir()
    with EtcdCluster(1, directory / "etcd") as etcd, ProcessCluster(1, directory / "raftkv") as our:
        for cluster in (etcd, our):
            cluster.wait_ready()
        yield [etcd, our]


@pytest.fixture
async def singles(tmp_path: Path) -> AsyncIterator[list[ProcessCluster]]:
    with single_members(tmp_path) as clusters:
        yield clusters


async def own_id(side: Side) -> int:
    """Return the one member's id, once it has made its name known."""
    async with asyncio.timeout(10):
        while True:
            found = await side.ask(*MEMBERS)
            if found.members[0].name:
                return int(found.members[0].ID)
            await asyncio.sleep(0.05)


async def test_refused_changes(singles: list[ProcessCluster]) -> None:
    """What is there cannot be added, a voter not promoted, nor a learner that never started."""
    told: list[list[object]] = []
    for cluster in singles:
        peer = f"http://127.0.0.1:{cluster.peer_ports[0]}"
        async with opened(cluster.endpoints[0]) as channel:
            side = Side(channel)
            mine = await own_id(side)
            answers: list[object] = [await side.answer(*add(peer))]
            answers.append(await side.answer(*add("http://127.0.0.1:9", peer, learner=True)))
            answers.append(await side.answer(*promote(mine)))
            added = await side.ask(*add("http://127.0.0.1:9", learner=True))
            assert added.member.isLearner
            assert added.member.name == ""
            assert len(added.members) == 2
            answers.append(await side.answer(*add("http://127.0.0.1:10", learner=True)))
            answers.append(await side.answer(*promote(added.member.ID)))
            answers.append(await side.answer(*move_leader(added.member.ID)))
            answers.append(await side.answer(*update(added.member.ID, peer)))
            await side.ask(*remove(added.member.ID))
            answers.append(await side.answer(*remove(added.member.ID)))
            answers.append(await side.answer(*update(added.member.ID, "http://127.0.0.1:11")))
            told.append(answers)
    assert told[1] == told[0]
    assert told[0] == [
        status_of(code)
        for code in (
            E.PEER_URL_EXIST,
            E.PEER_URL_EXIST,
            E.MEMBER_NOT_LEARNER,
            E.TOO_MANY_LEARNERS,
            E.LEARNER_NOT_READY,
            E.BAD_LEADER_TRANSFEREE,
            E.PEER_URL_EXIST,
            E.MEMBER_NOT_FOUND,
            E.MEMBER_NOT_FOUND,
        )
    ]


async def test_a_member_cannot_be_moved_to_nowhere(singles: list[ProcessCluster]) -> None:
    """Only raftkv is asked: etcd 3.5.1 takes the URL and dies of it."""
    async with opened(singles[1].endpoints[0]) as channel:
        side = Side(channel)
        told = await side.answer(*update(await own_id(side), "nowhere"))
    assert told == status_of(E.MEMBER_BAD_URLS)


async def test_a_voter_that_never_started(singles: list[ProcessCluster]) -> None:
    """It may be added to one member; after that nothing may cost the quorum that is left."""
    told = []
    for cluster in singles:
        async with opened(cluster.endpoints[0]) as channel:
            side = Side(channel)
            await own_id(side)
            await side.ask(*add("http://127.0.0.1:9"))
            told.append(await side.answer(*add("http://127.0.0.1:10")))
    assert told[1] == told[0] == status_of(E.MEMBER_NOT_ENOUGH_STARTED)


REFUSED_BY_LEARNERS: dict[str, Call] = {
    "put": put(b"a"),
    "range": get(b"a"),
    "delete": delete(b"a"),
    "txn": txn([], [put(b"a")]),
    "txn of serializable reads": txn([], [get(b"a", serializable=True)]),
    "compact": compact(1),
    "grant": grant(9),
    "revoke": revoke(9),
    "time to live": time_to_live(9),
    "leases": ("Lease/LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse),
    "member list": MEMBERS,
    "member add": add("http://127.0.0.1:11"),
    "alarm": ("Maintenance/Alarm", pb.AlarmRequest(), pb.AlarmResponse),
    "defragment": ("Maintenance/Defragment", pb.DefragmentRequest(), pb.DefragmentResponse),
    "hash": ("Maintenance/Hash", pb.HashRequest(), pb.HashResponse),
    "hash kv": ("Maintenance/HashKV", pb.HashKVRequest(), pb.HashKVResponse),
    "move leader": move_leader(1),
    "downgrade": downgrade("VALIDATE", "3.5.0"),
    "lock": ("/v3lockpb.Lock/Lock", lk.LockRequest(name=b"a"), lk.LockResponse),
    "leader": ("/v3electionpb.Election/Leader", el.LeaderRequest(name=b"a"), el.LeaderResponse),
}


async def test_what_a_learner_refuses(singles: list[ProcessCluster], tmp_path: Path) -> None:
    """Everything but Status, serializable ranges and the stream of a snapshot."""
    told: list[dict[str, object]] = []
    for cluster, program in zip(singles, PROGRAMS, strict=True):
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        async with opened(cluster.endpoints[0]) as channel:
            first = Side(channel)
            await own_id(first)
            await first.ask(*put(b"a", b"1"))
            await first.ask(*add(peer, learner=True))
        known = f"m0=http://127.0.0.1:{cluster.peer_ports[0]},m1={peer}"
        learner = start_joining(program, cluster.directory, "m1", peer, client, known)
        try:
            told.append(await asked_of_learner(client.removeprefix("http://")))
        finally:
            learner.terminate()
            learner.wait()
    of_etcd = {name: since_3_6(answer) for name, answer in told[0].items()}
    assert told[1] == of_etcd
    refused = {name for name, answer in told[1].items() if answer == REFUSED}
    assert refused == {*REFUSED_BY_LEARNERS, "watch", "keep alive"}


REFUSED = status_of(E.NOT_SUPPORTED_FOR_LEARNER)


def since_3_6(answer: object) -> object:
    """Return what etcd 3.6 would say: its refusal has another code than that of 3.5."""
    if answer == (grpc.StatusCode.UNAVAILABLE, REFUSED[1]):
        return REFUSED
    return answer


async def asked_of_learner(endpoint: str) -> dict[str, object]:
    """Wait until the learner has the key, then ask it everything."""
    async with grpc.aio.insecure_channel(endpoint) as channel:
        side = Side(channel)
        deadline = time.monotonic() + 20
        local = get(b"a", serializable=True)
        while "count: 1" not in str(await side.answer(*local)):
            assert time.monotonic() < deadline, "the learner does not follow"
            await asyncio.sleep(0.05)
        answers = {name: await side.answer(*call) for name, call in REFUSED_BY_LEARNERS.items()}
        answers["local range"] = await side.answer(*local)
        status = await side.ask("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse)
        answers["status"] = status.isLearner
        async with watching(side) as watch:
            answers["watch"] = await end_of(watch.stream)
        keep_alive: Any = channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive")()
        answers["keep alive"] = await end_of(keep_alive)
        snapshot: Any = channel.unary_stream("/etcdserverpb.Maintenance/Snapshot")(b"")
        answers["snapshot"] = bool(await snapshot.read())
        snapshot.cancel()
        return answers


async def end_of(stream: Any) -> tuple[object, object]:
    """Return the status with which a stream ends before anything is written to it."""
    async with asyncio.timeout(10):
        return await stream.code(), await stream.details()
