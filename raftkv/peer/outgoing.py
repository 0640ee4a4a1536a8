"""Our own connection to one peer: dialled, kept, dialled again."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import NamedTuple

from raftkv.peer.connection import HANDSHAKE_TIMEOUT_S, PeerConnection, check_hello
from raftkv.peer.errors import (
    FrameError,
    HandshakeError,
    OutcomeUnknown,
    PeerUnavailable,
    RequestRefused,
)
from raftkv.peer.frame import FrameType, decode_answer, encode_hello, encode_request

log = logging.getLogger(__name__)

DIAL_TIMEOUT_S = 2.0
BACKOFF_FIRST_S = 0.02
BACKOFF_MAX_S = 0.5
"""Pause between two attempts: doubled from the first to this one."""
REQUESTS_WAITING_MAX = 4096
"""Requests to one peer that await their answer."""


class Address(NamedTuple):
    """Where a member listens, and whether it speaks TLS there."""

    host: str
    port: int
    tls: bool = False


class OutgoingConnection:
    """The frames that we send to one peer, and the answers to our requests."""

    def __init__(
        self,
        cluster_id: int,
        member_id: int,
        peer_id: int,
        address: Address,
        *,
        outgoing_bytes_max: int,
        client_ssl: ssl.SSLContext | None,
        on_lost: Callable[[int], None],
        on_removed: Callable[[], None],
        own_url: Callable[[], str],
    ) -> None:
        self._cluster_id = cluster_id
        self._member_id = member_id
        self.peer_id = peer_id
        self._address = address
        self._outgoing_bytes_max = outgoing_bytes_max
        self._ssl = client_ssl
        self._on_lost = on_lost
        self._on_removed = on_removed
        self._own_url = own_url
        self._connection: PeerConnection | None = None
        self._ready: asyncio.Future[None] | None = None
        self._lost: asyncio.Future[None] | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._last_number = 0
        self._task: asyncio.Task[None] | None = None
        self._past_sent_bytes = 0
        self._said: str | None = None

    def start(self) -> None:
        """Begin dialling."""
        self._task = asyncio.create_task(self._keep(), name=f"dial {self.peer_id:x}")

    async def close(self) -> None:
        """Stop dialling and close; requests that wait fail."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    @property
    def is_connected(self) -> bool:
        """Say whether the handshake is done and the connection is open."""
        return self._connection is not None and self._connection.is_open

    @property
    def is_dialled(self) -> bool:
        """Say whether the handshake is done; the connection may be closing."""
        return self._connection is not None

    @property
    def sent_bytes(self) -> int:
        """Bytes sent to this peer since the start."""
        now = 0 if self._connection is None else self._connection.sent_bytes
        return self._past_sent_bytes + now

    def write(self, frame: bytes) -> bool:
        """Send a frame; False, and nothing sent, without a connection or when too much waits."""
        connection = self._connection
        return connection is not None and connection.write_within(frame, self._outgoing_bytes_max)

    async def request(self, kind: str, payload: bytes, timeout_s: float) -> bytes:
        """Send a request and return the answer; see `PeerTransport.request`."""
        if len(self._waiting) >= REQUESTS_WAITING_MAX:
            raise PeerUnavailable(self.peer_id, "too many requests await their answer")
        self._last_number += 1
        number = self._last_number
        if not self.write(encode_request(number, kind, payload)):
            raise PeerUnavailable(self.peer_id, "no connection, or too much waits to be sent")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            raise OutcomeUnknown(self.peer_id, f"none within {timeout_s} s") from error
        finally:
            self._waiting.pop(number, None)

    async def _keep(self) -> None:
        """Dial, wait for the end of the connection, pause, dial again; until cancelled."""
        pause = BACKOFF_FIRST_S
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await self._connect()
                if loop.time() - started > BACKOFF_MAX_S:
                    pause = BACKOFF_FIRST_S
            except (OSError, TimeoutError, HandshakeError, FrameError) as error:
                self._report(str(error) or type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACKOFF_MAX_S)

    async def _connect(self) -> None:
        """Dial once and return when the connection is gone."""
        loop = asyncio.get_running_loop()
        self._ready, self._lost = loop.create_future(), loop.create_future()
        host, port, tls = self._address
        connection = None
        if tls and self._ssl is None:
            raise HandshakeError("the peer's URL is https, but this member has no TLS to dial with")
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    lambda: PeerConnection(self._frame, self._gone),
                    host,
                    port,
                    ssl=self._ssl if tls else None,
                )
            connection.write(
                encode_hello(self._cluster_id, self._member_id, self.peer_id, self._own_url())
            )
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await self._ready
            await self._lost
        finally:
            if connection is not None:
                connection.abort()
                await asyncio.shield(self._lost)
            if self._ready.done() and not self._ready.cancelled():
                self._ready.exception()  # seen; it was raised above or came too late

    def _frame(self, connection: PeerConnection, type_: FrameType, body: bytes) -> None:
        if connection.peer_id == 0:
            self._shake(connection, type_, body)
            return
        number, payload = decode_answer(body)
        answer = self._waiting.get(number)
        if answer is None or answer.done():
            return  # timed out before
        if type_ is FrameType.RESPONSE:
            answer.set_result(payload)
        elif type_ is FrameType.FAILED:
            answer.set_exception(RequestRefused(self.peer_id, payload.decode(errors="replace")))
        else:
            raise FrameError(f"a frame of type {type_.name} on a connection that we dialled")

    def _shake(self, connection: PeerConnection, type_: FrameType, body: bytes) -> None:
        """Take the first frame: HELLO opens the connection, anything else ends it."""
        assert self._ready is not None
        if self._ready.done():
            return
        if type_ is FrameType.REMOVED:
            self._ready.set_exception(HandshakeError("this member was removed from the cluster"))
            self._on_removed()
        elif type_ is FrameType.REFUSED:
            text = body.decode(errors="replace")
            self._ready.set_exception(HandshakeError(f"refused: {text}"))
        elif type_ is not FrameType.HELLO:
            self._ready.set_exception(HandshakeError(f"{type_.name} instead of a handshake"))
        else:
            try:
                sender = check_hello(body, self._cluster_id, self._member_id)
                if sender != self.peer_id:
                    raise HandshakeError(f"member {sender:x} answered for {self.peer_id:x}")
            except (HandshakeError, FrameError) as error:
                self._ready.set_exception(error)
                return
            connection.introduce(sender)
            self._connection = connection
            self._ready.set_result(None)
            self._report(None)

    def _gone(self, connection: PeerConnection, error: Exception | None) -> None:
        """Fail what waits for an answer, and wake the dialler."""
        assert self._ready is not None
        assert self._lost is not None
        if self._connection is connection:
            self._past_sent_bytes += connection.sent_bytes
            self._connection = None
            self._on_lost(self.peer_id)
            self._report(str(error or "closed by the peer"))
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(OutcomeUnknown(self.peer_id, "the connection was lost"))
        self._waiting.clear()
        if not self._ready.done():
            self._ready.set_exception(error or HandshakeError("closed during the handshake"))
        if not self._lost.done():
            self._lost.set_result(None)

    def _report(self, problem: str | None) -> None:
        """Log a change of the connection's state, once however often it is tried."""
        if problem == self._said:
            return
        self._said = problem
        address = f"{self._address.host}:{self._address.port}"
        fields = {"peer": f"{self.peer_id:x}", "address": address}
        if problem is None:
            log.info("connected to peer", extra=fields)
        else:
            log.warning("no connection to peer", extra={**fields, "reason": problem})
