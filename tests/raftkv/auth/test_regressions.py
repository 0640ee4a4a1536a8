"""Every call needs its permission: the holes that etcd has had, and a matrix of all methods.

Asked of raftkv alone: etcd 3.5.1 still has the holes.
"""

import asyncio
import itertools
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest

from raftkv.pb.etcd import election_pb2, lock_pb2
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.auth_rules import FREE
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.auth.calls import (
    USERS,
    Users,
    disable,
    enable,
    furnish,
    grant_role,
    revoke_role,
    role_add,
    status,
    user_get,
)
from tests.raftkv.compat.pair import (
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

DENIED = (grpc.StatusCode.PERMISSION_DENIED, "etcdserver: permission denied")
NOBODY = (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: user name is empty")


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ProcessCluster(1, tmp_path_factory.mktemp("users"), ["--bcrypt-cost=4"]) as cluster:
        cluster.wait_ready()
        asyncio.run(_furnish(cluster.endpoints[0]))
        yield cluster.endpoints[0]


async def _furnish(endpoint: str) -> None:
    async with opened(endpoint) as channel:
        for call in furnish():
            await Side(channel).ask(*call)


@pytest.fixture
async def users(furnished: str) -> AsyncIterator[Users]:
    async with grpc.aio.insecure_channel(furnished) as channel:
        yield Users(Side(channel))


def nested(call: Call, depth: int = 1, branch: str = "success") -> Call:
    """Wrap a call in so many transactions."""
    for _ in range(depth):
        call = txn([], **{branch: [call]})
    return call


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("branch", ["success", "failure"])
async def test_nested_transactions_are_judged_as_deep_as_they_go(
    users: Users, depth: int, branch: str
) -> None:
    """etcd let the operations of inner transactions through unjudged."""
    for call in (get(b"k"), put(b"k"), delete(b"k"), get(b"a", b"d"), delete(b"b", b"e")):
        assert await users.answer("mixed", nested(call, depth, branch)) == DENIED
        assert await users.answer(None, nested(call, depth, branch)) == NOBODY
        assert not isinstance(await users.answer("root", nested(call, depth, branch)), tuple)
    inner = txn([pb.Compare(key=b"k", target=pb.Compare.VERSION)], [get(b"a")])
    assert await users.answer("reader", nested(inner, depth, branch)) == DENIED
    assert not isinstance(await users.answer("reader", nested(get(b"a"), depth, branch)), tuple)


async def test_an_empty_transaction_needs_a_user(users: Users) -> None:
    assert await users.answer(None, txn()) == NOBODY
    assert not isinstance(await users.answer("stranger", txn()), tuple)


async def test_previous_values_are_read(users: Users) -> None:
    """Who may write, but not read, gets no earlier value by the side door."""
    await users.ask("root", put(b"k", b"secret"))
    for call in (
        put(b"k", prev_kv=True),
        delete(b"k", prev_kv=True),
        txn([], [put(b"k", prev_kv=True)]),
        txn([], [], [delete(b"k", prev_kv=True)]),
    ):
        assert await users.answer("one-writer", call) == DENIED
    assert not isinstance(await users.answer("one-writer", put(b"k")), tuple)


@pytest.mark.parametrize("end", [b"\0", b"l", b"k\0\0"])
async def test_a_grant_on_one_key_watches_one_key(users: Users, end: bytes) -> None:
    """etcd took the open end of a watch for none, and sent events of every later key."""
    async with watch(users, "one", b"k", end) as stream:
        refused = await stream.read()
        assert (refused.watch_id, refused.created, refused.canceled) == (-1, True, True)
        text = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
        assert refused.cancel_reason == text
        # The stream goes on: what is allowed can be watched on it.
        await stream.write(create(b"k"))
        assert not (await stream.read()).canceled
        await users.ask("root", put(b"k1"))
        await users.ask("root", put(b"k"))
        (event,) = (await stream.read()).events
        assert event.kv.key == b"k"


async def test_an_empty_key_to_watch_is_the_first_of_all(users: Users) -> None:
    async with watch(users, "open-reader", b"", b"\0") as stream:
        assert (await stream.read()).canceled
    async with watch(users, "everything", b"", b"\0") as stream:
        assert not (await stream.read()).canceled


class watch:
    """A watch stream with its first request sent."""

    def __init__(self, users: Users, name: str | None, key: bytes, end: bytes = b"") -> None:
        self.users, self.name, self.first = users, name, create(key, end)

    async def __aenter__(self) -> Any:
        stub = self.users.side.channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        self.stream = stub(metadata=await self.users.metadata(self.name), timeout=10)
        await self.stream.write(self.first)
        return self.stream

    async def __aexit__(self, *_: object) -> None:
        self.stream.cancel()


def create(key: bytes, end: bytes = b"") -> pb.WatchRequest:
    return pb.WatchRequest(create_request=pb.WatchCreateRequest(key=key, range_end=end))


async def test_leases_tell_and_touch_only_what_is_allowed(users: Users) -> None:
    await users.ask("root", grant(40))
    await users.ask("root", put(b"b", lease=40))
    await users.ask("root", put(b"k", lease=40))
    listing: Call = ("Lease/LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)
    for name in ("reader", "writer", "one", "stranger"):
        assert await users.answer(name, revoke(40)) == DENIED
        assert await users.answer(name, listing) == DENIED
        assert await users.answer(name, time_to_live(40)) == DENIED
        assert await users.answer(name, time_to_live(40, keys=True)) == DENIED
        assert await keep_alive(users, name, 40) == DENIED
    for call in (put(b"b", lease=40), nested(put(b"b", lease=40), 2)):
        assert await users.answer("writer", call) == DENIED, "k hangs on the lease, too"
    assert await keep_alive(users, "everything", 40) == 1000
    assert (await users.ask("everything", time_to_live(40, keys=True))).keys == [b"b", b"k"]
    assert len((await users.ask("root", listing)).leases) == 1
    assert not isinstance(await users.answer("everything", revoke(40)), tuple)
    assert not isinstance(await users.answer("stranger", listing), tuple)


async def keep_alive(users: Users, name: str | None, lease: int) -> Any:
    """Return the TTL, or the refusal."""
    stub = users.side.channel.stream_stream(
        "/etcdserverpb.Lease/LeaseKeepAlive",
        request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
        response_deserializer=pb.LeaseKeepAliveResponse.FromString,
    )
    stream = stub(metadata=await users.metadata(name), timeout=10)
    try:
        await stream.write(pb.LeaseKeepAliveRequest(ID=lease))
        return (await stream.read()).TTL
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    finally:
        stream.cancel()


async def test_locks_and_elections_are_their_keys(users: Users) -> None:
    """They are ranges and transactions in their caller's name, refused as etcd passes it on."""

    def lock(name: bytes) -> Call:
        return "/v3lockpb.Lock/Lock", lock_pb2.LockRequest(name=name), lock_pb2.LockResponse

    def campaign(name: bytes) -> Call:
        request = election_pb2.CampaignRequest(name=name, value=b"me")
        return "/v3electionpb.Election/Campaign", request, election_pb2.CampaignResponse

    assert await users.answer(None, lock(b"x/l")) == NOBODY
    assert await users.answer("stranger", lock(b"x/l")) == (grpc.StatusCode.UNKNOWN, DENIED[1])
    assert (await users.ask("owner", lock(b"x/l"))).key.startswith(b"x/l/")
    assert await users.answer("owner", lock(b"y/l")) == (grpc.StatusCode.UNKNOWN, DENIED[1])
    assert (await users.ask("owner", campaign(b"x/e"))).leader.key.startswith(b"x/e/")
    assert await users.answer("reader", campaign(b"a")) == (grpc.StatusCode.UNKNOWN, DENIED[1])


async def test_a_range_is_streamed_to_who_may_read_it(users: Users) -> None:
    await users.ask("root", put(b"a"))
    stub = users.side.channel.unary_stream(
        "/etcdserverpb.KV/RangeStream",
        request_serializer=pb.RangeRequest.SerializeToString,
        response_deserializer=pb.RangeStreamResponse.FromString,
    )
    for name, allowed in (("reader", True), ("open-reader", False), ("stranger", False)):
        stream = stub(
            pb.RangeRequest(key=b"a", range_end=b"c"), metadata=await users.metadata(name)
        )
        if allowed:
            assert [one async for one in stream]
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                assert not [one async for one in stream]
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_status_is_free(users: Users) -> None:
    assert (await users.ask(None, status())).enabled


ANYBODY: tuple[Call, ...] = (
    ("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse),
    ("Maintenance/Alarm", pb.AlarmRequest(), pb.AlarmResponse),
    ("Cluster/MemberList", pb.MemberListRequest(), pb.MemberListResponse),
    grant(0),
    txn(),
)
ROOTS: tuple[Call, ...] = (
    compact(1),
    ("Maintenance/Defragment", pb.DefragmentRequest(), pb.DefragmentResponse),
    ("Maintenance/Hash", pb.HashRequest(), pb.HashResponse),
    ("Maintenance/HashKV", pb.HashKVRequest(), pb.HashKVResponse),
    ("Maintenance/MoveLeader", pb.MoveLeaderRequest(), pb.MoveLeaderResponse),
    ("Maintenance/Downgrade", pb.DowngradeRequest(version="3.5.0"), pb.DowngradeResponse),
    ("Maintenance/Alarm", pb.AlarmRequest(action="ACTIVATE"), pb.AlarmResponse),
    ("Maintenance/Alarm", pb.AlarmRequest(action="DEACTIVATE"), pb.AlarmResponse),
    ("Cluster/MemberAdd", pb.MemberAddRequest(), pb.MemberAddResponse),
    ("Cluster/MemberRemove", pb.MemberRemoveRequest(), pb.MemberRemoveResponse),
    ("Cluster/MemberUpdate", pb.MemberUpdateRequest(), pb.MemberUpdateResponse),
    ("Cluster/MemberPromote", pb.MemberPromoteRequest(), pb.MemberPromoteResponse),
)


@pytest.mark.parametrize("call", ANYBODY, ids=lambda call: call[0])
async def test_methods_of_every_user(users: Users, call: Call) -> None:
    assert await users.answer(None, call) == NOBODY
    for name in ("stranger", "root"):
        assert not isinstance(await users.answer(name, call), tuple)


@pytest.mark.parametrize("call", ROOTS, ids=lambda call: call[0])
async def test_methods_of_root(users: Users, call: Call) -> None:
    assert await users.answer(None, call) == NOBODY
    for name in set(USERS) - {"root"}:
        assert await users.answer(name, call) == DENIED
    assert await users.answer("root", call) not in (DENIED, NOBODY)


SERVICES = (pb.DESCRIPTOR, lock_pb2.DESCRIPTOR, election_pb2.DESCRIPTOR)


@pytest.mark.parametrize(
    "path",
    [
        f"/{service.full_name}/{method.name}"
        for file in SERVICES
        for service in file.services_by_name.values()
        for method in service.methods
    ],
)
async def test_no_method_is_open_to_nobody(users: Users, path: str) -> None:
    """Every method of every schema refuses who has no token, and who has a wrong one."""
    if path in FREE:
        return
    needs_key = path.rpartition("/")[2] in ("Range", "RangeStream", "Put", "DeleteRange")
    message = pb.RangeRequest(key=b"k").SerializeToString() if needs_key else b""
    for metadata, code in (
        ((), grpc.StatusCode.INVALID_ARGUMENT),
        ((("token", "rubbish"),), grpc.StatusCode.UNAUTHENTICATED),
    ):
        stream = users.side.channel.stream_stream(path)(metadata=metadata, timeout=5)
        if path.endswith("/Watch"):
            await stream.write(create(b"k").SerializeToString())
            assert pb.WatchResponse.FromString(await stream.read()).canceled
            stream.cancel()
            continue
        await stream.write(message)
        await stream.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is code, path


async def test_the_gateway_is_no_way_around(users: Users, furnished: str) -> None:
    """JSON requests are judged like any others, by the token in their Authorization."""

    def post(path: str, body: str, token: str | None) -> int:
        headers = {"Authorization": token} if token is not None else {}
        request = urllib.request.Request(f"http://{furnished}/v3/{path}", body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    await users.ask("root", put(b"a"))
    ((_, reader),) = await users.metadata("reader")
    for path, body, wanted in (
        ("kv/range", '{"key": "YQ=="}', 200),
        ("kv/range", '{"key": "aw=="}', 403),
        ("kv/put", '{"key": "YQ=="}', 403),
        ("kv/txn", '{"success": [{"request_range": {"key": "aw=="}}]}', 403),
        ("maintenance/hashkv", "{}", 403),
        ("auth/user/list", "{}", 403),
        ("auth/status", "{}", 200),
    ):
        for token in (reader, f"Bearer {reader}"):
            assert await asyncio.to_thread(post, path, body, token) == wanted, path
        if path != "auth/status":
            assert await asyncio.to_thread(post, path, body, None) == 400
            assert await asyncio.to_thread(post, path, body, "rubbish") == 401


async def test_rights_are_taken_at_once(users: Users) -> None:
    """What a role allowed is refused by the next request after it was revoked."""
    name = "wide-reader"
    assert not isinstance(await users.answer(name, get(b"d")), tuple)
    await users.ask("root", revoke_role(name, "reads-c-e"))
    assert await users.answer(name, get(b"d")) == DENIED
    assert not isinstance(await users.answer(name, get(b"a")), tuple), "its token is good still"
    await users.ask("root", grant_role(name, "reads-c-e"))
    assert not isinstance(await users.answer(name, get(b"d")), tuple)
    assert (await users.ask(name, user_get(name))).roles == ["reads-a-c", "reads-c-e"]


async def test_watches_end_with_the_right_to_them(users: Users) -> None:
    """Each watcher by itself, at once; whoever has not lost anything goes on."""
    name = "wide-reader"
    async with watch(users, name, b"c", b"e") as stream, watch(users, "root", b"d") as other:
        assert (await stream.read()).created
        await stream.write(create(b"a"))
        assert (await stream.read()).watch_id == 1
        assert (await other.read()).created
        await users.ask("root", revoke_role(name, "reads-c-e"))
        ended = await stream.read()
        assert (ended.watch_id, ended.created, ended.canceled) == (0, False, True)
        text = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
        assert ended.cancel_reason == text
        await users.ask("root", put(b"d", b"unseen"))
        await users.ask("root", put(b"a", b"seen"))
        response = await stream.read()
        assert (response.watch_id, response.events[0].kv.value) == (1, b"seen")
        assert (await other.read()).events[0].kv.value == b"unseen"
        await users.ask("root", grant_role(name, "reads-c-e"))


async def test_watches_of_nobody_end_when_there_are_users(users: Users) -> None:
    await users.ask("root", disable())
    users.forget("root")
    async with watch(users, None, b"k") as stream:
        assert (await stream.read()).created
        await users.ask(None, enable())
        ended = await stream.read()
        assert ended.canceled
        assert ended.cancel_reason.endswith("user name is empty")


async def test_a_large_range_is_judged_too(users: Users) -> None:
    """It leaves in pieces, by another way than a small one."""
    value = b"v" * 100_000
    for number in range(30):
        await users.ask("root", put(b"x/large%02d" % number, value))
    call = get(b"x/large", b"x/largf")
    assert len((await users.ask("owner", call)).kvs) == 30
    assert await users.answer("reader", call) == DENIED
    reading = [asyncio.create_task(users.answer("owner", call)) for _ in range(10)]
    await users.ask("root", revoke_role("owner", "both-x"))
    for answer in await asyncio.gather(*reading):
        assert answer == DENIED or not isinstance(answer, tuple)
    assert await users.answer("owner", call) == DENIED
    await users.ask("root", grant_role("owner", "both-x"))


async def test_no_request_fails_because_others_manage_users(users: Users) -> None:
    """etcd says `revision of auth store is old` to what was under way; here it is tried anew."""
    is_over = False
    counts = dict.fromkeys(("put", "txn", "lease", "role"), 0)

    async def work(name: str, kind: str, make: Callable[[int], Call]) -> None:
        while not is_over:
            await users.ask(name, make(counts[kind]))
            counts[kind] += 1

    await users.metadata("owner")
    workers = [
        asyncio.create_task(work("owner", "put", lambda number: put(b"x/%d" % number))),
        asyncio.create_task(work("owner", "txn", lambda number: txn([], [put(b"x/t")]))),
        asyncio.create_task(work("owner", "lease", lambda number: grant(0))),
        asyncio.create_task(work("root", "role", lambda number: role_add(f"r{number}"))),
    ]
    for number in itertools.count():
        await users.ask("root", role_add(f"s{number}"))
        if number >= 100 and min(counts.values()) > 10:
            break
    is_over = True
    await asyncio.gather(*workers)
