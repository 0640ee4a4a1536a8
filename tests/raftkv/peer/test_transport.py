"""Members on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from raftkv.peer.errors import OutcomeUnknown, PeerUnavailable, RequestRefused
from raftkv.peer.frame import encode_hello
from raftkv.peer.outgoing import Address
from raftkv.peer.transport import OUTGOING_BYTES_MAX, PeerTransport
from raftkv.raft.messages import Entry, EntryKind, Message, MessageType
from raftkv.testing.ports import free_port

CLUSTER = 0xC1
DEADLINE_S = 10.0


class Member:
    """A transport that records what reaches it."""

    def __init__(
        self,
        member_id: int,
        outgoing_bytes_max: int = OUTGOING_BYTES_MAX,
        removed: frozenset[int] = frozenset(),
        listen_too: tuple[Address, ...] = (),
    ) -> None:
        self.strangers: list[tuple[int, str]] = []
        self.messages: list[Message] = []
        self.read_ends: list[int] = []
        """Messages that had come by the end of each read that brought some."""
        self.forwarded: list[tuple[int, bytes]] = []
        self.unreachable: list[int] = []
        self.transport = PeerTransport(
            member_id,
            CLUSTER,
            Address("127.0.0.1", 0),
            {},
            on_messages=self.messages.extend,
            on_read_end=lambda: self.read_ends.append(len(self.messages)),
            on_forward=lambda peer, batch: self.forwarded.append((peer, batch)),
            on_request=self.serve,
            on_unreachable=self.unreachable.append,
            outgoing_bytes_max=outgoing_bytes_max,
            listen_too=listen_too,
            was_removed=removed.__contains__,
            own_url=lambda: f"http://127.0.0.1:{self.transport.port}",
            on_stranger=self.meet,
        )

    def meet(self, peer_id: int, url: str) -> None:
        """Let everyone in who dials."""
        self.strangers.append((peer_id, url))
        self.transport.add_peer(peer_id, Address("127.0.0.1", int(url.rpartition(":")[2])))

    async def serve(self, peer: int, kind: str, payload: bytes) -> bytes:
        if kind == "echo":
            return payload + b" to %d" % peer
        if kind == "hang":
            await asyncio.Event().wait()
        raise ValueError(f"no such request: {kind}")


async def until(condition: Callable[[], bool]) -> None:
    """Poll until a condition holds; fail after DEADLINE_S."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def pair(a: Member, b: Member) -> None:
    """Start two members, without waiting for their connection."""
    for member in (a, b):
        await member.transport.start()
    a.transport.add_peer(2, Address("127.0.0.1", b.transport.port))
    b.transport.add_peer(1, Address("127.0.0.1", a.transport.port))


async def connected(a: Member, b: Member) -> None:
    """Start two members and wait until both have dialled."""
    await pair(a, b)
    await until(lambda: a.transport.is_connected(2) and b.transport.is_connected(1))


def heartbeat(context: int) -> Message:
    return Message(MessageType.HEARTBEAT, 2, 1, 3, context=context)


async def test_messages_arrive_whole_and_in_order() -> None:
    """Entries come out as they went in, also those larger than a socket buffer."""
    a, b = Member(1), Member(2)
    try:
        await connected(a, b)
        entries = tuple(
            Entry(3, 8 + i, EntryKind.NORMAL, bytes([i]) * size)
            for i, size in enumerate((0, 1, 3_000_000))
        )
        sent = [heartbeat(1), Message(MessageType.APPEND, 2, 1, 3, index=7, entries=entries)]
        a.transport.send(sent)
        a.transport.send([heartbeat(2)])
        await until(lambda: len(b.messages) == 3)
        assert b.messages == [*sent, heartbeat(2)]
        assert b.read_ends == sorted(set(b.read_ends)), "no read without messages counts"
        assert b.read_ends[-1] == 3
        assert b.transport.received_bytes(1) == a.transport.sent_bytes(2) > 3_000_000
    finally:
        await a.transport.close()
        await b.transport.close()


async def test_a_member_is_reached_at_each_address_that_it_listens_on() -> None:
    second = free_port()
    a, b = Member(1), Member(2, listen_too=(Address("127.0.0.1", second),))
    try:
        for member in (a, b):
            await member.transport.start()
        assert second != b.transport.port
        for port in (second, b.transport.port):
            a.transport.add_peer(2, Address("127.0.0.1", port))
            await until(lambda: a.transport.is_connected(2))
            assert await a.transport.request(2, "echo", b"hello", 5.0) == b"hello to 1"
            await a.transport.remove_peer(2)
    finally:
        await a.transport.close()
        await b.transport.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", second)


async def test_batches_are_forwarded_one_way() -> None:
    a, b = Member(1), Member(2)
    try:
        await pair(a, b)
        assert not a.transport.forward(2, b"too early")
        assert not a.transport.forward(9, b"nobody")
        await until(lambda: a.transport.is_connected(2))
        assert a.transport.forward(2, b"batch")
        await until(lambda: b.forwarded == [(1, b"batch")])
    finally:
        await a.transport.close()
        await b.transport.close()


async def test_requests_are_answered_refused_or_of_unknown_outcome() -> None:
    """Only what certainly was not sent may be tried again; the errors tell."""
    a, b = Member(1), Member(2)
    try:
        await pair(a, b)
        with pytest.raises(PeerUnavailable):
            await a.transport.request(2, "echo", b"", 1.0)
        await until(lambda: a.transport.is_connected(2))
        assert await a.transport.request(2, "echo", b"hello", 5.0) == b"hello to 1"
        with pytest.raises(RequestRefused, match="no such request: jump"):
            await a.transport.request(2, "jump", b"", 5.0)
        with pytest.raises(OutcomeUnknown):
            await a.transport.request(2, "hang", b"", 0.01)
        waiting = asyncio.create_task(a.transport.request(2, "hang", b"", 60.0))
        await a.transport.request(2, "echo", b"", 5.0)  # the one before has been sent
        await b.transport.close()
        with pytest.raises(OutcomeUnknown, match="connection was lost"):
            await waiting
    finally:
        await a.transport.close()
        await b.transport.close()


async def test_lost_peer_is_reported_and_dialled_again() -> None:
    a, b = Member(1), Member(2)
    again = Member(2)
    try:
        await connected(a, b)
        port = b.transport.port
        await b.transport.close()
        await until(lambda: not a.transport.is_connected(2))
        a.transport.send([heartbeat(1), heartbeat(2)])
        await until(lambda: a.unreachable[-1:] == [2])
        again.transport._listen_address = Address("127.0.0.1", port)
        again.transport.add_peer(1, Address("127.0.0.1", a.transport.port))
        await again.transport.start()
        await until(lambda: a.transport.is_connected(2))
        a.transport.send([heartbeat(3)])
        await until(lambda: again.messages == [heartbeat(3)])
    finally:
        for member in (a, b, again):
            await member.transport.close()


async def test_what_exceeds_the_bound_is_dropped_and_reported() -> None:
    a, b = Member(1, outgoing_bytes_max=100_000), Member(2)
    try:
        await connected(a, b)
        big = Entry(3, 1, EntryKind.NORMAL, bytes(200_000))
        a.transport.send([Message(MessageType.APPEND, 2, 1, 3, entries=(big,))])
        await until(lambda: a.unreachable == [2])
        a.transport.send([heartbeat(1)])
        await until(lambda: b.messages == [heartbeat(1)])
    finally:
        await a.transport.close()
        await b.transport.close()


@pytest.mark.parametrize(
    ("cluster_id", "sender", "receiver", "reason"),
    [
        (0xBAD, 1, 2, b"cluster id mismatch: bad is not c1"),
        (CLUSTER, 1, 7, b"member id mismatch: this is 2, not 7"),
        (CLUSTER, 5, 2, b"member 5 is not of this cluster"),
    ],
)
async def test_strangers_are_refused_by_name(
    cluster_id: int, sender: int, receiver: int, reason: bytes
) -> None:
    a, b = Member(1), Member(2)
    try:
        await pair(a, b)
        reader, writer = await asyncio.open_connection("127.0.0.1", b.transport.port)
        writer.write(encode_hello(cluster_id, sender, receiver))
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.read()
        assert reason in answer
        writer.close()
        await writer.wait_closed()
    finally:
        await a.transport.close()
        await b.transport.close()


async def test_one_who_is_not_known_yet_says_where_it_is_reached() -> None:
    """A member that was away learns of newer ones by their dialling it, and dials them back."""
    a, b = Member(1), Member(2)
    try:
        await a.transport.start()
        await b.transport.start()
        a.transport.add_peer(2, Address("127.0.0.1", b.transport.port))
        await until(lambda: b.transport.is_connected(1))
        assert b.strangers == [(1, f"http://127.0.0.1:{a.transport.port}")]
        a.transport.send([heartbeat(7)])
        await until(lambda: b.messages == [heartbeat(7)])
    finally:
        await a.transport.close()
        await b.transport.close()


async def test_a_removed_member_is_no_stranger() -> None:
    a, b = Member(1), Member(2, removed=frozenset({1}))
    told = asyncio.Event()
    a.transport._on_removed = told.set
    try:
        await a.transport.start()
        await b.transport.start()
        a.transport.add_peer(2, Address("127.0.0.1", b.transport.port))
        async with asyncio.timeout(DEADLINE_S):
            await told.wait()
        assert b.strangers == []
    finally:
        await a.transport.close()
        await b.transport.close()


async def test_a_message_under_a_false_name_ends_the_connection() -> None:
    """The receiver trusts the handshake, not what a message says of its sender."""
    a, b = Member(1), Member(2)
    try:
        await connected(a, b)
        a.transport.send([Message(MessageType.HEARTBEAT, 2, 9, 3)])
        await until(lambda: a.unreachable == [2])
        assert b.messages == []
    finally:
        await a.transport.close()
        await b.transport.close()


async def test_a_removed_member_is_told_so_and_a_stranger_is_not() -> None:
    told: list[int] = []
    transports = []

    def make(member_id: int, removed: set[int]) -> PeerTransport:
        made = PeerTransport(
            member_id,
            CLUSTER,
            Address("127.0.0.1", 0),
            {},
            on_messages=lambda _messages: None,
            on_forward=lambda _sender, _data: None,
            on_request=Member(member_id).serve,
            on_unreachable=lambda _peer: None,
            on_removed=lambda: told.append(member_id),
            was_removed=removed.__contains__,
        )
        transports.append(made)
        return made

    survivor, removed, stranger = make(1, {2}), make(2, set()), make(3, set())
    try:
        await survivor.start()
        for one in (removed, stranger):
            await one.start()
            one.add_peer(1, Address("127.0.0.1", survivor.port))
        await until(lambda: 2 in told)
        assert set(told) == {2}
    finally:
        for one in transports:
            await one.close()
