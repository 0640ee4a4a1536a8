"""The same users ask etcd and raftkv the same: users x ranges x methods, equal answers.

etcd 3.5.1 has holes that later releases closed; where a request would go through one of them, it is
asked of raftkv alone, by `test_regressions`. What is stricter or freer here is listed in
`DELIBERATE` and not asked in common.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.auth.calls import (
    READ,
    USERS,
    WRITE,
    Users,
    authenticate,
    change_password,
    disable,
    enable,
    grant_permission,
    grant_role,
    revoke_permission,
    revoke_role,
    role_add,
    role_delete,
    role_get,
    role_list,
    status,
    user_add,
    user_delete,
    user_get,
    user_list,
)
from tests.raftkv.compat.pair import (
    Call,
    Side,
    delete,
    get,
    grant,
    opened,
    put,
    revoke,
    running_pair,
    txn,
)

pytestmark = pytest.mark.slow

DELIBERATE = {
    "AuthStatus": "free since 3.7; 3.5 wants root",
    "LeaseGrant, LeaseRevoke of nothing, LeaseTimeToLive, LeaseLeases, MemberList, Alarm, Status,"
    " Compact, MoveLeader": "3.5 answers them without a token; since 2026 they need one",
    "HashKV, Defragment": "refused with PermissionDenied, as in 3.6, not Unknown",
    "MemberAdd of a bad URL": "the caller is judged first",
    "nested transactions; leases and prev_kv of puts within transactions": "not judged by 3.5",
    "why nobody may not watch": "no name, as in 3.6; 3.5 calls every refusal a lack of permission",
    "the id of a refused watch": "-1, as since 3.5.5; 3.5.1 sends the one that was asked for",
    "LeaseLeases, LeaseTimeToLive": "3.5 does not judge what keys they tell of",
    "grants on an empty range or no key": "accepted by 3.5, InvalidAuthMgmt since",
    "RoleGet of root": "says that it may do everything, as 3.6 does",
}
"""Where answers differ from 3.5.1's, and why."""

KEYS = (b"a", b"b", b"b1", b"c", b"d", b"k", b"m", b"x/1", b"zz")

RANGES: tuple[tuple[bytes, bytes], ...] = (
    *((key, b"") for key in KEYS),
    (b"a", b"b"),
    (b"a", b"c"),
    (b"a", b"d"),
    (b"a", b"e"),
    (b"b", b"c"),
    (b"b", b"d"),
    (b"b", b"\0"),
    (b"c", b"a"),
    (b"k", b"k\0"),
    (b"k", b"l"),
    (b"m", b"\0"),
    (b"n", b"\0"),
    (b"x/", b"x0"),
    (b"\0", b"\0"),
    (b"\0", b""),
    (b"", b""),
    (b"", b"\0"),
    (b"zz", b"zzz"),
)

ASKING: tuple[str | None, ...] = (None, *USERS)


async def both(users: Sequence[Users], name: str | None, call: Call) -> Any:
    """Have one user ask both; fails where the answers differ."""
    etcd, raftkv = [await one.answer(name, call) for one in users]
    assert raftkv == etcd, f"{name}: {call[0]} {call[1]}"
    return etcd


def reads(key: bytes, end: bytes) -> Iterator[Call]:
    yield get(key, end)
    yield get(key, end, serializable=True)
    yield get(key, end, count_only=True)
    yield get(key, end, limit=1, revision=2)
    compare = pb.Compare(key=key, range_end=end, target=pb.Compare.VERSION)
    yield txn([compare])
    yield txn([], [get(key, end)])
    yield txn([], [], [get(key, end)])
    yield txn([], [], [get(b"a"), get(key, end)])


def writes(key: bytes, end: bytes) -> Iterator[Call]:
    yield delete(key, end)
    yield delete(key, end, prev_kv=True)
    yield txn([], [delete(key, end)])
    yield txn([], [], [delete(key, end)])
    yield txn([], [delete(key, end, prev_kv=True)])
    if not end:
        yield put(key)
        yield put(key, prev_kv=True)
        yield put(key, ignore_value=True, value=b"")
        yield txn([], [put(key)])
        yield txn([], [], [put(key)])


@pytest.mark.parametrize("name", ASKING)
async def test_every_range_for_every_user(users: list[Users], name: str | None) -> None:
    """Security of KV: the interval is covered by the union of what the user's roles grant."""
    for key in KEYS:
        await both(users, "root", put(key))
    answers = []
    for key, end in RANGES:
        for call in (*reads(key, end), *writes(key, end)):
            if (name, key, end) == ("wide-reader", b"c", b"a"):
                continue  # a range without keys: etcd's answer hangs on the shape of its tree
            answers.append(await both(users, name, call))
    refused = sum(isinstance(one, tuple) for one in answers)
    assert refused or name == "root"
    assert refused < len(answers) or name in (None, "stranger")


@pytest.mark.parametrize("name", ASKING)
async def test_watches(users: list[Users], name: str | None) -> None:
    """Whoever may not read the whole range hears it on the stream; the range is what Range says."""
    etcd, raftkv = users
    for key, end in RANGES:
        told = await created(raftkv, name, key, end)
        assert told.canceled == (told.watch_id == -1) == bool(told.cancel_reason)
        may_read = not isinstance(await raftkv.answer(name, get(key or b"\0", end)), tuple)
        is_empty = end not in (b"", b"\0") and key >= end
        assert told.canceled == (is_empty or not may_read), (key, end)
        if key and end != b"\0" and not is_empty:
            by_etcd = await created(etcd, name, key, end)
            assert told.canceled == by_etcd.canceled
            assert told.cancel_reason == by_etcd.cancel_reason or name is None


async def created(users: Users, name: str | None, key: bytes, end: bytes) -> pb.WatchResponse:
    """Return the answer to a new watch."""
    stub = users.side.channel.stream_stream(
        "/etcdserverpb.Watch/Watch",
        request_serializer=pb.WatchRequest.SerializeToString,
        response_deserializer=pb.WatchResponse.FromString,
    )
    stream = stub(metadata=await users.metadata(name), timeout=10)
    create = pb.WatchCreateRequest(key=key, range_end=end)
    await stream.write(pb.WatchRequest(create_request=create))
    response: pb.WatchResponse = await stream.read()
    assert response.created
    stream.cancel()
    return response


@pytest.mark.parametrize("name", ASKING)
async def test_leases_with_keys(users: list[Users], name: str | None) -> None:
    """Revoking, and attaching to a lease, need to write every key that it holds."""
    for lease, keys in ((2, [b"b"]), (3, [b"k"]), (4, [b"b", b"k"]), (5, [b"x/1"])):
        await both(users, "root", grant(lease))
        for key in keys:
            await both(users, "root", put(key, lease=lease))
        await both(users, name, put(b"c", lease=lease))
        await both(users, name, put(b"k", lease=lease))
        if isinstance(await both(users, name, revoke(lease)), tuple):
            await both(users, "root", revoke(lease))


MANAGED: tuple[Call, ...] = (
    user_list(),
    role_list(),
    user_get("reader"),
    user_get("nobody"),
    user_add("reader"),
    user_add(""),
    user_delete("nobody"),
    user_delete("root"),
    change_password("nobody", "x"),
    grant_role("reader", "nothing"),
    grant_role("nobody", "all"),
    revoke_role("reader", "all"),
    revoke_role("root", "root"),
    role_get("reads-a-c"),
    role_get("nothing"),
    role_add("all"),
    role_add(""),
    role_delete("nothing"),
    role_delete("root"),
    grant_permission("nothing", (READ, b"a", b"")),
    grant_permission("all"),
    revoke_permission("all", b"q"),
    revoke_permission("nothing", b"q"),
    enable(),
    ("Cluster/MemberRemove", pb.MemberRemoveRequest(ID=5), pb.MemberRemoveResponse),
    ("Cluster/MemberPromote", pb.MemberPromoteRequest(ID=5), pb.MemberPromoteResponse),
    (
        "Cluster/MemberUpdate",
        pb.MemberUpdateRequest(ID=5, peerURLs=["http://127.0.0.1:1"]),
        pb.MemberUpdateResponse,
    ),
    authenticate("root", "wrong"),
    authenticate("nobody"),
    authenticate("reader", ""),
)
"""What changes nothing, even for root."""


@pytest.mark.parametrize("name", ASKING)
async def test_management(users: list[Users], name: str | None) -> None:
    """Users and roles are root's, but for a look at oneself; members too."""
    for call in MANAGED:
        await both(users, name, call)
    if name is not None:
        await both(users, name, user_get(name))


@pytest.mark.parametrize("text", ["", "rubbish", "a.b", "Bearer", "QUJD.1"])
async def test_tokens_that_are_none(users: list[Users], text: str) -> None:
    for key in ("token", "authorization"):
        answers = []
        for one in users:
            with pytest.raises(Exception) as caught:
                await one.side.ask(*get(b"a"), metadata=((key, text),))
            answers.append((caught.value.code(), caught.value.details()))  # type: ignore[attr-defined]
        assert answers[0] == answers[1]


async def test_a_token_as_authorization(users: list[Users]) -> None:
    for one in users:
        ((_, token),) = await one.metadata("reader")
        assert (await one.side.ask(*get(b"a"), metadata=(("authorization", token),))).header
    ((_, token),) = await users[1].metadata("reader")
    bearer = (("authorization", f"Bearer {token}"),)
    assert (await users[1].side.ask(*get(b"a"), metadata=bearer)).header, "since 2026"


OFF: tuple[Call, ...] = (
    enable(),
    disable(),
    status(),
    authenticate("root"),
    user_add(""),
    user_add("u"),
    user_add("u"),
    user_add("no-password", no_password=True),
    user_add("none-although-given", "pw", no_password=True),
    user_add("empty", ""),
    user_get("u"),
    user_get("nobody"),
    user_list(),
    grant_role("nobody", "r"),
    grant_role("u", "r"),
    role_add(""),
    role_add("r"),
    role_add("r"),
    grant_role("u", "r"),
    grant_role("u", "r"),
    user_get("u"),
    role_get("r"),
    role_get("nothing"),
    role_list(),
    grant_permission("nothing", (READ, b"a", b"b")),
    grant_permission("r"),
    grant_permission("r", (READ, b"z", b"\0")),
    grant_permission("r", (WRITE, b"z", b"\0")),
    grant_permission("r", (WRITE, b"a", b"b")),
    grant_permission("r", (READ, b"a", b"c")),
    grant_permission("r", (READ, b"a", b"")),
    role_get("r"),
    revoke_permission("r", b"q"),
    revoke_permission("nothing", b"q"),
    revoke_permission("r", b"a", b"b"),
    role_get("r"),
    status(),
    revoke_role("u", "nothing"),
    revoke_role("nobody", "r"),
    revoke_role("u", "r"),
    revoke_role("u", "r"),
    role_add("root"),
    user_add("root"),
    enable(),
    grant_role("u", "root"),
    user_get("u"),
    enable(),
    grant_role("root", "root"),
    role_delete("nothing"),
    change_password("nobody", "p"),
    change_password("u", "p"),
    change_password("no-password", "p"),
    user_delete("nobody"),
    user_list(),
    status(),
    enable(),
)
ON: tuple[Call, ...] = (
    status(),
    enable(),
    user_add("v"),
    role_add("w"),
    grant_role("v", "w"),
    grant_permission("w", (READ, b"a", b"c")),
    status(),
    role_delete("w"),
    user_get("v"),
    role_list(),
    status(),
    user_delete("v"),
    user_list(),
    revoke_role("root", "root"),
    disable(),
)


async def test_a_life_of_users_and_roles(tmp_path: Any) -> None:
    """The whole way from nothing to authentication and back, auth revisions included."""
    with running_pair(tmp_path, ["--bcrypt-cost=4"]) as endpoints:
        async with opened(endpoints[0]) as etcd, opened(endpoints[1]) as raftkv:
            users = [Users(Side(etcd)), Users(Side(raftkv))]
            for call in OFF:
                await both(users, None, call)
            for call in (authenticate("no-password"), authenticate("none-although-given", "pw")):
                await both(users, None, call)
            for call in ON:
                await both(users, "root", call)
            for call in (status(), put(b"a"), user_delete("root"), role_delete("root"), status()):
                await both(users, None, call)
