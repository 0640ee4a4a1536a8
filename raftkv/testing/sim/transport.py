"""What a member takes for its `PeerTransport`: the same verbs on the simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from raftkv.peer.errors import OutcomeUnknown, PeerUnavailable, RequestRefused
from raftkv.raft.messages import Message, MessageType
from raftkv.testing.sim.loop import MemberLoop
from raftkv.testing.sim.network import SimulatedNetwork

__all__ = ["SimulatedTransport"]

HELLO_S = 1.0
"""How often a member dials those that it has not heard of since the last time."""

BREAK_S = 1.0
"""How long it takes until a connection on which something got lost is given up."""


class SimulatedTransport:
    """One member's side of the network, for one life."""

    def __init__(
        self,
        member_id: int,
        life: int,
        loop: MemberLoop,
        network: SimulatedNetwork,
        find: Callable[[int], SimulatedTransport | None],
        peers: Iterable[int],
        note: Callable[[str], None],
        *,
        on_messages: Callable[[list[Message]], None],
        on_forward: Callable[[int, bytes], None],
        on_request: Callable[[int, str, bytes], Awaitable[bytes]],
        on_unreachable: Callable[[int], None],
        on_removed: Callable[[], None],
        was_removed: Callable[[int], bool],
        own_url: Callable[[], str],
        on_stranger: Callable[[int, str], None],
    ) -> None:
        """`find` returns the transport of a member that runs; `note` writes to the trace."""
        self.member_id = member_id
        self.life = life
        self.loop = loop
        self._network = network
        self._find = find
        self._peers = set(peers) - {member_id}
        self._note = note
        self.on_send: Callable[[Message], object] = lambda _message: None
        """Told of each message before it leaves."""
        self._on_messages = on_messages
        self._on_forward = on_forward
        self._on_request = on_request
        self._on_unreachable = on_unreachable
        self._on_removed = on_removed
        self._was_removed = was_removed
        self._own_url = own_url
        self._on_stranger = on_stranger
        self._heard: set[int] = set()
        self._unreachable: set[int] = set()
        self._asking: dict[int, dict[asyncio.Future[bytes], None]] = {}
        """Requests without an answer, by who was asked."""

    async def start(self) -> None:
        """Begin; the network knows already that this member is there."""

    async def close(self) -> None:
        """End; the network is told by whoever ends the process."""

    def greet(self) -> None:
        """Dial, from now on again and again, everyone who is silent: a stranger is told so."""
        for peer_id in sorted(self._peers - self._heard):
            if self.is_connected(peer_id):
                link = self._network.link(self.member_id, peer_id)
                self._network.transmit(link, partial(self._dialled, peer_id), may_repeat=False)
        self._heard.clear()
        self.loop.call_later(HELLO_S, self.greet)

    def _dialled(self, peer_id: int) -> None:
        """The other side looks at who dials."""
        target = self._find(peer_id)
        if target is None or target.loop.is_paused:
            return
        if target._was_removed(self.member_id):
            back = self._network.link(peer_id, self.member_id)
            self._network.transmit(back, self._told_of_removal, may_repeat=False)
        elif self.member_id not in target._peers:
            target._note(f"<- {self.member_id:x} introduces itself")
            target.loop.call_soon(target._on_stranger, self.member_id, self._own_url())

    def _told_of_removal(self) -> None:
        if self._find(self.member_id) is self:
            self._note("<- you were removed")
            self.loop.call_soon(self._on_removed)

    def add_peer(self, peer_id: int, _address: object = None) -> None:
        """Talk to a member from now on."""
        self._peers.add(peer_id)

    async def remove_peer(self, peer_id: int) -> None:
        """Talk to a member no more."""
        self._peers.discard(peer_id)

    def is_connected(self, peer_id: int) -> bool:
        """Say whether something sent now would leave."""
        return peer_id in self._peers and self._network.is_connected(self.member_id, peer_id)

    def sent_bytes(self, peer_id: int) -> int:
        """Count nothing."""
        return 0

    def received_bytes(self, peer_id: int) -> int:
        """Count nothing."""
        return 0

    # --- one way -------------------------------------------------------------------------------

    def send(self, messages: Sequence[Message]) -> None:
        """Send Raft messages; each may be lost, repeated or overtaken."""
        for message in messages:
            self.on_send(message)
            if message.to not in self._peers:
                continue
            if not self.is_connected(message.to):
                self.lost(message.to)
                continue
            link = self._network.link(self.member_id, message.to)
            self._network.transmit(link, partial(self._deliver, message), may_repeat=True)

    def _deliver(self, message: Message) -> None:
        target = self._find(message.to)
        if target is not None and self.member_id in target._peers:
            target._heard.add(self.member_id)
            target._note(describe(message))
            target.loop.call_soon(target._on_messages, [message])

    def forward(self, peer_id: int, data: bytes) -> bool:
        """Send one way; like on a real connection, it arrives once or never."""
        target = self._find(peer_id)
        if not self.is_connected(peer_id) or target is None:
            return False

        def deliver() -> None:
            if self._find(peer_id) is target and self.member_id in target._peers:
                target._note(f"<- {self.member_id:x} forwarded {len(data)} B")
                target.loop.call_soon(target._on_forward, self.member_id, data)

        link = self._network.link(self.member_id, peer_id)
        self._network.transmit(link, deliver, may_repeat=False)
        return True

    def lost(self, peer_id: int) -> None:
        """Report a peer unreachable in the next turn, once however much was lost."""
        for answer in self._asking.get(peer_id, ()):
            self.loop.call_soon(_give_up, answer, peer_id)
        if not self._unreachable:
            self.loop.call_soon(self._report)
        self._unreachable.add(peer_id)

    def _report(self) -> None:
        lost, self._unreachable = self._unreachable, set()
        for peer_id in sorted(lost):
            self._on_unreachable(peer_id)

    # --- there and back ------------------------------------------------------------------------

    async def request(self, peer_id: int, kind: str, payload: bytes, timeout_s: float) -> bytes:
        """Send a request and return the answer. Raises what the real one raises."""
        target = self._find(peer_id)
        if not self.is_connected(peer_id) or target is None:
            raise PeerUnavailable(peer_id, "no connection")
        answer: asyncio.Future[bytes] = self.loop.create_future()
        there = self._network.link(self.member_id, peer_id)
        self._asking.setdefault(peer_id, {})[answer] = None
        self._network.transmit(
            there,
            lambda: self._ask(target, kind, payload, answer),
            may_repeat=False,
            on_drop=lambda: self._break(answer, peer_id),
        )
        timer = self.loop.call_later(timeout_s, _give_up, answer, peer_id)
        try:
            return await answer
        finally:
            timer.cancel()
            self._asking[peer_id].pop(answer, None)

    def _break(self, answer: asyncio.Future[bytes], peer_id: int) -> None:
        """A request or its answer was lost on the way: so its connection ends, a little later."""
        self.loop.call_later(BREAK_S, _give_up, answer, peer_id)

    def _ask(
        self, target: SimulatedTransport, kind: str, payload: bytes, answer: asyncio.Future[bytes]
    ) -> None:
        """Have the other member answer, if it is still in the life that was asked."""
        if self._find(target.member_id) is not target or self.member_id not in target._peers:
            self._break(answer, target.member_id)
            return

        async def work() -> None:
            error: Exception | None = None
            result = b""
            try:
                result = await target._on_request(self.member_id, kind, payload)
            except Exception as raised:
                error = RequestRefused(target.member_id, str(raised))
            back = self._network.link(target.member_id, self.member_id)
            self._network.transmit(
                back,
                lambda: self._answered(answer, result, error),
                may_repeat=False,
                on_drop=lambda: self._break(answer, target.member_id),
            )

        target._note(f"<- {self.member_id:x} asks {kind} {len(payload)} B")
        target.loop.call_soon(lambda: target.loop.create_task(work()))

    def _answered(
        self, answer: asyncio.Future[bytes], result: bytes, error: Exception | None
    ) -> None:
        self._note(f"<- an answer of {len(result)} B, error {error}")
        self.loop.call_soon(_settle, answer, result, error)


def _give_up(answer: asyncio.Future[Any], peer_id: int) -> None:
    if not answer.done():
        answer.set_exception(OutcomeUnknown(peer_id, "no answer in time"))


def _settle(answer: asyncio.Future[bytes], result: bytes, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)


def describe(message: Message) -> str:
    """Return a line of the trace for a Raft message that arrives."""
    text = f"<- {message.sender:x} {message.type.name} term {message.term} index {message.index}"
    if message.entries:
        text += f" +{len(message.entries)}"
    if message.type is MessageType.APPEND or message.type is MessageType.HEARTBEAT:
        text += f" commit {message.commit}"
    return text + (" reject" if message.reject else "")
