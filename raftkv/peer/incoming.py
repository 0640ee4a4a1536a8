"""Connections that peers dialled: they carry their messages and requests to us."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from raftkv._native.peer_messages import messages_of_frame
from raftkv.peer.connection import HANDSHAKE_TIMEOUT_S, PeerConnection, check_hello
from raftkv.peer.errors import FrameError, HandshakeError
from raftkv.peer.frame import (
    FrameType,
    decode_messages,
    decode_request,
    encode_answer,
    encode_frame,
    encode_hello,
    url_of_hello,
)
from raftkv.raft.messages import Message
from raftkv.tls.source_address import SourceRefused, check_source, system_resolver
from raftkv.tls.verification import names_of

log = logging.getLogger(__name__)

REQUESTS_UNDER_WAY_MAX = 4096
"""Requests of one connection that are being served; more are refused."""
ANSWERS_WAITING_BYTES_MAX = 64 << 20
"""Bytes of answers that a peer may leave unread before its connection is ended."""


class IncomingConnections:
    """All connections that were accepted."""

    def __init__(
        self,
        cluster_id: int,
        member_id: int,
        *,
        admit: Callable[[int, str], bool],
        was_removed: Callable[[int], bool],
        describe: Callable[[], bytes],
        on_messages: Callable[[list[Message]], None],
        on_read_end: Callable[[], None],
        on_lone_frame: Callable[[list[Message]], None],
        on_forward: Callable[[int, bytes], None],
        on_request: Callable[[int, str, bytes], Awaitable[bytes]],
        connections_max: int,
        check_source: bool,
    ) -> None:
        self._connections_max = connections_max
        self._check_source = check_source
        self._cluster_id = cluster_id
        self._member_id = member_id
        self._admit = admit
        self._was_removed = was_removed
        self._describe = describe
        self._on_messages = on_messages
        self._on_read_end = on_read_end
        self._on_lone_frame = on_lone_frame
        self._has_messages = False
        """Messages of the read under way were handed over."""
        self._on_forward = on_forward
        self._on_request = on_request
        self._connections: dict[PeerConnection, asyncio.TimerHandle] = {}
        self._tasks: dict[PeerConnection, set[asyncio.Task[None]]] = {}
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._past_received_bytes: dict[int, int] = {}

    def accept(self) -> PeerConnection:
        """Make the protocol of a new connection."""
        return PeerConnection(self._frame, self._lost, self._made, self._end_read, self._read)

    def received_bytes(self, peer_id: int) -> int:
        """Return the bytes that a peer has sent to us since the start."""
        return self._past_received_bytes.get(peer_id, 0) + sum(
            connection.received_bytes
            for connection in self._connections
            if connection.peer_id == peer_id
        )

    def drop(self, peer_id: int) -> None:
        """End the connections of one peer: it has to introduce itself again."""
        for connection in list(self._connections):
            if connection.peer_id == peer_id:
                connection.abort()

    async def close(self) -> None:
        """End all connections and the requests that are being served on them."""
        tasks = [task for owned in self._tasks.values() for task in owned]
        for task in tasks:
            task.cancel()
        for connection in list(self._connections):
            connection.abort()
        if tasks:
            await asyncio.wait(tasks)
        await self._emptied.wait()

    def _made(self, connection: PeerConnection) -> None:
        loop = asyncio.get_running_loop()
        error = HandshakeError("no handshake in time")
        self._connections[connection] = loop.call_later(
            HANDSHAKE_TIMEOUT_S, connection.abort, error
        )
        self._tasks[connection] = set()
        self._emptied.clear()
        if len(self._connections) > self._connections_max:
            connection.abort(HandshakeError("too many connections to the peer port"))
            return
        certificate = connection.certificate if self._check_source else None
        if certificate is not None:
            connection.hold()
            task = asyncio.create_task(self._verify_source(connection, certificate))
            self._tasks[connection].add(task)

    async def _verify_source(self, connection: PeerConnection, certificate: bytes) -> None:
        """Let a peer speak only if it comes from where its certificate says."""
        try:
            await check_source(names_of(certificate), connection.source, system_resolver())
        except (SourceRefused, ValueError) as error:
            connection.abort(HandshakeError(str(error)))
        else:
            connection.go_on()

    def _lost(self, connection: PeerConnection, error: Exception | None) -> None:
        self._connections.pop(connection).cancel()
        for task in self._tasks.pop(connection):
            task.cancel()
        peer = connection.peer_id
        if peer:
            past = self._past_received_bytes.get(peer, 0)
            self._past_received_bytes[peer] = past + connection.received_bytes
        if isinstance(error, FrameError | HandshakeError):
            log.warning(
                "connection of a peer ended", extra={"peer": f"{peer:x}", "reason": str(error)}
            )
        if not self._connections:
            self._emptied.set()

    def _frame(self, connection: PeerConnection, type_: FrameType, body: bytes) -> None:
        if connection.peer_id == 0:
            self._shake(connection, type_, body)
            return
        match type_:
            case FrameType.MESSAGES:
                self._on_messages(self._checked(connection, decode_messages(body)))
                self._has_messages = True
            case FrameType.FORWARD:
                self._on_forward(connection.peer_id, body)
            case FrameType.REQUEST:
                self._begin_request(connection, body)
            case _:
                raise FrameError(f"a frame of type {type_.name} on a connection of a peer")

    def _read(self, connection: PeerConnection, data: bytes) -> bool:
        """Take the one frame with messages that a read of a member with little to do is."""
        messages = messages_of_frame(data, connection.peer_id, self._member_id)
        if not messages:
            return False
        self._on_lone_frame(messages)
        return True

    def _end_read(self) -> None:
        if self._has_messages:
            self._has_messages = False
            self._on_read_end()

    def _shake(self, connection: PeerConnection, type_: FrameType, body: bytes) -> None:
        """Answer the first frame: HELLO for HELLO, or REFUSED with the reason."""
        if type_ is FrameType.DISCOVER:
            connection.write(encode_frame(FrameType.DISCOVERED, self._describe()))
            connection.close()
            return
        try:
            if type_ is not FrameType.HELLO:
                raise HandshakeError(f"{type_.name} instead of a handshake")
            sender = check_hello(body, self._cluster_id, self._member_id)
            if self._was_removed(sender):
                connection.write(encode_frame(FrameType.REMOVED))
                connection.close()
                return
            if not self._admit(sender, url_of_hello(body)):
                raise HandshakeError(f"member {sender:x} is not of this cluster")
        except HandshakeError as error:
            connection.write(encode_frame(FrameType.REFUSED, str(error).encode()))
            connection.close(error)
            return
        self._connections[connection].cancel()
        connection.introduce(sender)
        connection.write(encode_hello(self._cluster_id, self._member_id, sender))

    def _checked(self, connection: PeerConnection, messages: list[Message]) -> list[Message]:
        """Let messages pass that are from the peer and for us. Raises FrameError."""
        for message in messages:
            if message.sender != connection.peer_id or message.to != self._member_id:
                raise FrameError(
                    f"a message from {message.sender:x} to {message.to:x} came from "
                    f"{connection.peer_id:x}"
                )
        return messages

    def _begin_request(self, connection: PeerConnection, body: bytes) -> None:
        number, kind, payload = decode_request(body)
        tasks = self._tasks[connection]
        if len(tasks) >= REQUESTS_UNDER_WAY_MAX:
            connection.write(encode_answer(FrameType.FAILED, number, b"too many requests"))
            return
        task = asyncio.create_task(self._serve(connection, number, kind, payload))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _serve(
        self, connection: PeerConnection, number: int, kind: str, payload: bytes
    ) -> None:
        """Run the handler and send its answer, or its error's text."""
        try:
            answer = await self._on_request(connection.peer_id, kind, payload)
            frame = encode_answer(FrameType.RESPONSE, number, answer)
        except Exception as error:
            # The handler's errors are the requester's business; it gets their text.
            frame = encode_answer(FrameType.FAILED, number, str(error).encode())
        if connection.waiting_bytes + len(frame) > ANSWERS_WAITING_BYTES_MAX:
            connection.abort(FrameError("the peer does not read its answers"))
        else:
            connection.write(frame)
