"""One connection between two members: frames in, frames out, and the handshake at its beginning."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from raftkv.peer.errors import FrameError, HandshakeError
from raftkv.peer.frame import (
    FRAME_BYTES_MAX,
    PROTOCOL_VERSION,
    FrameDecoder,
    FrameType,
    decode_hello,
)

HANDSHAKE_TIMEOUT_S = 5.0
"""How long either side waits for the other's first frame."""

HANDSHAKE_BYTES_MAX = 64 << 10
"""Length of that frame: a stranger's announcement must not take memory. Neither side sends more
before it has heard who the other is."""


class PeerConnection(asyncio.Protocol):
    """A connection whose frames go to `on_frame` in order of arrival.

    `on_read_end` is called after those that one read brought, also where an error was among them.
    `on_read` may take all of a read that begins with a frame, by returning True; the others are not
    called then.
    `on_lost` is called once, when it is gone for whatever reason. A FrameError out of `on_frame`,
    or of the bytes themselves, ends the connection.
    """

    def __init__(
        self,
        on_frame: Callable[[PeerConnection, FrameType, bytes], None],
        on_lost: Callable[[PeerConnection, Exception | None], None],
        on_made: Callable[[PeerConnection], None] | None = None,
        on_read_end: Callable[[], None] = lambda: None,
        on_read: Callable[[PeerConnection, bytes], bool] = lambda _connection, _data: False,
    ) -> None:
        self._decoder = FrameDecoder(HANDSHAKE_BYTES_MAX)
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._on_made = on_made
        self._on_read_end = on_read_end
        self._on_read = on_read
        self._transport: asyncio.Transport | None = None
        self._error: Exception | None = None
        self.peer_id = 0
        """Who is at the other end; 0 before the handshake. Set by `introduce`."""
        self.sent_bytes = 0
        self.received_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._on_made is not None:
            self._on_made(self)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self.peer_id and self._decoder.is_between_frames and self._on_read(self, data):
            return
        try:
            for type_, body in self._decoder.feed(data):
                if self._error is not None:
                    break
                self._on_frame(self, type_, body)
        except FrameError as error:
            self.abort(error)
        self._on_read_end()

    def introduce(self, peer_id: int) -> None:
        """Learn, by its handshake, who is at the other end: frames of full size may follow."""
        self.peer_id = peer_id
        self._decoder.frame_bytes_max = FRAME_BYTES_MAX

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_lost(self, self._error or exc)

    def write(self, frame: bytes) -> None:
        """Send a frame; nothing happens when the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self.sent_bytes += len(frame)
            self._transport.write(frame)

    def write_within(self, frame: bytes, waiting_bytes_max: int) -> bool:
        """Send a frame unless the connection is gone or more would wait; returns whether."""
        transport = self._transport
        if (
            transport is None
            or transport.is_closing()
            or transport.get_write_buffer_size() + len(frame) > waiting_bytes_max
        ):
            return False
        self.sent_bytes += len(frame)
        transport.write(frame)
        return True

    @property
    def waiting_bytes(self) -> int:
        """Bytes written that the system has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def is_open(self) -> bool:
        """Say whether frames may still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def certificate(self) -> bytes | None:
        """The other side's certificate (DER), or None where it showed none."""
        found = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        if not isinstance(found, ssl.SSLObject):
            return None
        return found.getpeercert(binary_form=True)

    @property
    def source(self) -> str:
        """The IP address of the other side, "" where it has gone."""
        found = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(found[0]) if isinstance(found, tuple) else ""

    def hold(self) -> None:
        """Read nothing until `go_on`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again; nothing happens when the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, error: Exception | None = None) -> None:
        """End the connection after what was written; `error` is the reason that `on_lost` gets."""
        self._error = self._error or error
        if self._transport is not None:
            self._transport.close()

    def abort(self, error: Exception | None = None) -> None:
        """End the connection at once, dropping what was not sent."""
        self._error = self._error or error
        if self._transport is not None:
            self._transport.abort()


def check_hello(body: bytes, cluster_id: int, member_id: int) -> int:
    """Return who sent a HELLO to us. Raises HandshakeError that names what does not fit."""
    version, their_cluster, sender, receiver = decode_hello(body)
    if version != PROTOCOL_VERSION:
        raise HandshakeError(
            f"peer protocol version {version} is not supported; this member speaks "
            f"{PROTOCOL_VERSION}"
        )
    if their_cluster != cluster_id:
        raise HandshakeError(
            f"cluster id mismatch: {their_cluster:x} is not {cluster_id:x}; check "
            "--initial-cluster and --initial-cluster-token"
        )
    if receiver != member_id:
        raise HandshakeError(
            f"member id mismatch: this is {member_id:x}, not {receiver:x}; check the peer URLs"
        )
    if sender in (0, member_id):
        raise HandshakeError(f"member id {sender:x} cannot be at the other end")
    return sender
