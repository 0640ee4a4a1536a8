"""What may be changed in a membership, and what each refusal is called."""

import asyncio
import random
from typing import cast

import pytest

from raftkv.config import ClusterConfig, ReconfigurationRules
from raftkv.errors import ErrorCode, StoreError
from raftkv.peer.transport import PeerTransport
from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ChangeAction, ConfigurationChange, MemberChange
from raftkv.raft.messages import HardState
from raftkv.raft.node import RaftNode
from raftkv.server.membership import MemberRecord, Membership, stored_configuration
from raftkv.server.reconfiguration import ChangeRequest, Reconfiguration, are_peer_urls
from raftkv.testing.memory_log import MemoryLog


class Links:
    """Connected to whom it says."""

    def __init__(self, connected: set[int]) -> None:
        self.connected = connected

    def is_connected(self, peer_id: int) -> bool:
        return peer_id in self.connected


def url_of(name: str) -> str:
    return f"http://{name}:2380"


class Leader:
    """The leader of a cluster of named members, of which some have never run."""

    def __init__(self, names: str, started: str, connected: str, strict: bool = True) -> None:
        cluster = ClusterConfig({name: (url_of(name),) for name in names}, "t", False)
        self.membership = Membership(cluster)
        self.ids = dict(self.membership.id_of_name)
        for name in started:
            self.membership.publish(MemberRecord(self.ids[name], name, (), ()))
        own = self.ids[names[0]]
        log, dice = MemoryLog(), random.Random(1)
        voters = Configuration(frozenset(self.ids.values()))
        self.node = RaftNode(RaftConfig(id=own), voters, log, HardState(), 0, dice)
        links = Links({self.ids[name] for name in connected})
        self.changes = Reconfiguration(
            self.node,
            self.membership,
            cast(PeerTransport, links),
            asyncio.get_running_loop(),
            rules=ReconfigurationRules(strict=strict),
            timeout_s=1.0,
            wake=lambda: None,
        )

    def judge(self, action: ChangeAction, name: str, url: str = "") -> ErrorCode | None:
        member_id = self.ids.get(name, 77)
        record = MemberRecord(member_id, "", (url or url_of(name),), ())
        try:
            self.changes._judge(ChangeRequest(action, member_id, record))
        except StoreError as error:
            return error.code
        return None


ADD, REMOVE, PROMOTE = ChangeAction.ADD_VOTER, ChangeAction.REMOVE, ChangeAction.PROMOTE


@pytest.mark.parametrize(
    ("names", "started", "connected", "action", "name", "code"),
    [
        ("a", "a", "", ADD, "b", None),
        ("abc", "abc", "bc", ADD, "d", None),
        ("abc", "abc", "b", ADD, "d", ErrorCode.UNHEALTHY),
        ("ab", "a", "b", ADD, "c", ErrorCode.MEMBER_NOT_ENOUGH_STARTED),
        ("abc", "abc", "bc", ADD, "b", ErrorCode.MEMBER_EXIST),
        ("abc", "abc", "bc", REMOVE, "c", None),
        ("abc", "abc", "", REMOVE, "c", ErrorCode.UNHEALTHY),
        ("abc", "ac", "c", REMOVE, "c", ErrorCode.MEMBER_NOT_ENOUGH_STARTED),
        ("abc", "abc", "bc", REMOVE, "x", ErrorCode.MEMBER_NOT_FOUND),
        ("a", "a", "", REMOVE, "a", ErrorCode.MEMBER_NOT_ENOUGH_STARTED),
        ("abc", "abc", "bc", PROMOTE, "b", ErrorCode.MEMBER_NOT_LEARNER),
        ("abc", "abc", "bc", PROMOTE, "x", ErrorCode.MEMBER_NOT_FOUND),
    ],
)
async def test_judgements(
    names: str,
    started: str,
    connected: str,
    action: ChangeAction,
    name: str,
    code: ErrorCode | None,
) -> None:
    assert Leader(names, started, connected).judge(action, name) is code


async def test_a_url_is_one_members() -> None:
    leader = Leader("abc", "abc", "bc")
    assert leader.judge(ADD, "d", url_of("b")) is ErrorCode.PEER_URL_EXIST
    assert leader.judge(ChangeAction.UPDATE, "a", url_of("b")) is ErrorCode.PEER_URL_EXIST
    assert leader.judge(ChangeAction.UPDATE, "a", url_of("a")) is None


async def test_without_strictness_the_quorum_is_the_callers_business() -> None:
    leader = Leader("ab", "a", "", strict=False)
    assert leader.judge(ADD, "c") is None
    assert leader.judge(REMOVE, "b") is None


def test_a_membership_survives_the_store() -> None:
    members = Membership(ClusterConfig({"a": ("http://a:1",), "b": ("http://b:1",)}, "t", False))
    first, second = sorted(members.ids)
    rows: dict[bytes, bytes] = dict(members.rows(Configuration(members.ids)))
    added = MemberRecord(5, "", ("http://c:1",), ())
    after = Configuration(frozenset({first, 5}))
    change = ConfigurationChange(
        (MemberChange(ADD, 5), MemberChange(REMOVE, second)), context=added.encode()
    )
    for key, value in members.apply(change, added, after).items():
        if value is None:
            del rows[key]
        else:
            rows[key] = value
    again = Membership.of(members.cluster_id, [])
    again.load(rows)
    assert again.ids == {first, 5} == members.ids
    assert again.was_removed(second)
    assert not again.was_removed(first)
    assert stored_configuration(rows) == after


@pytest.mark.parametrize(
    ("urls", "good"),
    [
        (["http://a:2380"], True),
        (["http://a:2380", "http://b:2380"], True),
        ([], False),
        (["http://a"], False),
        (["a:2380"], False),
        (["https://a:2380"], True),
        (["ftp://a:2380"], False),
        (["http://a:2380/path"], False),
        (["http://a:port"], False),
        (["http://a:1", "http://a:1"], False),
    ],
)
def test_peer_urls(urls: list[str], good: bool) -> None:
    assert are_peer_urls(urls) is good


@pytest.mark.parametrize("data", [b"", b"[]", b"[1,2]", b"[99,1,null]", b'[1,1,"x"]', b"[1,1,5]"])
def test_malformed_change_requests_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        ChangeRequest.decode(data)
