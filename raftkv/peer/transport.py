"""The transport between members: one outgoing connection per peer, one listener.

Each member dials each other one and sends on the connection that it dialled; only the answers to
its requests come back on it. Messages may be lost, and are, whenever there is no connection: Raft
copes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence

from raftkv.peer.errors import PeerUnavailable
from raftkv.peer.frame import FrameType, encode_frame, encode_messages
from raftkv.peer.incoming import IncomingConnections
from raftkv.peer.outgoing import Address, OutgoingConnection
from raftkv.raft.messages import Message
from raftkv.tls.listener import Admission, listen

OUTGOING_BYTES_MAX = 128 << 20
"""Bytes to one peer that the system has not taken yet; what would exceed it is dropped."""

CONNECTIONS_MAX = 256
"""Connections to the peer port, strangers' included, until one more is closed at once."""


class PeerTransport:
    """All connections of one member. All methods and callbacks are on the loop.

    Callbacks: `on_messages` gets the messages of one frame, and `on_read_end` is called when all
    that one read of a connection brought were handed over; `on_lone_frame`, if given, gets the
    messages of a read that was one frame instead, and does both; `on_forward` and `on_request` get
    the sender's id first; what `on_request` raises reaches the requester as RequestRefused with its
    text. `on_unreachable` is called, never from inside `send`, when a connection was lost or
    messages were dropped. `on_removed` is called when a peer says that this member was removed, as
    `was_removed` makes us say; `describe` tells who asks before joining what the cluster is.
    `on_stranger` is called when one of this cluster whom we do not know dials from a URL, `own_url`
    of its transport; it may call `add_peer`: who is behind knows the newer members only by that.
    """

    def __init__(
        self,
        member_id: int,
        cluster_id: int,
        listen_address: Address,
        peers: Mapping[int, Address],
        *,
        on_messages: Callable[[list[Message]], None],
        on_forward: Callable[[int, bytes], None],
        on_request: Callable[[int, str, bytes], Awaitable[bytes]],
        on_unreachable: Callable[[int], None],
        on_read_end: Callable[[], None] = lambda: None,
        on_lone_frame: Callable[[list[Message]], None] | None = None,
        on_removed: Callable[[], None] = lambda: None,
        was_removed: Callable[[int], bool] = lambda _peer_id: False,
        describe: Callable[[], bytes] = lambda: b"",
        own_url: Callable[[], str] = lambda: "",
        on_stranger: Callable[[int, str], None] = lambda _peer_id, _url: None,
        listen_too: Sequence[Address] = (),
        server_ssl: ssl.SSLContext | None = None,
        client_ssl: ssl.SSLContext | None = None,
        check_source: bool = False,
        outgoing_bytes_max: int = OUTGOING_BYTES_MAX,
    ) -> None:
        """`peers` may include this member, which is ignored. Port 0 listens on a free port.

        `listen_too` are more addresses to listen on. `server_ssl` and `client_ssl` are used for
        addresses that say TLS. With `check_source`, a peer's certificate that names hosts must
        name the one that it comes from.
        """
        self._member_id = member_id
        self._cluster_id = cluster_id
        self._listen_address = listen_address
        self._listen_too = tuple(listen_too)
        self._server_ssl = server_ssl
        self._admission = Admission(CONNECTIONS_MAX)
        self._client_ssl = client_ssl
        self._outgoing_bytes_max = outgoing_bytes_max
        self._on_unreachable = on_unreachable
        self._on_removed = on_removed
        self._own_url = own_url
        self._on_stranger = on_stranger
        self._unreachable: set[int] = set()
        self.losses: dict[int, int] = {}
        """Peer -> turns of the loop in which messages to it, or its connection, were lost."""
        self._outgoing: dict[int, OutgoingConnection] = {}
        self._incoming = IncomingConnections(
            cluster_id,
            member_id,
            admit=self._admit,
            was_removed=was_removed,
            describe=describe,
            on_messages=on_messages,
            on_read_end=on_read_end,
            on_lone_frame=on_lone_frame or _both(on_messages, on_read_end),
            on_forward=on_forward,
            on_request=on_request,
            connections_max=CONNECTIONS_MAX,
            check_source=check_source,
        )
        self._server: asyncio.Server | None = None
        self._more_servers: list[asyncio.Server] = []
        self._started = False
        for peer_id, address in peers.items():
            if peer_id != member_id:
                self.add_peer(peer_id, address)

    async def start(self) -> None:
        """Listen, and begin to dial. Raises OSError when the address cannot be had."""
        self._server = await self._listen(self._listen_address)
        for address in self._listen_too:
            self._more_servers.append(await self._listen(address))
        self._started = True
        for connection in self._outgoing.values():
            connection.start()

    async def _listen(self, address: Address) -> asyncio.Server:
        context = self._server_ssl if address.tls else None
        return await listen(
            self._incoming.accept, address.host, address.port, context, self._admission
        )

    async def close(self) -> None:
        """End everything; requests that wait fail with OutcomeUnknown. Idempotent."""
        self._started = False
        servers = [*self._more_servers, *([self._server] if self._server is not None else [])]
        for server in servers:
            server.close()
        for connection in self._outgoing.values():
            await connection.close()
        await self._incoming.close()
        for server in servers:
            await server.wait_closed()
        self._server = None
        self._more_servers = []

    def add_peer(self, peer_id: int, address: Address) -> None:
        """Dial a member from now on, and let it in."""
        assert peer_id not in self._outgoing
        assert peer_id != self._member_id
        connection = OutgoingConnection(
            self._cluster_id,
            self._member_id,
            peer_id,
            address,
            outgoing_bytes_max=self._outgoing_bytes_max,
            client_ssl=self._client_ssl,
            on_lost=self._lost,
            on_removed=self._on_removed,
            own_url=self._own_url,
        )
        self._outgoing[peer_id] = connection
        if self._started:
            connection.start()

    def _admit(self, peer_id: int, url: str) -> bool:
        """Say whether one who dials may speak."""
        if peer_id not in self._outgoing and url:
            self._on_stranger(peer_id, url)
        return peer_id in self._outgoing

    async def remove_peer(self, peer_id: int) -> None:
        """Dial a member no more, and do not let it in again."""
        connection = self._outgoing.pop(peer_id, None)
        self._incoming.drop(peer_id)
        if connection is not None:
            await connection.close()

    @property
    def port(self) -> int:
        """The port that is listened on. Only after `start()`."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def is_connected(self, peer_id: int) -> bool:
        """Say whether frames to a peer would be sent now."""
        connection = self._outgoing.get(peer_id)
        return connection is not None and connection.is_connected

    def sent_bytes(self, peer_id: int) -> int:
        """Return the bytes sent to a peer since the start."""
        connection = self._outgoing.get(peer_id)
        return 0 if connection is None else connection.sent_bytes

    def received_bytes(self, peer_id: int) -> int:
        """Return the bytes received from a peer since the start."""
        return self._incoming.received_bytes(peer_id)

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages, in their order per receiver, as one frame each. Never blocks.

        What cannot be sent is dropped, and its receiver reported unreachable in the next turn of
        the loop. Messages to strangers are dropped silently.
        """
        if len(messages) == 1:
            self._send_to(messages[0].to, messages)
            return
        grouped: dict[int, list[Message]] = {}
        for message in messages:
            grouped.setdefault(message.to, []).append(message)
        for peer_id, group in grouped.items():
            self._send_to(peer_id, group)

    def _send_to(self, peer_id: int, messages: Sequence[Message]) -> None:
        connection = self._outgoing.get(peer_id)
        if connection is not None and not (
            connection.is_dialled and connection.write(encode_messages(messages))
        ):
            self._lost(peer_id)

    def forward(self, peer_id: int, batch: bytes) -> bool:
        """Send a batch one way; False if it certainly was not sent."""
        connection = self._outgoing.get(peer_id)
        return connection is not None and connection.write(encode_frame(FrameType.FORWARD, batch))

    async def request(self, peer_id: int, kind: str, payload: bytes, timeout_s: float) -> bytes:
        """Send a request and return the answer.

        Raises PeerUnavailable when it certainly was not sent, RequestRefused with the other side's
        error, OutcomeUnknown when no answer came in time or the connection was lost.
        """
        connection = self._outgoing.get(peer_id)
        if connection is None:
            raise PeerUnavailable(peer_id, "not a peer of this member")
        return await connection.request(kind, payload, timeout_s)

    def _lost(self, peer_id: int) -> None:
        """Report a peer unreachable in the next turn, once however many messages were lost."""
        if not self._started:
            return
        if not self._unreachable:
            asyncio.get_running_loop().call_soon(self._report)
        self._unreachable.add(peer_id)

    def _report(self) -> None:
        lost, self._unreachable = self._unreachable, set()
        for peer_id in sorted(lost):
            self.losses[peer_id] = self.losses.get(peer_id, 0) + 1
            if self._started:
                self._on_unreachable(peer_id)


def _both(
    on_messages: Callable[[list[Message]], None], on_read_end: Callable[[], None]
) -> Callable[[list[Message]], None]:
    """Return what hands over the messages of a read and then says that it is over."""

    def hand_over(messages: list[Message]) -> None:
        on_messages(messages)
        on_read_end()

    return hand_over
